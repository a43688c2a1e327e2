"""The inbox against a broker that does what it is told: what it subscribes to, takes, answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from support.poll import until
from support.store import configured
from support.stub import (
    PUBACK,
    PUBLISH,
    SUBSCRIBE,
    UNSUBSCRIBE,
    Answer,
    Packet,
    StubBroker,
    publish,
    suback,
    unsuback,
)

from pyboot_svc.config import Broker, Endpoint
from pyboot_svc.worker.messages import MessageBatch
from pyboot_svc.worker.mqtt.inbox import MqttInbox

PRESENT = b"\x20\x03\x01\x00\x00"


class Line:
    """An inbox on a broker, and whoever it delivers to."""

    def __init__(self, broker: StubBroker, folder: Path, **edge: Any) -> None:
        self.broker = broker
        there = Broker("127.0.0.1", broker.port, protocol=edge.pop("protocol", "5"))
        pre = Endpoint(there, "in/#", edge.pop("pre_qos", 1), edge.pop("more_topics", ()))
        self.inbox = MqttInbox(configured(pre=pre, **edge), folder / "subscribed")
        self.batches: list[MessageBatch] = []
        self.unacknowledged = 0
        self.crowded = False
        self.counted: list[str] = []
        self.crashes = 0
        self.inbox.start(
            self.batches.append,
            lambda: self.unacknowledged,
            lambda: self.crowded,
            lambda name, count: self.counted.append(name),
            self._crash,
        )

    def _crash(self) -> None:
        self.crashes += 1

    def wait_subscribed(self) -> None:
        until(lambda: self.inbox.subscribed, "subscribed")

    @property
    def payloads(self) -> list[bytes]:
        return [payload for batch in self.batches for payload in batch.payloads]

    @property
    def acknowledged(self) -> list[int]:
        return [packet.mid for packet in self.broker.of_kind(PUBACK)]


@pytest.fixture(params=["bulk", "plain"])
def start(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[..., Line]]:
    with ExitStack() as stack:

        def make(broker: StubBroker | None = None, **about: Any) -> Line:
            broker = broker or stack.enter_context(StubBroker())
            line = Line(broker, tmp_path, data_plane=request.param, **about)
            stack.callback(line.inbox.stop, 20)
            return line

        yield make


Start = Callable[..., Line]


@pytest.mark.parametrize(("pre_qos", "asked"), [(0, 0), (1, 1), (2, 1)])
def test_it_subscribes_at_qos_1_at_most(pre_qos: int, asked: int, start: Start) -> None:
    """At QoS 2 a message would be ours before it is processed."""
    line = start(pre_qos=pre_qos)
    line.wait_subscribed()
    [packet] = line.broker.of_kind(SUBSCRIBE)
    assert packet.body.endswith(b"\x00\x04in/#" + bytes([0x10 | asked]))
    assert line.inbox.status.state == "connected"


def test_messages_are_acknowledged_when_they_are_said_to_be_done(start: Start) -> None:
    line = start()
    line.wait_subscribed()
    packets = [publish("in/a", b"%d" % number, 1, number) for number in range(1, 7)]
    line.broker.send(b"".join(packets), 1)
    until(lambda: len(line.payloads) == 6, "all have come")
    assert line.payloads == [b"1", b"2", b"3", b"4", b"5", b"6"]
    assert line.acknowledged == []
    assert line.inbox.quiet_seconds < 20
    for batch in line.batches:
        batch.origin.acknowledge(batch, 0, len(batch))
    until(lambda: len(line.acknowledged) == 6, "all are acknowledged")
    assert line.acknowledged == [1, 2, 3, 4, 5, 6]


def test_what_an_earlier_connection_brought_is_not_acknowledged_on_another(start: Start) -> None:
    """The broker sends it again, and that copy is."""
    line = start()
    line.wait_subscribed()
    line.broker.send(publish("in/a", b"1", 1, 5), 1)
    until(lambda: line.payloads, "it has come")
    line.broker.hang_up(1)
    until(lambda: line.broker.connections == 2, "another connection")
    line.wait_subscribed()
    first = line.batches[0]
    first.origin.acknowledge(first, 0, 1)
    line.broker.send(publish("in/a", b"1", 1, 5, flags=8), 2)
    until(lambda: len(line.payloads) == 2, "the copy")
    assert line.acknowledged == []
    line.batches[1].origin.acknowledge(line.batches[1], 0, 1)
    until(lambda: line.acknowledged == [5], "the copy is acknowledged")


def test_of_qos_0_nothing_is_acknowledged(start: Start) -> None:
    line = start(pre_qos=0)
    line.wait_subscribed()
    line.broker.send(publish("in/a", b"1"), 1)
    until(lambda: line.payloads, "it has come")
    line.batches[0].origin.acknowledge(line.batches[0], 0, 1)
    line.broker.send(publish("in/a", b"2"), 1)
    until(lambda: len(line.payloads) == 2, "the next")
    assert line.acknowledged == []


def test_a_refused_subscription_is_no_connection(start: Start) -> None:
    with StubBroker(subscribe=lambda packet: suback(packet.mid, 0x87)) as broker:
        line = start(broker)
        until(lambda: line.inbox.status.state == "unreachable", "it is given up")
        assert "the subscription to in/# was refused: Not authorized" in line.inbox.status.reason
        assert not line.inbox.subscribed
        line.inbox.stop(20)


def test_of_two_topics_one_that_is_granted_behind_a_refusal_establishes_nothing(
    start: Start, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    held: list[Packet] = []

    def subscribe(packet: Packet) -> bytes | None:
        held.append(packet)
        if len(held) % 2:
            return None
        return suback(held[-2].mid, 0x87) + suback(packet.mid, 1)

    with StubBroker(subscribe=subscribe) as broker:
        line = start(broker, more_topics=("granted",))
        until(lambda: broker.connections == 2, "it is given up, and tried again")
        assert "the subscription to in/# was refused" in caplog.text
        assert not (tmp_path / "subscribed-at").exists()
        assert line.counted == []
        line.inbox.stop(20)


def test_a_lower_qos_than_asked_for_is_noticed(start: Start) -> None:
    with StubBroker(subscribe=lambda packet: suback(packet.mid, 0)) as broker:
        line = start(broker)
        line.wait_subscribed()
        [notice] = line.inbox.notices
        assert notice.startswith("the pre broker granted QoS 0 for in/#, not QoS 1")
        line.inbox.stop(20)


def test_answers_out_of_order_are_those_of_their_topics(start: Start) -> None:
    held: list[Packet] = []

    def subscribe(packet: Packet) -> bytes | None:
        held.append(packet)
        return suback(packet.mid, 0) + suback(held[0].mid, 1) if len(held) == 2 else None

    with StubBroker(subscribe=subscribe) as broker:
        line = start(broker, more_topics=("limited",))
        line.wait_subscribed()
        [notice] = line.inbox.notices
        assert notice.startswith("the pre broker granted QoS 0 for limited, not QoS 1")
        line.inbox.stop(20)


def test_an_answer_to_nothing_that_was_asked_grants_nothing(start: Start) -> None:
    with StubBroker(subscribe=lambda packet: suback(packet.mid + 1)) as broker:
        line = start(broker)
        asked = until(lambda: broker.of_kind(SUBSCRIBE), "it subscribes")
        broker.send(publish("in/a", b"1", 1, 5), 1)
        until(lambda: line.payloads, "what stands behind the answer has come")
        assert not line.inbox.subscribed
        broker.send(suback(asked[0].mid), 1)
        line.wait_subscribed()
        line.inbox.stop(20)


def test_without_shared_subscriptions_several_instances_do_not_begin(start: Start) -> None:
    with StubBroker(b"\x20\x05\x00\x00\x02\x2a\x00") as broker:
        line = start(broker, instance=2)
        until(lambda: line.inbox.status.state == "unreachable", "it is given up")
        assert "`share: false`" in line.inbox.status.reason
        assert broker.of_kind(SUBSCRIBE) == []
        line.inbox.stop(20)


def test_a_session_that_the_broker_has_lost_is_counted(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    line = start()
    line.wait_subscribed()
    line.broker.hang_up(1)
    until(lambda: line.broker.connections == 2, "another connection")
    line.wait_subscribed()
    assert line.counted == ["sessions_lost"]
    assert "the pre broker has lost the session pyboot-test-1" in caplog.text


def test_the_first_connection_ever_has_lost_nothing(start: Start) -> None:
    line = start()
    line.wait_subscribed()
    assert line.counted == []


def test_of_a_shared_subscription_nobody_knows_whether_it_was_kept(start: Start) -> None:
    with StubBroker(PRESENT) as broker:
        line = start(broker, instance=2)
        line.wait_subscribed()
        assert line.counted == ["sessions_unsure"]
        [packet] = broker.of_kind(SUBSCRIBE)
        assert b"$share/" in packet.body
        line.inbox.stop(20)


def test_what_the_session_was_subscribed_to_before_is_forgotten(
    start: Start, tmp_path: Path
) -> None:
    (tmp_path / "subscribed").write_text("old/#\n")
    with StubBroker(PRESENT) as broker:
        line = start(broker)
        line.wait_subscribed()
        topics = [packet.body[-5:] for packet in broker.of_kind(UNSUBSCRIBE)]
        assert b"old/#" in topics
        until(lambda: (tmp_path / "subscribed").read_text() == "in/#\n", "it is noted")
        line.inbox.stop(20)


def test_who_leaves_unsubscribes_and_keeps_no_notes(start: Start, tmp_path: Path) -> None:
    line = start()
    line.wait_subscribed()
    assert (tmp_path / "subscribed").read_text() == "in/#\n"
    line.inbox.leave()
    until(lambda: line.broker.of_kind(UNSUBSCRIBE), "it unsubscribes")
    until(lambda: not (tmp_path / "subscribed").exists(), "its notes are gone")
    assert not line.inbox.subscribed


def test_who_leaves_is_not_quiet_before_the_broker_has_let_it_go(start: Start) -> None:
    """Until it has the UNSUBSCRIBE, it gives this session new messages."""
    with StubBroker(unsubscribe=lambda packet: None) as broker:
        line = start(broker)
        line.wait_subscribed()
        until(lambda: line.inbox.quiet_seconds > 0, "it is quiet")
        line.inbox.leave()
        until(lambda: broker.of_kind(UNSUBSCRIBE), "it unsubscribes")
        assert line.inbox.quiet_seconds == 0
        [packet] = broker.of_kind(UNSUBSCRIBE)
        broker.send(unsuback(packet.mid), 1)
        until(lambda: line.inbox.quiet_seconds > 0, "it is quiet")
        line.inbox.stop(20)


def test_who_leaves_waits_for_no_broker_that_is_away(start: Start) -> None:
    with StubBroker(unsubscribe=lambda packet: Answer(hang_up=True)) as broker:
        line = start(broker)
        line.wait_subscribed()
        line.inbox.leave()
        until(lambda: line.inbox.status.state == "unreachable", "the broker hung up")
        until(lambda: line.inbox.quiet_seconds > 0, "it is quiet")
        line.inbox.stop(20)


@pytest.mark.parametrize("pre_qos", [0, 1])
def test_a_closed_intake_unsubscribes_at_qos_0_alone(pre_qos: int, start: Start) -> None:
    """What comes at QoS 1 stays with the broker when it isn't acknowledged."""
    line = start(pre_qos=pre_qos)
    line.wait_subscribed()
    line.inbox.close_intake()
    if pre_qos == 0:
        until(lambda: line.broker.of_kind(UNSUBSCRIBE), "it unsubscribes")
    else:
        line.broker.send(publish("in/a", b"1", 1, 5), 1)
        until(lambda: line.payloads, "the loop has turned")
        assert line.broker.of_kind(UNSUBSCRIBE) == []


