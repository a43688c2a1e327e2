"""The bulk data plane on one end of a pair of sockets; the test is the broker at the other."""

from __future__ import annotations

import random
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from itertools import pairwise
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.columns import messages_of, result_batch_of
from support.held import held_bytes

from pyboot_svc.config import Broker
from pyboot_svc.worker.messages import (
    ID_PROPERTY,
    Destination,
    MessageBatch,
    ResultBatch,
    Sendable,
    StoredMessage,
)
from pyboot_svc.worker.mqtt.interfaces import BrokerLimits, Session
from pyboot_svc.worker.mqtt.link.paho_client import ControlClient
from pyboot_svc.worker.mqtt.refusal.refusals import Refusal
from pyboot_svc.worker.mqtt.wire import inflight
from pyboot_svc.worker.mqtt.wire.bulk_plane import BulkPlane
from pyboot_svc.worker.mqtt.wire.decoder import Decoder
from pyboot_svc.worker.mqtt.wire.encoder import PublishEncoder, encode_pubacks
from pyboot_svc.worker.mqtt.wire.errors import Broken, Malformed

SESSION = 7
LAST_ID = 65_535
# Where numbers begin anew sooner: more than are in flight at a time here.
FEW_IDS = 1000


class Got(NamedTuple):
    """What the broker has got."""

    topic: str
    payload: bytes
    packet_id: int


def results_of(items: list[Sendable]) -> list[tuple[int, bytes]]:
    """Each result's place in its chunk, and itself."""
    result_batches = [item for item in items if isinstance(item, ResultBatch)]
    assert len(result_batches) == len(items)
    return [
        pair
        for results in result_batches
        for pair in zip(results.places, results.payloads, strict=True)
    ]


class Noted:
    """What the client tells."""

    def __init__(self) -> None:
        self.told: list[object] = []

    def on_connected(self, session_present: bool, limits: BrokerLimits) -> None:
        self.told.append(("connected", session_present))

    def on_subscribed(self, topic_filter: str, code: int, reason: str) -> None:
        self.told.append(("subscribed", code))

    def on_unsubscribed(self) -> None:
        self.told.append("unsubscribed")

    def on_ended(self, reason: str, *, taken_over: bool = False, refused: bool = False) -> None:
        self.told.append(("ended", reason))


Outcomes = tuple[list[Sendable], list[tuple[Sendable, Refusal]]]


class Told:
    """What a plane tells its owner."""

    def __init__(self) -> None:
        self._batches: list[MessageBatch] = []
        self._safe: list[Sendable] = []
        self._refused: list[tuple[Sendable, Refusal]] = []

    def on_messages(self, batch: MessageBatch) -> None:
        self._batches.append(batch)

    def on_published(self, safe: list[Sendable], refused: list[tuple[Sendable, Refusal]]) -> None:
        assert safe or refused
        self._safe += safe
        self._refused += refused

    def outcomes(self) -> Outcomes:
        """Since the last time; so do the others."""
        found = self._safe, self._refused
        self._safe, self._refused = [], []
        return found

    def arrived(self) -> MessageBatch:
        [batch] = self.batches()
        return batch

    def batches(self) -> list[MessageBatch]:
        found, self._batches = self._batches, []
        return found


