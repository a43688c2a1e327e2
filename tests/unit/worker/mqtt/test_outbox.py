"""The outbox on a real connection; the test is the broker, and whoever has results."""

from __future__ import annotations

import socket
import struct
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence

import pytest
from support.columns import chunk_of, payloads_of, result_batch_of
from support.poll import until
from support.store import configured

from pyboot_svc.config import Broker, Endpoint
from pyboot_svc.worker.messages import (
    Addressed,
    Chunk,
    Destination,
    Result,
    ResultBatch,
    Sendable,
    StoredMessage,
    count_of,
)
from pyboot_svc.worker.mqtt.link import loop
from pyboot_svc.worker.mqtt.outbox import MqttOutbox
from pyboot_svc.worker.mqtt.wire.decoder import Arrivals, Decoder
from pyboot_svc.worker.mqtt.wire.encoder import encode_pubacks
from pyboot_svc.worker.mqtt.wire.send_buffer import LONG_PAYLOAD

CONNACK = b"\x20\x02\x00\x00"
# The largest packet that the broker takes is one of MOST_BYTES, says its answer of MQTT 5.
MOST_BYTES = 1000
CONNACK_5 = b"\x20\x08\x00\x00\x05\x27" + MOST_BYTES.to_bytes(4)
# Receive Maximum 2.
CONNACK_OF_TWO = b"\x20\x06\x00\x00\x03\x21\x00\x02"
# More than one window of either data plane.
RESULTS = 5000


class Results:
    """A source without a spool."""

    def __init__(self) -> None:
        self.waiting: deque[ResultBatch] = deque()
        self.safe: list[Sendable] = []
        self.at_once: list[Result] = []
        self.on_their_way: list[ResultBatch] = []
        self.refusals: list[tuple[Sendable, str]] = []
        self.rows: list[StoredMessage] = []
        self.online = threading.Event()

    def connected(self) -> None:
        self.online.set()

    def lost(self, in_flight: list[Sendable]) -> None:
        self.online.clear()

    def hold(self, lane: int, again: list[Sendable]) -> None:
        raise AssertionError("nothing is refused for now here")

    def resume(self, lane: int) -> None: ...
    def ready(self) -> bool:
        return bool(self.waiting or self.rows)

    def rows_ready(self) -> bool:
        return bool(self.rows)

    def take_rows(self, room: int, *, from_disk: bool = True) -> list[StoredMessage]:
        taken, self.rows = self.rows[:room], self.rows[room:]
        return taken

    def take_results(self, room: int) -> list[ResultBatch]:
        taken: list[ResultBatch] = []
        while self.waiting and room:
            results = self.waiting.popleft()
            if len(results) > room:
                self.waiting.appendleft(results.part(room, len(results)))
                results = results.part(0, room)
            taken.append(results)
            room -= len(results)
        return taken

    def is_next(self, chunk: Chunk) -> bool:
        return not self.waiting

    def published_at_once(self, chunk: Chunk) -> None:
        self.at_once += chunk.results

    def on_its_way(self, results: ResultBatch) -> None:
        self.on_their_way.append(results)

    def delivered(self, items: list[Sendable]) -> None:
        self.safe += items

    def refused(self, items: list[Sendable], reason: str) -> None:
        self.refusals += [(item, reason) for item in items]


class Hand:
    """Knows what is in hand, and that this topic was when the process died."""

    DEADLY = "deadly"

    def __init__(self) -> None:
        self.now: StoredMessage | None = None

    def crashes(self, row: StoredMessage) -> int:
        assert row is self.now, "who looks at it has it in hand"
        return 3 if row.topic == self.DEADLY else 0

    def each(self, rows: Sequence[StoredMessage]) -> Iterator[StoredMessage]:
        for self.now in rows:
            yield self.now
        self.now = None