@pytest.mark.parametrize("by", ["messages", "bytes"])
def test_a_broker_that_sends_more_than_it_may_is_not_read(by: str, start: Start) -> None:
    line = start()
    line.wait_subscribed()
    line.unacknowledged, line.crowded = (10**6, False) if by == "messages" else (0, True)
    assert line.inbox.full
    line.broker.send(publish("in/a", b"1", 1, 5), 1)
    line.unacknowledged, line.crowded = 0, False
    assert not line.inbox.full
    until(lambda: line.payloads, "what waited in the network")


def test_a_session_that_is_kept_for_less_long_is_noticed(start: Start) -> None:
    with StubBroker(b"\x20\x08\x00\x00\x05\x11\x00\x01\x51\x80") as broker:
        line = start(broker)
        line.wait_subscribed()
        [notice] = line.inbox.notices
        assert "keeps the session for 86400 s only" in notice
        line.inbox.stop(20)


def test_notes_that_can_not_be_written_are_said_and_no_obstacle(
    start: Start, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "subscribed").mkdir()
    (tmp_path / "subscribed" / "in the way").write_text("")
    line = start()
    line.wait_subscribed()
    assert "can't be written" in caplog.text
    (tmp_path / "subscribed" / "in the way").unlink()
    (tmp_path / "subscribed").rmdir()