class Ends:
    """A plane and its broker."""

    def __init__(self, protocol: str, sock: Callable[[Any], Any] = lambda sock: sock) -> None:
        here, self.broker = socket.socketpair()
        here.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        here.setblocking(False)
        self.broker.settimeout(20)
        self.here = here
        self.events = Noted()
        self.client = ControlClient(
            "post", Broker("localhost", protocol=protocol), Session("me", False, 100), self.events
        )
        self.told = Told()
        self.plane = BulkPlane(self.client, sock(here), SESSION, self.told)
        self._decoder = Decoder(protocol == "5", 16 * 1024**2)

    def receive(self) -> list[Got]:
        """What the broker has got, once all is written."""
        found: list[Got] = []
        while self.plane.wants_write:
            self.plane.write()
            got = self._decoder.feed(self.broker.recv(65_536))
            found += map(Got, got.topics, got.payloads, got.packet_ids)
        return found

    def receive_bytes(self) -> bytes:
        found = b""
        while self.plane.wants_write:
            self.plane.write()
            found += self.broker.recv(65_536)
        return found

    def publish(self, count: int, qos: int = 1, size: int = 3) -> ResultBatch:
        """Results that tell their place, as far as their size allows."""
        results = result_batch_of(
            [(b"%03d" % number)[:size].ljust(size, b"x") for number in range(count)]
        )
        self.plane.publish_results(Destination("out", qos), [results])
        return results

    def read_all(self, data: bytes) -> int:
        self.broker.sendall(data)
        return self.plane.read()

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
    rows = [StoredMessage("dead", b"letter", 2, {"a": "b"}), StoredMessage("d", b"", 0, {})]
    ends.plane.publish_rows(rows)
    # First what is to be acknowledged, then what only has to be written.
    assert ends.plane.unsafe() == ([sent, *rows] if qos else [rows[0], sent, rows[1]])
    arrived = ends.receive()
    assert [(got.topic, got.payload, got.packet_id > 0) for got in arrived] == [
        *[("out", payload, qos == 1) for payload in sent.payloads],
        ("dead", b"letter", True),
        ("d", b"", False),
    ]
    packet_ids = [got.packet_id for got in arrived if got.packet_id]
    assert len(set(packet_ids)) == len(packet_ids) == (6 if qos else 1)


def test_of_qos_0_only_what_is_written_is_safe(ends: Ends) -> None:
    first = ends.publish(3, 0, 10)
    assert ends.plane.room(10) == 7
    second = ends.publish(3, 0, 500_000)
    assert ends.told.outcomes() == ([], [])
    assert (ends.plane.in_flight, ends.plane.unsafe()) == (6, [first, second])
    ends.plane.write()
    safe, refused = ends.told.outcomes()
    assert (safe, refused) == ([first], [])
    assert ends.plane.unsafe() == [second]
    assert ends.plane.wants_write
    ends.receive()
    assert ends.told.outcomes() == ([second], [])
    assert (ends.plane.in_flight, ends.plane.wants_write) == (0, False)


def test_of_qos_1_what_is_acknowledged_is_safe(ends: Ends) -> None:
    sent = results_of([ends.publish(4)])
    packet_ids = [got.packet_id for got in ends.receive()]
    assert ends.told.outcomes() == ([], [])
    ends.read_all(encode_pubacks([packet_ids[0], packet_ids[2], 60_000]))
    safe, refused = ends.told.outcomes()
    assert (results_of(safe), refused) == ([sent[0], sent[2]], [])
    assert results_of(ends.plane.unsafe()) == [sent[1], sent[3]]
    assert ends.plane.in_flight == 2
    ends.read_all(encode_pubacks(packet_ids))
    safe, refused = ends.told.outcomes()
    assert (results_of(safe), refused) == ([sent[1], sent[3]], [])
    assert (ends.plane.in_flight, ends.plane.unsafe()) == (0, [])


def test_a_refusal_is_told_in_words() -> None:
    ends = Ends("5")
    try:
        sent = results_of([ends.publish(2)])
        first, second = (got.packet_id.to_bytes(2) for got in ends.receive())
        ends.read_all(b"\x40\x03" + first + b"\x87" + b"\x40\x04" + second + b"\xa7\x00")
        safe, refused = ends.told.outcomes()
        assert safe == []
        assert [(results_of([item]), refusal.text) for item, refusal in refused] == [
            ([sent[0]], "Not authorized"),
            ([sent[1]], "reason code 167"),
        ]
        assert ends.plane.in_flight == 0
    finally:
        ends.close()


def test_numbers_begin_anew_and_pass_over_those_in_flight(ends: Ends) -> None:
    kept = ends.publish(3)
    assert [got.packet_id for got in ends.receive()] == [1, 2, 3]
    for _ in range(70):
        ends.publish(1000)
        packet_ids = [got.packet_id for got in ends.receive()]
        assert len(set(packet_ids)) == len(packet_ids) == 1000
        assert all(4 <= packet_id <= LAST_ID for packet_id in packet_ids)
        ends.read_all(encode_pubacks(packet_ids))
        assert len(results_of(ends.told.outcomes()[0])) == 1000
        assert ends.plane.in_flight == 3
    assert ends.plane.unsafe() == [kept]


