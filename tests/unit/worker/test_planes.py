"""The bulk data plane on one end of a pair of sockets; the test is the broker at the other."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator

import pytest

from pyboot_svc.config import Broker
from pyboot_svc.worker.client import ControlClient
from pyboot_svc.worker.handler import BrokerLimits, Session
from pyboot_svc.worker.message import Message
from pyboot_svc.worker.outgoing import Outgoing
from pyboot_svc.worker.packets import Parser, PublishEncoder, encode_pubacks
from pyboot_svc.worker.planes import BulkPlane

SESSION = 7


class Noted:
    """What the client tells."""

    def __init__(self) -> None:
        self.told: list[object] = []

    def on_connected(self, session_present: bool, limits: BrokerLimits) -> None:
        self.told.append(("connected", session_present))

    def on_subscribed(self, refusal: str | None) -> None:
        self.told.append(("subscribed", refusal))

    def on_ended(self, reason: str, *, taken_over: bool = False) -> None:
        self.told.append(("ended", reason))


class Ends:
    """A plane and its broker."""

    def __init__(self, protocol: str) -> None:
        here, self.broker = socket.socketpair()
        here.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        here.setblocking(False)
        self.broker.settimeout(20)
        self.here = here
        self.events = Noted()
        self.client = ControlClient(
            "post", Broker("localhost", protocol=protocol), Session("me", False, 100), self.events
        )
        self.plane = BulkPlane(self.client, here, SESSION)
        self.parser = Parser(protocol == "5", 0)

    def receive(self) -> list[Message]:
        """What the broker has got, once all is written."""
        found: list[Message] = []
        while self.plane.wants_write:
            self.plane.write()
            found += self.parser.feed(self.broker.recv(65_536), 0).messages
        return found

    def publish(self, count: int, qos: int = 1, size: int = 3) -> list[Message]:
        messages = [Message("in", b"%d" % number, 1) for number in range(count)]
        for message in messages:
            message.result = b"x" * size
        self.plane.publish_results("out", qos, messages)
        return messages

    def read_all(self, data: bytes) -> None:
        self.broker.sendall(data)
        self.plane.read()

    def close(self) -> None:
        self.here.close()
        self.broker.close()


@pytest.fixture(params=["5", "3.1.1"])
def ends(request: pytest.FixtureRequest) -> Iterator[Ends]:
    made = Ends(request.param)
    yield made
    made.close()


@pytest.mark.parametrize("size", [3, 65_535, 65_536, 3_000_000])
@pytest.mark.parametrize("qos", [0, 1])
def test_whatever_the_socket_takes_at_a_time_all_is_sent_in_order(
    ends: Ends, qos: int, size: int
) -> None:
    sent = ends.publish(5, qos, size)
    ends.plane.publish_rows([Outgoing("dead", b"letter", 2, {"a": "b"}), Outgoing("d", b"", 0, {})])
    assert ends.plane.unsafe()[: 5 if qos else 0] == sent[: 5 if qos else 0]
    arrived = ends.receive()
    assert [(m.topic, len(m.payload), m.qos) for m in arrived] == [
        *[("out", size, qos)] * 5,
        ("dead", 6, 1),
        ("d", 0, 0),
    ]
    assert len({m.mid for m in arrived if m.qos}) == sum(1 for m in arrived if m.qos)


def test_of_qos_0_only_what_is_written_is_safe(ends: Ends) -> None:
    first, second = ends.publish(3, 0, 10), ends.publish(3, 0, 500_000)
    assert ends.plane.outcomes() == ([], [])
    assert (ends.plane.in_flight, ends.plane.unsafe()) == (6, [*first, *second])
    ends.plane.write()
    safe, refused = ends.plane.outcomes()
    assert (safe, refused) == (first, [])
    assert ends.plane.unsafe() == second
    assert ends.plane.wants_write
    ends.receive()
    assert ends.plane.outcomes() == (second, [])
    assert (ends.plane.in_flight, ends.plane.wants_write) == (0, False)


def test_of_qos_1_what_is_acknowledged_is_safe(ends: Ends) -> None:
    sent = ends.publish(4)
    mids = [message.mid for message in ends.receive()]
    assert ends.plane.outcomes() == ([], [])
    ends.read_all(encode_pubacks([mids[0], mids[2], 60_000]))
    assert ends.plane.outcomes() == ([sent[0], sent[2]], [])
    assert ends.plane.unsafe() == [sent[1], sent[3]]
    ends.read_all(encode_pubacks(mids))
    assert ends.plane.outcomes() == ([sent[1], sent[3]], [])


def test_a_refusal_is_told_in_words() -> None:
    ends = Ends("5")
    try:
        sent = ends.publish(2)
        first, second = (message.mid.to_bytes(2) for message in ends.receive())
        ends.read_all(b"\x40\x03" + first + b"\x87" + b"\x40\x04" + second + b"\xa7\x00")
        refused = [(sent[0], "Not authorized"), (sent[1], "reason code 167")]
        assert ends.plane.outcomes() == ([], refused)
        assert ends.plane.in_flight == 0
    finally:
        ends.close()


def test_numbers_begin_anew_and_pass_over_those_in_flight(ends: Ends) -> None:
    [kept] = ends.publish(1)
    for _ in range(70):
        mids = [message.mid for message in (ends.publish(1000), ends.receive())[1]]
        mids = [mid for mid in mids if mid != 1]
        assert len(set(mids)) == len(mids) >= 999
        assert all(1 <= mid <= 65_535 for mid in mids)
        ends.read_all(encode_pubacks(mids))
        assert len(ends.plane.outcomes()[0]) == len(mids)
    assert ends.plane.unsafe() == [kept]


def test_only_messages_of_this_connection_are_acknowledged(ends: Ends) -> None:
    mine, former = Message("in", b"", 1, 5, SESSION), Message("in", b"", 1, 6, SESSION - 1)
    ends.plane.acknowledge([former])
    assert not ends.plane.wants_write
    ends.plane.acknowledge([mine, former])
    ends.plane.write()
    assert ends.broker.recv(100) == encode_pubacks([5])


def test_what_arrives_is_of_this_connection(ends: Ends) -> None:
    properties = b"\x00" if ends.client.v5 else b""
    packets = PublishEncoder("in", 1, properties).encode([b"a", b"b"], [1, 2])
    ends.read_all(b"".join(packets))
    arrived = ends.plane.arrived()
    assert [(m.payload, m.mid, m.session) for m in arrived] == [
        (b"a", 1, SESSION),
        (b"b", 2, SESSION),
    ]
    assert ends.plane.arrived() == []


def test_packets_of_the_control_plane_reach_paho(ends: Ends) -> None:
    v5 = ends.client.v5
    connack = b"\x20\x03\x00\x00\x00" if v5 else b"\x20\x02\x00\x00"
    properties = b"\x00" if v5 else b""
    suback = bytes((0x90, 3 + len(properties), 0, 1)) + properties + b"\x01"
    message = b"".join(PublishEncoder("in", 0, properties).encode([b"a"]))
    ends.read_all(connack + message + suback[:2])
    ends.read_all(suback[2:] + message)
    assert ends.events.told == [("connected", False), ("subscribed", None)]
    assert len(ends.plane.arrived()) == 2


def test_packets_of_paho_keep_their_place_in_the_stream(ends: Ends) -> None:
    ends.client.subscribe("in", 1)
    ends.plane.write()
    assert ends.broker.recv(100)[0] == 0x82


def test_much_that_waits_leaves_no_room(ends: Ends) -> None:
    assert ends.plane.room(10) == 10
    ends.publish(3, 1, 1_000_000)
    assert ends.plane.room(10) == 0
    ends.receive()
    assert ends.plane.room(10) > 0


def test_the_end_of_a_connection_is_an_error(ends: Ends) -> None:
    ends.plane.read()  # there is nothing: that is none
    ends.broker.close()
    with pytest.raises(ConnectionError):
        ends.plane.read()
    ends.publish(1)
    with pytest.raises(ConnectionError):
        ends.plane.write()


def test_nothing_empty_is_offered_to_the_socket(
    ends: Ends, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A WebSocket layer answers 0 to that, and means that it would block."""
    offered: list[int] = []
    send: Callable[..., int] = ends.here.send

    class Layer:
        def send(self, data: bytes) -> int:
            offered.append(len(data))
            return send(data)

    monkeypatch.setattr(ends.plane._output, "_sock", Layer())
    ends.publish(2, 1, 70_000)
    ends.publish(2, 0, 0)
    ends.receive()
    assert min(offered) > 0