class Line:
    """An outbox that is connected to `broker`, by MQTT 3.1.1 if nothing else is said."""

    def __init__(
        self,
        data_plane: str,
        protocol: str = "3.1.1",
        qos: int = 0,
        connack: bytes | None = None,
    ) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            server.settimeout(20)
            there = Broker("127.0.0.1", server.getsockname()[1], protocol=protocol)
            self.outbox = MqttOutbox(
                configured(post=Endpoint(there, "out", qos), data_plane=data_plane),
                in_hand=Hand(),
            )
            self.results = Results()
            self.outbox.start(self.results, lambda: None)
            self.broker, _ = server.accept()
        self.broker.settimeout(20)
        assert self.broker.recv(1024).startswith(b"\x10"), "CONNECT"
        self.broker.sendall(connack or (CONNACK_5 if protocol == "5" else CONNACK))
        assert self.results.online.wait(20)
        self._decoder = Decoder(protocol == "5", 16 * 1024**2)

    def receive(self, count: int) -> Arrivals:
        found = Arrivals()
        while len(found.packet_ids) < count:
            arrivals = self._decoder.feed(self.broker.recv(65_536))
            found.payloads += arrivals.payloads
            found.packet_ids += arrivals.packet_ids
        return found

    def close(self) -> None:
        self.outbox.stop(20)
        self.broker.close()


@pytest.fixture
def connect(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Line]]:
    # What is forgotten until the loop turns by itself would be found too late for the test.
    monkeypatch.setattr(loop, "TICK_SECONDS", 3600.0)
    lines: list[Line] = []

    def start(data_plane: str, protocol: str = "3.1.1", qos: int = 0, **more: bytes) -> Line:
        lines.append(Line(data_plane, protocol, qos, **more))
        return lines[-1]

    yield start
    for line in lines:
        line.close()


