"""Packets that are not as they should be: the message's trouble alone where its end is known."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.app import data_plane
from support.poll import until
from support.stub import PUBACK, PUBLISH, SUBSCRIBE, Packet, StubBroker, publish, suback
from support.workers import Workers

MODELS = """
def same(payload):
    return payload

def both(payloads):
    return payloads
"""
PLAIN = data_plane() == "plain"
PAHO_ENDS_IT = "paho itself ends the connection"
CONNACKS = {"5": b"\x20\x03\x00\x00\x00", "3.1.1": b"\x20\x02\x00\x00"}


class Rig:
    """A worker whose broker is the stub."""

    def __init__(self, stub: StubBroker, app: Workers, v5: bool) -> None:
        self.stub = stub
        self.app = app
        self.v5 = v5

    def subscriber(self, count: int = 1) -> int:
        """The connection that subscribed, once `count` have."""
        until(lambda: len(self.stub.of_kind(SUBSCRIBE)) >= count, "a subscription")
        return self.stub.of_kind(SUBSCRIBE)[-1].connection

    def good(self, number: int, qos: int = 1) -> bytes:
        return publish("t/in", b"%d" % number, qos, number, v5=self.v5)

    def results(self) -> list[int]:
        return [self._number(packet.rest) for packet in self._published("t/out")]

    def letters(self) -> int:
        """Dead letters that came."""
        return len(self._published("pyboot/dead/m"))

    def errors(self) -> dict[str, int]:
        found: dict[str, int] = self.app.instance("m-1")["errors"]
        return found

    def acknowledged(self) -> list[int]:
        return [packet.mid for packet in self.stub.of_kind(PUBACK)]

    def _published(self, topic: str) -> list[Packet]:
        return [packet for packet in self.stub.of_kind(PUBLISH) if packet.topic == topic]

    def _number(self, rest: bytes) -> int:
        return int(rest[1 + rest[0] :] if self.v5 else rest)


@pytest.fixture(params=["5", "3.1.1"])
def rig(
    request: pytest.FixtureRequest,
    write_config: Callable[..., Path],
    workers: Callable[..., Workers],
) -> Iterator[Rig]:
    protocol: str = request.param
    v5 = protocol == "5"
    more = "" if "batch" not in request.fixturenames else ", batch: {}"
    with StubBroker(CONNACKS[protocol], subscribe=lambda p: suback(p.mid, 1, v5=v5)) as stub:
        brokers = (
            f'brokers: {{stub: {{host: 127.0.0.1, port: {stub.port}, protocol: "{protocol}"}}}}'
        )
        edge = (
            f"{{name: m, edge_mode: my_models.{'both' if more else 'same'}, pre_broker: stub, "
            f"pre_port: {stub.port}, pre_topic: t/in, pre_qos: 1, post_broker: stub, "
            f"post_port: {stub.port}, post_topic: t/out, post_qos: 1{more}}}"
        )
        yield Rig(stub, workers(write_config(edge, models=MODELS, head=brokers)), v5)


# Topic and payload of a message, and what is counted.
MISFITS: dict[str, tuple[bytes, bytes, str]] = {
    "not UTF-8": (b"\xff\xfe", b"1", "bad_topic"),
    "zero byte": (b"t\0in", b"1", "bad_topic"),
    "surrogate": (b"t/\xed\xa0\x80", b"1", "bad_topic"),
    "wildcard": (b"t/#", b"1", "bad_topic"),
    "too large": (b"t/in", bytes(2_200_000), "too_large"),
}


@pytest.mark.parametrize("name", MISFITS)
def test_a_message_that_cant_be_taken_is_acknowledged_counted_and_kept(rig: Rig, name: str) -> None:
    topic, payload, kind = MISFITS[name]
    bad = publish(topic, payload, 1, 2, v5=rig.v5)
    rig.stub.send(rig.good(1) + bad + rig.good(3), rig.subscriber())
    until(lambda: rig.acknowledged() == [1, 2, 3], "all are acknowledged, in order")
    assert rig.results() == [1, 3]
    assert rig.errors() == {kind: 1}
    until(lambda: rig.letters() == 1, "a dead letter")
    assert rig.app.log.count(f"message failed ({kind})") == 1
    assert len(rig.stub.of_kind(SUBSCRIBE)) == 1


def test_many_of_them_are_said_a_few_times(rig: Rig) -> None:
    bad = b"".join(publish(b"\xff\xfe", b"1", 1, mid, v5=rig.v5) for mid in range(1, 501))
    rig.stub.send(bad + rig.good(501), rig.subscriber())
    until(lambda: rig.acknowledged() == list(range(1, 502)), "all are acknowledged, in order", 60)
    assert rig.results() == [501]
    assert rig.errors() == {"bad_topic": 500}
    assert rig.app.log.count("message failed (bad_topic)") <= 25


def test_a_model_of_batches_gets_the_others(rig: Rig, batch: None) -> None:
    stream = b"".join(rig.good(mid) for mid in range(1, 6))
    stream += publish(b"\xff\xfe", b"1", 1, 6, v5=rig.v5) + rig.good(7)
    rig.stub.send(stream, rig.subscriber())
    until(lambda: rig.acknowledged() == [1, 2, 3, 4, 5, 6, 7], "all are acknowledged, in order")
    assert rig.results() == [1, 2, 3, 4, 5, 7]
    assert rig.errors() == {"bad_topic": 1}


@pytest.fixture
def batch() -> None:
    """Asked for by a test whose model takes batches."""


def test_an_identifier_of_0(rig: Rig) -> None:
    """It can't be acknowledged, which is the broker's fault and holds up nothing."""
    rig.stub.send(
        rig.good(1) + publish("t/in", b"2", 1, 0, v5=rig.v5) + rig.good(3), rig.subscriber()
    )
    until(lambda: rig.acknowledged() == [1, 3], "the others are acknowledged")
    assert rig.results() == [1, 3]
    assert rig.errors() == {"malformed": 1}


@pytest.mark.skipif(PLAIN, reason=PAHO_ENDS_IT)
def test_an_empty_topic(rig: Rig) -> None:
    rig.stub.send(rig.good(1) + publish("", b"2", 1, 2, v5=rig.v5) + rig.good(3), rig.subscriber())
    until(lambda: rig.acknowledged() == [1, 2, 3], "all are acknowledged")
    assert rig.results() == [1, 3]
    assert rig.errors() == {"bad_topic": 1}


@pytest.mark.skipif(PLAIN, reason=PAHO_ENDS_IT)
@pytest.mark.parametrize("rig", ["5"], indirect=True)
@pytest.mark.parametrize("properties", ["80", "7f", "ffffffff7f", "0a26"])
@pytest.mark.parametrize("alone", [True, False])
def test_properties_that_are_longer_than_their_packet(
    rig: Rig, properties: str, alone: bool
) -> None:
    body = b"\x00\x04t/in\x00\x02" + bytes.fromhex(properties)
    bad, session = bytes([0x32, len(body)]) + body, rig.subscriber()
    rig.stub.send(bad + (b"" if alone else rig.good(3)), session)
    if alone:
        until(lambda: rig.acknowledged() == [2], "it is acknowledged")
        rig.stub.send(rig.good(3), session)
    until(lambda: rig.acknowledged() == [2, 3], "both are acknowledged")
    assert rig.results() == [3]
    assert rig.errors() == {"malformed": 1}


LOST = {
    "QoS 3": "360900 04742f696e000500",
    "a length of five bytes": "30ffffffff01",
    "a topic longer than its packet": "32080009742f696e0000",
    "no room for the identifier": "32060004742f696e",
    "a short PUBACK": "400100",
}


@pytest.mark.parametrize("packet", LOST.values(), ids=LOST)
def test_where_the_next_packet_begins_nobody_knows(rig: Rig, packet: str) -> None:
    """What came before is good; then a new connection, on which the broker sends the rest again."""
    rig.stub.send(rig.good(1) + bytes.fromhex(packet), rig.subscriber())
    again = rig.subscriber(2)
    rig.stub.send(rig.good(1) + rig.good(2), again)
    until(lambda: rig.results()[-1:] == [2], "the next message", 60)
    assert set(rig.results()) == {1, 2}
    rig.app.wait_ready()
    if not PLAIN:
        assert "what arrived is not MQTT: a " in rig.app.log


@pytest.mark.skipif(not PLAIN, reason="paho reads only the plain data plane's packets")
def test_what_paho_stumbles_over_costs_no_more_than_the_connection(rig: Rig) -> None:
    """By MQTT 5 properties without an end, by 3.1.1 an empty topic."""
    bad = "30 04 0001 61 80" if rig.v5 else "32 05 0000 0002 31"
    rig.stub.send(rig.good(1) + bytes.fromhex(bad), rig.subscriber())
    again = rig.subscriber(2)
    rig.stub.send(rig.good(1) + rig.good(2), again)
    until(lambda: rig.results()[-1:] == [2], "the next message", 60)
    assert set(rig.results()) == {1, 2}
    rig.app.wait_ready()