def test_of_a_parcel_only_the_numbers_still_in_flight_are_passed_over(ends: Ends) -> None:
    ends.publish(5)
    ends.receive()
    ends.read_all(encode_pubacks([1, 2]))
    for count in [1000] * 65 + [531]:
        ends.publish(count)
        packet_ids = [got.packet_id for got in ends.receive()]
        ends.read_all(encode_pubacks(packet_ids))
    assert packet_ids[-2:] == [LAST_ID, 1]
    ends.publish(4)
    assert [got.packet_id for got in ends.receive()] == [2, 6, 7, 8]
    assert ends.plane.in_flight == 7


def test_numbers_pass_over_all_that_are_never_answered(ends: Ends) -> None:
    """However many times round: a number in flight twice would have the wrong one taken as safe."""
    open_: set[int] = set()
    for turn in range(140):
        ends.publish(1000)
        packet_ids = [got.packet_id for got in ends.receive()]
        assert len(set(packet_ids)) == 1000
        assert open_.isdisjoint(packet_ids), (
            f"in flight twice: {sorted(open_.intersection(packet_ids))}"
        )
        if turn in {0, 30, 64, 65}:
            left = packet_ids[500]
            packet_ids.remove(left)
            open_.add(left)
        ends.read_all(encode_pubacks(packet_ids))
        safe = results_of(ends.told.outcomes()[0])
        assert len(safe) == len(packet_ids)
        assert ends.plane.in_flight == len(open_)
    ends.read_all(encode_pubacks(sorted(open_)))
    assert len(results_of(ends.told.outcomes()[0])) == 4
    assert ends.plane.unsafe() == []


def test_only_messages_of_this_connection_are_acknowledged(ends: Ends) -> None:
    ends.plane.acknowledge(SESSION - 1, [6])
    assert not ends.plane.wants_write
    ends.plane.acknowledge(SESSION, [5])
    ends.plane.acknowledge(SESSION - 1, [6])
    ends.plane.write()
    assert ends.broker.recv(100) == encode_pubacks([5])


@pytest.mark.parametrize("retained", [0, 0x01])
def test_what_comes_again_while_it_is_open_is_passed_over(ends: Ends, retained: int) -> None:
    def packet(payload: bytes, packet_id: int, flags: int = 0) -> bytes:
        properties = b"\x00" if ends.client.v5 else b""
        body = b"\0\x02in" + packet_id.to_bytes(2) + properties + payload
        return bytes((0x32 | flags | retained, len(body))) + body

    again = 0x08
    ends.read_all(packet(b"a", 1))
    assert ends.told.arrived().packet_ids == [1]
    ends.read_all(packet(b"a", 1, again))
    assert ends.told.batches() == []
    # Among others, in runs, and in one read with the first.
    ends.read_all(
        packet(b"a", 1, again)
        + packet(b"b", 2)
        + b"".join(packet(b"c", number, again) for number in range(1, 30))
        + packet(b"d", 30)
        + packet(b"d", 30, again)
    )
    arrived = ends.told.arrived()
    assert arrived.packet_ids == [2, *range(3, 30), 30]
    assert messages_of(arrived) == [("in", b"b"), *[("in", b"c")] * 27, ("in", b"d")]
    assert list(arrived.particulars.retained) == ([0, 28] if retained else [])
    # What isn't said to come again is another one, whatever its number.
    ends.read_all(packet(b"e", 30))
    assert ends.told.arrived().packet_ids == [30]
    ends.plane.acknowledge(SESSION, [1])
    ends.read_all(packet(b"f", 1, again))
    assert messages_of(ends.told.arrived()) == [("in", b"f")]


def test_what_is_of_qos_0_is_not_acknowledged(ends: Ends) -> None:
    ends.plane.acknowledge(SESSION, [0, 0])
    assert not ends.plane.wants_write
    ends.plane.acknowledge(SESSION, [0, 5, 0, 9])
    ends.plane.acknowledge(SESSION, [7])
    ends.plane.write()
    assert ends.broker.recv(100) == encode_pubacks([5, 9, 7])