# So many results a batch: the window ends within one.
@pytest.mark.parametrize("each", [1, 7, 10_000])
@pytest.mark.parametrize("data_plane", ["bulk", "plain"])
@pytest.mark.parametrize("size", [4, 50_000])
def test_one_attempt_sends_all_that_waits_however_many_windows(
    data_plane: str, size: int, each: int, connect: Callable[..., Line]
) -> None:
    line = connect(data_plane)
    count = RESULTS if size < 1000 else 200
    payloads = [b"%04d" % number * (size // 4) for number in range(count)]
    for start in range(0, count, each):
        line.results.waiting.append(
            result_batch_of(payloads[start : start + each], redeliverable=False)
        )
    line.outbox.try_send()
    assert line.receive(count).payloads == payloads


@pytest.mark.parametrize("data_plane", ["bulk", "plain"])
@pytest.mark.parametrize(
    "large",
    [{0}, {4}, {2}, {0, 1, 2}, {1, 3}, {0, 1, 2, 3, 4}, set()],
    ids=lambda large: ",".join(map(str, sorted(large))) or "none",
)
def test_of_a_parcel_what_the_broker_would_not_take_is_refused(
    data_plane: str, large: set[int], connect: Callable[..., Line]
) -> None:
    """And what is around it is sent, in order."""
    line = connect(data_plane, "5", 1)
    payloads = [b"%d" % n * (MOST_BYTES if n in large else 1) for n in range(5)]
    fitting = [payload for payload in payloads if len(payload) == 1]
    first, last = result_batch_of(payloads), result_batch_of([b"last"])
    line.results.waiting += [first, last]
    line.outbox.try_send()
    got = line.receive(len(fitting) + 1)
    assert got.payloads == [*fitting, b"last"]
    assert places_of([item for item, _ in line.results.refusals]) == sorted(large)
    assert {reason for _, reason in line.results.refusals} <= {
        f"the post broker: larger than the {MOST_BYTES} bytes it takes"
    }
    assert line.outbox.in_flight == len(fitting) + 1
    line.broker.sendall(encode_pubacks(got.packet_ids))
    until(lambda: line.outbox.in_flight == 0, "all is safe")
    until(lambda: b"last" in payloads_of(result_batches(line.results.safe)), "that is told")
    safe = [
        results for results in result_batches(line.results.safe) if results.chunk is first.chunk
    ]
    assert payloads_of(safe) == fitting
    assert places_of(safe) == [n for n in range(5) if n not in large]


def sizes_of(data: bytes) -> list[int]:
    """Of the packets in it, of 128 bytes to 16,384 each, the last one maybe cut."""
    found = []
    while len(data) > 2:
        found.append(3 + (data[1] & 0x7F) + (data[2] << 7))
        data = data[found[-1] :]
    return found


OWN = Destination("out/of/its/own", 1, False, b"\x02\0\0\0\7")


@pytest.mark.parametrize("data_plane", ["bulk", "plain"])
@pytest.mark.parametrize("redeliverable", [True, False])
@pytest.mark.parametrize("qos", [0, 1, 2])
@pytest.mark.parametrize("kind", ["usual", "own", "row"])
def test_what_is_as_large_as_the_broker_takes_is_sent_and_no_byte_more(
    kind: str, qos: int, redeliverable: bool, data_plane: str, connect: Callable[..., Line]
) -> None:
    line = connect(data_plane, "5", qos)
    payloads = [b"x" * size for size in range(MOST_BYTES - 90, MOST_BYTES)]
    if kind == "own":
        payloads = [Addressed.to(OWN, payload) for payload in payloads]
    if kind == "row":
        line.results.rows = [StoredMessage("out", one, qos, {"k": "v"}) for one in payloads]
    else:
        results = result_batch_of(payloads, redeliverable=redeliverable)
        results.chunk.unusual = kind == "own"
        line.results.waiting.append(results)
    line.outbox.wake()

    def looked_at() -> bool:
        # What becomes safe meanwhile is in neither of the first two.
        safe = sum(map(count_of, line.results.safe))
        return safe + line.outbox.in_flight + len(line.results.refusals) == len(payloads)

    until(looked_at, "all is looked at")
    taken = len(payloads) - len(line.results.refusals)
    data = b""
    while len(found := sizes_of(data)) < taken or sum(found) > len(data):
        data += line.broker.recv(65_536)
    assert found == list(range(found[0], MOST_BYTES + 1))


def test_a_lone_result_is_sent_at_once(connect: Callable[..., Line]) -> None:
    line = connect("bulk")
    assert line.outbox.send_lone(lone(b"first"))
    assert line.outbox.send_lone(lone(b"second"))
    assert line.results.at_once == [b"first", b"second"]
    assert line.receive(2).payloads == [b"first", b"second"]
    assert line.outbox.in_flight == 0
    assert line.results.on_their_way == []
    assert line.results.safe == []


def test_a_lone_result_of_qos_1_is_in_flight_until_it_is_answered(
    connect: Callable[..., Line],
) -> None:
    line = connect("bulk", qos=1)
    assert line.outbox.send_lone(lone(b"first"))
    assert line.outbox.send_lone(lone(b"second"))
    got = line.receive(2)
    assert (got.payloads, got.packet_ids) == ([b"first", b"second"], [1, 2])
    assert payloads_of(line.results.on_their_way) == [b"first", b"second"]
    assert (line.results.at_once, line.outbox.in_flight) == ([], 2)
    line.broker.sendall(encode_pubacks(got.packet_ids))
    until(lambda: line.results.safe == line.results.on_their_way, "it is told that they are safe")
    assert line.outbox.in_flight == 0


def test_while_the_broker_takes_no_more_in_flight_a_lone_result_waits(
    connect: Callable[..., Line],
) -> None:
    line = connect("bulk", "5", 1, connack=CONNACK_OF_TWO)
    assert line.outbox.send_lone(lone(b"first"))
    assert line.outbox.send_lone(lone(b"second"))
    assert not line.outbox.send_lone(lone(b"third"))
    line.broker.sendall(encode_pubacks([1]))
    until(lambda: line.outbox.in_flight == 1, "there is room again")
    assert line.outbox.send_lone(lone(b"third"))
    assert line.receive(3).payloads == [b"first", b"second", b"third"]


def test_of_a_lone_result_of_qos_1_too_the_rest_follows(connect: Callable[..., Line]) -> None:
    line = connect("bulk", qos=1)
    sent = 0
    while line.outbox.send_lone(lone(b"%05d" % sent * 10_000)):
        sent += 1
    assert sent > 1, "what the network takes in part is sent"
    assert line.receive(sent).payloads == [b"%05d" % n * 10_000 for n in range(sent)]
    assert line.outbox.in_flight == sent


def test_a_lone_result_waits_behind_what_is_before_it(connect: Callable[..., Line]) -> None:
    line = connect("bulk")
    line.results.waiting.append(result_batch_of([b"before"], redeliverable=False))
    assert not line.outbox.send_lone(lone(b"behind"))
    line.outbox.try_send()
    assert line.receive(1).payloads == [b"before"]


def test_a_lone_result_that_may_be_too_large_is_looked_at(connect: Callable[..., Line]) -> None:
    """By the usual way: the broker would hang up."""
    line = connect("bulk", "5")
    assert not line.outbox.send_lone(lone(b"x" * MOST_BYTES))
    assert line.outbox.send_lone(lone(b"x"))
    assert line.receive(1).payloads == [b"x"]


def test_a_long_lone_result_is_not_copied_to_go_at_once(connect: Callable[..., Line]) -> None:
    line = connect("bulk")
    assert not line.outbox.send_lone(lone(b"x" * LONG_PAYLOAD))
    assert line.outbox.send_lone(lone(b"x" * (LONG_PAYLOAD - 1)))


def test_of_a_lone_result_that_the_network_takes_in_part_the_rest_follows(
    connect: Callable[..., Line],
) -> None:
    """It is in flight until then, and those behind it have to wait."""
    line = connect("bulk")
    sent = 0
    while not line.results.on_their_way:
        assert line.outbox.send_lone(lone(b"%05d" % sent * 10_000))
        sent += 1
    last = b"%05d" % (sent - 1) * 10_000
    assert payloads_of(line.results.on_their_way) == [last]
    assert line.outbox.in_flight == 1
    assert not line.outbox.send_lone(lone(b"behind"))
    assert line.receive(sent).payloads == [b"%05d" % n * 10_000 for n in range(sent)]
    until(lambda: line.results.safe == line.results.on_their_way, "it is told that it is safe")
    assert line.outbox.in_flight == 0
    until(lambda: line.outbox.send_lone(lone(b"behind")), "there is nothing before it")
    assert line.receive(1).payloads == [b"behind"]


@pytest.mark.parametrize("qos", [0, 1])
def test_a_lone_result_that_the_connection_fails_at_is_not_sent(
    qos: int, connect: Callable[..., Line]
) -> None:
    """Nor is it in flight: it is still in the hands of who wanted to send it."""
    line = connect("bulk", qos=qos)
    reset(line.broker)
    tried: list[Chunk] = []

    def failed() -> bool:
        tried.append(lone(b"x"))
        return not line.outbox.send_lone(tried[-1])

    until(failed, "the connection is known to be lost")
    assert tried[-1] not in [results.chunk for results in line.results.on_their_way]
    line.outbox.wake()
    until(lambda: not line.results.online.is_set(), "its end is told")
    assert line.outbox.in_flight == 0


def reset(broker: socket.socket) -> None:
    """Closed without a word, as by a broker that dies."""
    broker.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    broker.close()


def lone(payload: bytes) -> Chunk:
    """A chunk whose one message, of QoS 0, has led to this."""
    chunk = chunk_of([b"input"], redeliverable=False)
    chunk.results.append(payload)
    return chunk


def result_batches(items: Sequence[Sendable]) -> list[ResultBatch]:
    found = [item for item in items if isinstance(item, ResultBatch)]
    assert len(found) == len(items)
    return found


def places_of(items: Sequence[Sendable]) -> list[int]:
    return [place for results in result_batches(items) for place in results.places]


@pytest.mark.parametrize("data_plane", ["bulk", "plain"])
@pytest.mark.parametrize("protocol", ["3.1.1", "5"])
def test_a_row_that_cant_be_sent_is_refused_in_hand_and_the_next_one_goes(
    connect: Callable[..., Line], data_plane: str, protocol: str
) -> None:
    line = connect(data_plane, protocol)
    flawed = StoredMessage("out", b"1", 1, {}, flaw="its row is damaged")
    deadly = StoredMessage(Hand.DEADLY, b"2", 1, {})
    forbidden = StoredMessage("a/#", b"3", 1, {})
    line.results.rows = [flawed, deadly, forbidden, StoredMessage("out", b"4", 0, {})]
    line.outbox.wake()
    assert line.receive(1).payloads == [b"4"]
    assert [row for row, _ in line.results.refusals] == [flawed, deadly, forbidden]
    reasons = [reason for _, reason in line.results.refusals]
    assert reasons[0] == "its row is damaged"
    assert reasons[1] == "the process died 3 times when it was to be sent"
