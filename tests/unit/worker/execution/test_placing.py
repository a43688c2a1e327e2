"""Payloads get what their codec needs to know in order of arrival, whoever decodes them when."""

from __future__ import annotations

from support.columns import batch_of
from support.store import configured

from pyboot_svc.config import SparkplugOptions
from pyboot_svc.model.codec import PayloadError, PayloadFault
from pyboot_svc.model.formats import codec_of
from pyboot_svc.model.sparkplug.encoder import encode
from pyboot_svc.worker.execution.placing import placing_of
from pyboot_svc.worker.invalid_messages import InvalidMessage
from pyboot_svc.worker.messages import MessageBatch, Particulars

BIRTH, DATA = "spBv1.0/G/NBIRTH/N", "spBv1.0/G/NDATA/N"
VALUE = encode({"metrics": [{"alias": 1, "value": 1.0}]})


def birth(name: str) -> bytes:
    return encode({"metrics": [{"name": name, "alias": 1, "value": 0.0}]})


class Line:
    def __init__(self, *rebirth_on: str) -> None:
        self.edge = configured(codec="sparkplug_b", sparkplug=SparkplugOptions(rebirth_on)).edge
        self.batches: list[MessageBatch] = []
        self.commands: list[str] = []
        self.placing = placing_of(self.edge, self.batches.append, self._command)

    def _command(self, topic: str, payload: bytes) -> None:
        self.commands.append(topic)

    def names(self) -> list[str]:
        """Of the metrics that were delivered, the last ones decoded first."""
        decode = codec_of(self.edge).decode
        found = []
        for payload in reversed([one for batch in self.batches for one in batch.payloads]):
            try:
                found.append(str(decode(payload)["metrics"][0]["name"]))
            except PayloadError as error:
                found.append(error.fault)
        return found[::-1]


def test_births_among_data() -> None:
    line = Line()
    topics = [DATA, BIRTH, DATA, BIRTH, DATA]
    payloads = [VALUE, birth("a"), VALUE, birth("b"), VALUE]
    batch = batch_of(payloads, topics)
    size = batch.size
    line.placing.deliver(batch)
    line.placing.deliver(batch_of([VALUE], DATA))
    assert line.names() == ["unknown_alias", "a", "a", "b", "b", "b"]
    assert (batch.payloads, batch.size) == (payloads, size)
    assert [chunk.payloads for chunk in (batch.part(0, 2), batch.only([4]))] == [
        payloads[:2],
        payloads[4:],
    ]


def test_what_is_tried_again_is_placed_among_what_is_known_now() -> None:
    line = Line()
    line.placing.deliver_again(batch_of([birth("old")], BIRTH))
    line.placing.deliver_again(batch_of([VALUE], DATA))
    line.placing.deliver(batch_of([birth("a")], BIRTH))
    line.placing.deliver_again(batch_of([VALUE], DATA))
    assert line.names() == ["old", "unknown_alias", "a", "a"]


def test_names_end_with_the_connection_unless_nothing_was_missed() -> None:
    line = Line()
    line.placing.deliver(batch_of([birth("a")], BIRTH, session=1))
    for session, packet_id in ((1, 0), (2, 7), (2, 0), (2, 0)):
        line.placing.deliver(batch_of([VALUE], DATA, session=session, packet_ids=[packet_id]))
    assert line.names() == ["a", "a", "a", "unknown_alias", "unknown_alias"]


def test_messages_that_no_model_gets_are_left_alone() -> None:
    line = Line()
    invalid = {0: InvalidMessage(PayloadFault.TOO_LARGE, "too large")}
    batch = batch_of([birth("a"), VALUE], [BIRTH, DATA], particulars=Particulars(invalid))
    line.placing.deliver(batch)
    assert type(batch.payloads[0]) is bytes
    assert line.names() == ["a", "unknown_alias"]


def test_edge_nodes_are_asked_if_that_is_wanted() -> None:
    for reasons, commands in (((), []), (("unknown_alias",), ["spBv1.0/G/NCMD/N"])):
        line = Line(*reasons)
        line.placing.deliver(batch_of([VALUE, VALUE], DATA))
        line.names()
        assert line.commands == commands