def test_what_arrives_is_of_this_connection(ends: Ends) -> None:
    properties = b"\x00" if ends.client.v5 else b""
    packets = PublishEncoder("in", 1, properties).encode([b"a", b"b"], [1, 2])
    before = time.monotonic_ns()
    ends.read_all(b"".join(packets))
    arrived = ends.told.arrived()
    assert messages_of(arrived) == [("in", b"a"), ("in", b"b")]
    assert (arrived.packet_ids, arrived.session) == ([1, 2], SESSION)
    assert len(arrived.arrived) == 2
    assert all(before <= at <= time.monotonic_ns() for at in arrived.arrived)
    assert arrived.redeliverable
    assert ends.told.batches() == []


def test_a_read_says_how_much_it_brought(ends: Ends) -> None:
    properties = b"\x00" if ends.client.v5 else b""
    once, twice = (PublishEncoder("in", qos, properties) for qos in (0, 1))
    assert ends.plane.read() == 0
    assert ends.read_all(b"".join(once.encode([b"0", b"1"]))) == 2
    assert not ends.told.arrived().redeliverable
    assert ends.read_all(b"".join([*once.encode([b"2"]), *twice.encode([b"3"], [9])])) == 2
    arrived = ends.told.arrived()
    assert (arrived.topics, arrived.packet_ids, arrived.redeliverable) == (["in"] * 2, [0, 9], True)
    ends.publish(3)
    assert ends.read_all(encode_pubacks([got.packet_id for got in ends.receive()])) == 3
    assert ends.told.batches() == []


def test_what_is_retained_recurs(ends: Ends) -> None:
    """Though it is of QoS 0: it comes again with the next subscription."""
    properties = b"\x00" if ends.client.v5 else b""
    packet = b"".join(PublishEncoder("in", 0, properties).encode([b"x"]))
    ends.read_all(b"\x31" + packet[1:])
    arrived = ends.told.arrived()
    assert (arrived.payloads, arrived.packet_ids, arrived.redeliverable) == ([b"x"], [0], True)


def test_packets_of_the_control_plane_reach_paho(ends: Ends) -> None:
    v5 = ends.client.v5
    connack = b"\x20\x03\x00\x00\x00" if v5 else b"\x20\x02\x00\x00"
    properties = b"\x00" if v5 else b""
    suback = bytes((0x90, 3 + len(properties), 0, 1)) + properties + b"\x01"
    message = b"".join(PublishEncoder("in", 0, properties).encode([b"a"]))
    ends.client.subscribe("in", 1)
    ends.read_all(connack + message + suback[:2])
    ends.read_all(suback[2:] + message)
    assert ends.events.told == [("connected", False), ("subscribed", 1)]
    assert [batch.payloads for batch in ends.told.batches()] == [[b"a"], [b"a"]]


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
    with pytest.raises(Broken):
        ends.plane.read()
    ends.publish(1)
    with pytest.raises(Broken):
        ends.plane.write()


def test_what_came_before_the_end_is_told(ends: Ends) -> None:
    """What follows a message, and is no MQTT, is not that message's fault."""
    lead = b"\0" if ends.client.v5 else b""
    message = b"".join(PublishEncoder("in", 0, lead).encode([b"last"]))
    with pytest.raises(Broken) as caught:
        ends.read_all(message + b"\x30\xff\xff\xff\xff\xff")
    assert isinstance(caught.value.__cause__, Malformed)
    assert ends.told.arrived().payloads == [b"last"]