def test_retained_messages_come_once_by_the_older_protocol(start: Start) -> None:
    retained = publish("in/a", b"1", 1, 5, v5=False, flags=1)
    # The session is there each time.
    connack = b"\x20\x02\x01\x00"

    def subscribe(packet: Packet) -> Answer:
        return Answer(suback(packet.mid, v5=False) + retained)

    def unsubscribe(packet: Packet) -> bytes:
        return b"\xb0\x02" + packet.body[:2]

    with StubBroker(connack, subscribe=subscribe, unsubscribe=unsubscribe) as broker:
        line = start(broker, protocol="3.1.1")
        until(lambda: line.payloads == [b"1"], "it has come")
        line.batches[0].origin.acknowledge(line.batches[0], 0, 1)
        until(lambda: line.acknowledged == [5], "it is done")
        broker.hang_up(1)
        until(lambda: line.acknowledged == [5, 5], "the copy is only acknowledged")
        assert line.payloads == [b"1"]
        line.inbox.stop(20)


def test_a_command_goes_to_who_sends_the_input(start: Start) -> None:
    line = start()
    line.inbox.command("node/early", b"1")
    line.wait_subscribed()
    line.inbox.command("node/x", b"2")
    until(lambda: len(line.broker.of_kind(PUBLISH)) == 2, "both")
    early, late = line.broker.of_kind(PUBLISH)
    assert [early.topic, late.topic] == ["node/early", "node/x"]
    assert (late.qos, late.first & 1, late.body[-1:]) == (0, 0, b"2")
    assert line.crashes == 0


def test_a_command_of_which_no_packet_can_be_made(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    line = start()
    line.wait_subscribed()
    line.inbox.command("x" * 70_000, b"1")
    until(lambda: "nothing is published to xxx" in caplog.text, "it is said")
    line.inbox.command("node/x", b"2")
    until(lambda: line.broker.of_kind(PUBLISH), "the next one")
    assert line.crashes == 0