def test_a_bug_of_whoever_is_told_is_no_end_of_the_connection(
    ends: Ends, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stumble(batch: MessageBatch) -> None:
        raise OSError

    monkeypatch.setattr(ends.told, "on_messages", stumble)
    lead = b"\0" if ends.client.v5 else b""
    with pytest.raises(OSError, match=r"^$"):
        ends.read_all(b"".join(PublishEncoder("in", 0, lead).encode([b"x"])))


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_nothing_empty_is_offered_to_the_socket(protocol: str) -> None:
    """A WebSocket layer answers 0 to that, and means that it would block."""
    offered: list[int] = []

    class Layer:
        def __init__(self, sock: socket.socket) -> None:
            self._sock = sock
            self.recv = sock.recv

        def send(self, data: bytes) -> int:
            offered.append(len(data))
            return self._sock.send(data)

    ends = Ends(protocol, Layer)
    try:
        ends.publish(2, 1, 70_000)
        ends.publish(2, 0, 0)
        ends.publish(1, 0, 0)
        ends.receive()
        assert min(offered) > 0
    finally:
        ends.close()


@pytest.mark.parametrize("redeliverable", [True, False], ids=["comes again", "comes once"])
@pytest.mark.parametrize("qos", [0, 1])
def test_an_id_only_where_something_can_come_twice(
    ends: Ends, qos: int, redeliverable: bool
) -> None:
    results = result_batch_of(
        [b"a", b"b" * 20, b"c"],
        redeliverable=redeliverable,
    )
    ends.plane.publish_results(Destination("out", qos), [results])
    sent = ends.receive_bytes()
    named = ends.client.v5 and (qos > 0 or redeliverable)
    assert sent.count(ID_PROPERTY.encode()) == (3 if named else 0)
    ids = [message.id.encode() for message in messages_of(results.chunk.batch)]
    found = [sent.find(id_) for id_ in ids]
    assert found == sorted(found)
    assert (min(found) > 0) == named
    got = Decoder(ends.client.v5).feed(sent)
    assert (got.topics, got.payloads) == (["out"] * 3, results.payloads)
    assert got.packet_ids == ([1, 2, 3] if qos else [0, 0, 0])


@pytest.mark.parametrize("redeliverable", [True, False], ids=["comes again", "comes once"])
def test_a_lone_result_is_the_packet_that_it_is_among_others(
    ends: Ends, redeliverable: bool
) -> None:
    results = result_batch_of([b"alone"], redeliverable=redeliverable)
    ends.plane.publish_results(Destination("out", 0), [results])
    as_usual = ends.receive_bytes()
    for to in (Destination("out", 0), Destination("out", 0, retain=True)):
        assert ends.plane.publish_lone(to, results.chunk, b"alone") is None
    assert ends.broker.recv(65_536) == as_usual + bytes((as_usual[0] | 1,)) + as_usual[1:]
    assert (ends.plane.in_flight, ends.plane.wants_write, ends.plane.answers) == (0, False, 3)


def test_a_lone_result_of_qos_1_is_the_packet_that_it_is_among_others(ends: Ends) -> None:
    results = result_batch_of([b"alone"])
    ends.plane.publish_results(Destination("out", 1), [results])
    as_usual = ends.receive_bytes()
    on_its_way = ends.plane.publish_lone(Destination("out", 1), results.chunk, b"alone")
    number = as_usual.index(b"\0\1")
    sent = ends.broker.recv(65_536)
    assert sent == as_usual[:number] + b"\0\2" + as_usual[number + 2 :]
    assert on_its_way is not None
    assert (ends.plane.in_flight, ends.plane.wants_write) == (2, False)
    ends.read_all(encode_pubacks([1, 2]))
    assert ends.told.outcomes() == ([results, on_its_way], [])


@pytest.mark.parametrize("size", [300_000, 3_000_000])
def test_a_lone_result_that_is_not_written_as_a_whole_is_in_flight(ends: Ends, size: int) -> None:
    results = result_batch_of([b"x" * size])
    to = Destination("out", 0)
    on_its_way = ends.plane.publish_lone(to, results.chunk, results.payloads[0])
    assert on_its_way is not None
    assert results_of([on_its_way]) == [(0, b"x" * size)]
    assert (ends.plane.in_flight, ends.plane.unsafe()) == (1, [on_its_way])
    assert ends.told.outcomes() == ([], [])
    behind = ends.publish(1, 0)
    assert ends.plane.answers == 0
    assert [got.payload for got in ends.receive()] == [b"x" * size, b"000"]
    assert ends.told.outcomes() == ([on_its_way, behind], [])
    assert ends.plane.answers > 0


def test_a_lone_result_that_the_socket_takes_nothing_of_is_in_flight(ends: Ends) -> None:
    while True:
        try:
            ends.here.send(b"\xd0\0" * 1000)
        except BlockingIOError:
            break
    results = result_batch_of([b"alone"])
    on_its_way = ends.plane.publish_lone(Destination("out", 0), results.chunk, b"alone")
    assert on_its_way is not None
    assert ends.plane.wants_write
    assert [got.payload for got in ends.receive()] == [b"alone"]
    assert ends.told.outcomes() == ([on_its_way], [])


@pytest.mark.parametrize("qos", [0, 1])
def test_a_lone_result_that_the_connection_ends_at_is_not_in_flight(qos: int, ends: Ends) -> None:
    ends.broker.close()
    results = result_batch_of([b"alone"])
    with pytest.raises(Broken):
        ends.plane.publish_lone(Destination("out", qos), results.chunk, b"alone")
    assert ends.plane.unsafe() == []
    assert ends.plane.answers == 0


@pytest.mark.parametrize("long", ["topic", "properties"])
def test_of_long_destinations_few_are_remembered(ends: Ends, long: str) -> None:
    before = held_bytes(ends.plane)
    for number in range(100):
        text = f"{number:03}" * 20_000
        topic, properties = (text, b"") if long == "topic" else ("out", text.encode())
        ends.plane.publish_results(
            Destination(topic, 0, False, properties), [result_batch_of([b""])]
        )
        ends.receive_bytes()
    assert held_bytes(ends.plane) - before < 3 * 1024**2


def test_results_with_and_without_an_id_share_a_connection() -> None:
    ends = Ends("5")
    try:
        again, once = (
            result_batch_of([b"a", b"b"]),
            result_batch_of([b"c"], packet_ids=[0]),
        )
        ends.plane.publish_results(Destination("out", 0), [again, once, again, once])
        sent = ends.receive_bytes()
        assert sent.count(ID_PROPERTY.encode()) == 4
        assert sent.count(once.chunk.batch.message(0).id.encode()) == 0
        assert Decoder(True).feed(sent).payloads == [b"a", b"b", b"c"] * 2
    finally:
        ends.close()


def test_of_a_part_of_a_chunk_the_ids_are_those_of_its_places() -> None:
    ends = Ends("5")
    try:
        whole = result_batch_of([b"%d" % number for number in range(6)])
        some = ResultBatch(whole.chunk, [1, 4, 5], [b"one", b"four", b"five"])
        ends.plane.publish_results(Destination("out", 1), [whole.part(2, 4), some])
        sent = ends.receive_bytes()
        for place, payload in [(2, b"2"), (3, b"3"), (1, b"one"), (4, b"four"), (5, b"five")]:
            assert whole.chunk.batch.message(place).id.encode() + payload in sent
        assert sent.count(ID_PROPERTY.encode()) == 5
    finally:
        ends.close()


# A result's place in its chunk, or -1 for a row; and its payload.
Sent = tuple[int, bytes]
# What is done, how much of it, and more about it.
Step = tuple[str, list[int] | int, bool | int]


class Account:
    """What a plane should say is in flight, kept the simple way: one number, one message."""

    def __init__(self, ends: Ends, first: int) -> None:
        self.ends = ends
        self.open: dict[int, Sent] = {}
        self.ended: list[int] = []
        self._count = 0
        while first:
            size = min(first, 200)
            self.publish([size], False)
            self.answer(list(self.open), set())
            first -= size

    def publish(self, sizes: list[int], row: bool) -> None:
        """Parcels of so many results, and perhaps a row behind."""
        result_batches = []
        expected: list[Sent] = []
        for size in sizes:
            result_batches.append(
                result_batch_of([b"%d" % (self._count + at) for at in range(size)])
            )
            expected += enumerate(result_batches[-1].payloads)
            self._count += size
        self.ends.plane.publish_results(Destination("out", 1), result_batches)
        if row:
            expected.append((-1, b"row %d" % self._count))
            self.ends.plane.publish_rows([StoredMessage("row", b"row %d" % self._count, 1, {})])
            self._count += 1
        got = self.ends.receive()
        assert [one.payload for one in got] == [payload for _, payload in expected]
        packet_ids = [one.packet_id for one in got]
        assert all(1 <= packet_id <= FEW_IDS for packet_id in packet_ids)
        assert len(set(packet_ids)) == len(packet_ids)
        assert self.open.keys().isdisjoint(packet_ids)
        # A number that has come to its end is not used anew at once.
        assert all(
            (after - before) % FEW_IDS <= 1 + len(self.open)
            for before, after in pairwise(packet_ids)
        )
        self.open.update(zip(packet_ids, expected, strict=True))

    def answer(self, packet_ids: list[int], refused: set[int]) -> None:
        """Of these, some are refused; some may be known to nobody."""
        self.ends.read_all(
            b"".join(
                b"\x40\x03" + packet_id.to_bytes(2) + b"\x97"
                if packet_id in refused
                else encode_pubacks([packet_id])
                for packet_id in packet_ids
            )
        )
        known = list(dict.fromkeys(packet_id for packet_id in packet_ids if packet_id in self.open))
        ended = {packet_id: self.open.pop(packet_id) for packet_id in known}
        self.ended += known
        safe, failed = self.ends.told.outcomes()
        assert shown(safe) == [ended[packet_id] for packet_id in known if packet_id not in refused]
        assert shown([item for item, _ in failed]) == [
            ended[packet_id] for packet_id in known if packet_id in refused
        ]
        assert {refusal.text for _, refusal in failed} <= {"Quota exceeded"}

    def check(self) -> None:
        plane = self.ends.plane
        assert plane.in_flight == len(self.open)
        assert plane.room(100_000) == 100_000 - len(self.open)
        assert shown(plane.unsafe()) == list(self.open.values())


def shown(items: list[Sendable]) -> list[Sent]:
    found: list[Sent] = []
    for item in items:
        found += [(-1, item.payload)] if isinstance(item, StoredMessage) else results_of([item])
    return found


STEPS = st.lists(
    st.tuples(st.just("publish"), st.lists(st.integers(1, 9), max_size=3), st.booleans())
    | st.tuples(
        st.sampled_from(["first", "first", "last", "some", "all but the first", "again"]),
        st.integers(1, 12),
        st.integers(0, 2**32),
    ),
    max_size=25,
)


@contextmanager
def few_ids() -> Iterator[None]:
    """For one example: other tests go through all the numbers that there are."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inflight, "LAST_ID", FEW_IDS)
        yield


@settings(max_examples=200, deadline=None)
@given(st.booleans(), st.integers(FEW_IDS - 60, FEW_IDS) | st.just(0), STEPS)
def test_the_account_of_what_is_in_flight(v5: bool, first: int, steps: list[Step]) -> None:
    """Answers in order and not, twice, to nothing, and refusals; about where numbers begin anew."""
    ends = Ends("5" if v5 else "3.1.1")
    with closing(ends), few_ids():
        account = Account(ends, first)
        for kind, about, more in steps:
            if isinstance(about, list):
                account.publish(about, bool(more))
            else:
                source = random.Random(more)
                packet_ids = answered(kind, about, account, source)
                refused = {packet_id for packet_id in packet_ids if v5 and source.random() < 0.1}
                account.answer(packet_ids, refused)
            account.check()
        account.answer(list(account.open), set())
        account.check()
        assert account.open == {}


def answered(kind: str, count: int, account: Account, source: random.Random) -> list[int]:
    """Numbers that a broker answers: most brokers do it in order."""
    packet_ids = list(account.open)
    if kind == "first":
        return packet_ids[:count]
    if kind == "last":
        return packet_ids[-count:]
    if kind == "all but the first":
        return packet_ids[1:]
    if kind == "again":
        return [*account.ended[-count:], *packet_ids[:1]]
    chosen = source.sample(packet_ids, min(count, len(packet_ids)))
    # Answered twice, and what nobody has sent.
    return [*chosen, *chosen[:1], source.randint(20_000, 30_000), *chosen[1:2]]


def test_refusals_in_the_middle_of_answers() -> None:
    ends = Ends("5")
    with closing(ends), few_ids():
        account = Account(ends, FEW_IDS - 5)
        account.publish([10, 1, 9], True)
        packet_ids = list(account.open)
        account.answer(
            packet_ids[:15],
            {packet_ids[0], packet_ids[5], packet_ids[6], packet_ids[10], packet_ids[14]},
        )
        account.check()
        account.answer(packet_ids, {packet_ids[20]})
        account.check()
        assert account.open == {}
