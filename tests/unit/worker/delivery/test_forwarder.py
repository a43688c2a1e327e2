"""Nothing lost, order kept, each settled once: whatever becomes of the post broker meanwhile."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from support.columns import chunk_of, messages_of, result_batch_of, roomy_budget
from support.disk import SmallDisk
from support.poll import until
from support.store import POST, configured, held_up, rows, rows_after_a_crash, running, settled

from pyboot_svc.config import Edge, SpoolLimits
from pyboot_svc.threads import spawn
from pyboot_svc.worker.delivery.completion import Completion
from pyboot_svc.worker.delivery.forwarder import Forwarder
from pyboot_svc.worker.delivery.post_queue import PostQueue
from pyboot_svc.worker.messages import (
    Chunk,
    Message,
    ResultBatch,
    Sendable,
    StoredMessage,
    count_of,
)
from pyboot_svc.worker.storage.disk_budget import bytes_on_pages, disk_bytes, log_bytes
from pyboot_svc.worker.storage.durable_queue import RESULTS
from pyboot_svc.worker.storage.rows import row_size
from pyboot_svc.worker.storage.spool import Spool
from pyboot_svc.worker.storage.writer import DATABASE_NAME, DatabaseWriter

_LIMITS = SpoolLimits()
# What a result of one digit takes of the spool.
ROW = row_size("out", b"1", {"pyboot-id": "0" * 32})
ON_DISK = bytes_on_pages(ROW)


class Outbox:
    """Notes that it was woken, and asked to send, and what came alone."""

    def __init__(self, woken: threading.Event, asked: threading.Event, alone: list[Chunk]) -> None:
        self.wake = woken.set
        self.try_send = asked.set
        self._alone = alone

    def send_lone(self, chunk: Chunk) -> bool:
        self._alone.append(chunk)
        return True


class Ends(Completion):
    """Tells the desk, instead of settling anything."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def published(self, some: Sequence[ResultBatch]) -> None:
        self._desk.delivered(list(some))

    def on_its_way(self, results: ResultBatch) -> None:
        self._desk.on_their_way.append(results)

    def spooled(self, some: Sequence[ResultBatch]) -> None:
        self._desk.settle(list(some))

    def refused(self, items: Sequence[Sendable], reason: str, usual: str) -> None:
        assert usual == "out"
        self._desk.refused(list(items), reason)

    def published_from_spool(self, count: int) -> None:
        self._desk.counts["published"] += count

    def dropped_from_spool(self, count: int, why: str) -> None:
        self._desk.counts[why] += count


class Desk:
    """A forwarder on a real store. The test is the outbox, and makes results."""

    def __init__(
        self,
        store: DatabaseWriter,
        folder: Path,
        limits: SpoolLimits = _LIMITS,
        look: Callable[[Path, str], list[tuple[Any, ...]]] = rows,
    ) -> None:
        """`look` reads the database, to see what is there when a result is said to be safe."""
        self.store = store
        self._look = look
        self.folder = folder
        self.spool = Spool(store, folder / DATABASE_NAME, limits.max_bytes)
        self.spooled, self.letters = self.spool.results, self.spool.dead_letters
        self.room = self.spool.room
        # A row takes the disk what it holds, unless a test asks for the pages.
        self.spool.room = lambda wanted: limits.max_bytes - self.spooled.size
        connection = store.open_if_there()
        if connection is not None:
            self.spooled.load(connection)
            self.letters.load(connection)
        self.woken = threading.Event()
        self.asked = threading.Event()
        self.crashed = threading.Event()
        self.results = PostQueue(1_000_000, roomy_budget())
        edge = configured().edge._replace(post=POST, spool=limits)
        self.alone: list[Chunk] = []
        self.forwarder = self.another_forwarder(edge)
        self.digits = 1
        self.made: list[Message] = []
        self.result_batches: list[ResultBatch] = []
        self.on_their_way: list[ResultBatch] = []
        self.ends: Counter[int] = Counter()
        self.early: list[int] = []
        self.safe: set[int] = set()
        self.counts: Counter[str] = Counter()
        self.buried: list[StoredMessage] = []
        self.forwarder.start(self.crashed.set)

    def another_forwarder(self, edge: Edge) -> Forwarder:
        outbox = Outbox(self.woken, self.asked, self.alone)
        return Forwarder(edge, self.results, self.spool, outbox, Ends(self))

    def make(self, count: int) -> None:
        """A chunk with results for all its messages; with none, its end is all there is to it."""
        results = self._results(count)
        self.results.put(results.chunk.number, results if count else None)
        self.forwarder.try_send()

    def make_lone(self, publish: Callable[[ResultBatch], None]) -> None:
        """One that comes alone: `publish` it if it is what goes out next."""
        results = self._results(1)
        if not self.forwarder.is_next(results.chunk):
            self.results.put(results.chunk.number, results)
            self.forwarder.try_send()
            return
        publish(results)
        self.results.put(results.chunk.number, None)

    def _results(self, count: int) -> ResultBatch:
        first = len(self.made)
        payloads = [b"%0*d" % (self.digits, n) for n in range(first, first + count)]
        results = result_batch_of(payloads, len(self.result_batches))
        self.made += messages_of(results.chunk.batch)
        self.result_batches.append(results)
        return results

    def settle(self, result_batches: list[ResultBatch]) -> None:
        query = f"SELECT payload FROM spool WHERE lane = {RESULTS}"
        there = {int(payload) for (payload,) in self._look(self.folder, query)}
        numbers = inputs(result_batches)
        self.early += [n for n in numbers if n not in there and n not in self.safe]
        self.ends.update(numbers)

    def delivered(self, result_batches: list[ResultBatch]) -> None:
        self.ends.update(inputs(result_batches))

    def refused(self, items: list[Sendable], reason: str) -> None:
        self.delivered([item for item in items if isinstance(item, ResultBatch)])
        self.buried += [item for item in items if isinstance(item, StoredMessage)]

    def check_ends(self) -> None:
        assert self.early == []
        assert self.ends == Counter(range(len(self.made)))
        assert not self.crashed.is_set()


def inputs(result_batches: list[ResultBatch]) -> list[int]:
    """The messages that these are the results of: each is known by its result."""
    numbers = []
    for results in result_batches:
        found = [results.chunk.batch.payloads[place] for place in results.places]
        assert found == results.payloads
        numbers += [int(payload) for payload in found]
    return numbers


@pytest.fixture
def desks(tmp_path: Path) -> Iterator[Callable[..., Desk]]:
    made: list[Desk] = []
    with running(tmp_path / DATABASE_NAME) as store:

        def make(**limits: object) -> Desk:
            made.append(Desk(store, tmp_path, SpoolLimits(**limits)))  # type: ignore[arg-type]
            return made[-1]

        yield make
        for desk in made:
            desk.forwarder.stop()
    assert not any(desk.crashed.is_set() for desk in made)


@pytest.fixture
def desk(desks: Callable[..., Desk]) -> Desk:
    return desks()


def payloads(items: list[Sendable]) -> list[int]:
    found: list[int] = []
    for item in items:
        found += inputs([item]) if isinstance(item, ResultBatch) else [int(item.payload)]
    return found


def check_ids(items: list[Sendable]) -> None:
    """What goes out by the spool is named as what goes straight out would be."""
    for item in items:
        if isinstance(item, StoredMessage):
            assert item.properties == {"pyboot-id": Message("in", item.payload).id}


def size_of(items: list[Sendable]) -> int:
    return sum(map(count_of, items))


def cut(items: list[Sendable], count: int) -> tuple[list[Sendable], list[Sendable]]:
    """The first `count` messages, and the others: of results that the broker has answered in
    part, the outbox gives parts."""
    first: list[Sendable] = []
    for number, item in enumerate(items):
        size = count_of(item)
        if size > count:
            if count:
                assert isinstance(item, ResultBatch)
                first.append(item.part(0, count))
                item = item.part(count, size)
            return first, [item, *items[number + 1 :]]
        first.append(item)
        count -= size
    return first, []


def one_by_one(items: list[Sendable]) -> list[Sendable]:
    found: list[Sendable] = []
    while items:
        one, items = cut(items, 1)
        found += one
    return found


def topics(items: list[Sendable]) -> list[str]:
    assert all(isinstance(item, StoredMessage) for item in items)
    return [item.topic for item in items if isinstance(item, StoredMessage)]


def take(desk: Desk, room: int, *, from_disk: bool = True) -> list[Sendable]:
    """What the outbox takes in one turn."""
    items: list[Sendable] = [*desk.forwarder.take_rows(room, from_disk=from_disk)]
    items += desk.forwarder.take_results(room - len(items))
    return items


def taken(desk: Desk, count: int) -> list[Sendable]:
    """What the outbox gets, as soon as it is there."""
    items: list[Sendable] = []

    def enough() -> bool:
        items.extend(take(desk, count - size_of(items)))
        return size_of(items) == count

    until(enough, f"{count} are ready")
    return items


def spool(desk: Desk, count: int) -> None:
    """Make results, and wait until they are spooled."""
    before = desk.spooled.depth
    desk.make(count)
    until(lambda: desk.ends.total() == len(desk.made), "spooled")
    assert desk.spooled.depth >= before or desk.counts["spool_overflowed"]


def test_while_connected_results_go_straight_out(desk: Desk, tmp_path: Path) -> None:
    desk.forwarder.connected()
    desk.make(3)
    assert desk.asked.is_set()
    assert desk.forwarder.ready()
    assert desk.forwarder.take_rows(10) == []
    items: list[Sendable] = [*desk.forwarder.take_results(10)]
    assert items == desk.result_batches
    assert desk.ends == {}
    first, rest = cut(items, 2)
    desk.forwarder.delivered(first)
    assert desk.ends == {0: 1, 1: 1}
    desk.forwarder.delivered(rest)
    desk.check_ends()
    assert not (tmp_path / DATABASE_NAME).exists()


def test_a_lone_result_is_next_while_nothing_is_before_it(desk: Desk) -> None:
    first, second = (chunk_of([b"0"], number) for number in range(2))
    assert not desk.forwarder.is_next(first)
    desk.forwarder.connected()
    assert desk.forwarder.is_next(first)
    assert not desk.forwarder.is_next(second)
    desk.forwarder.hold(RESULTS, [])
    assert not desk.forwarder.is_next(first)
    desk.forwarder.resume(RESULTS)
    assert desk.forwarder.is_next(first)
    desk.make(1)
    assert not desk.forwarder.is_next(second)
    desk.forwarder.delivered(taken(desk, 1))
    assert desk.forwarder.is_next(second)
    desk.forwarder.lost([])
    assert not desk.forwarder.is_next(second)


def test_a_lone_result_waits_for_what_leaves_for_the_spool(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also at the moment in which that is neither in the queue nor in the spool."""
    between, go_on, asked = threading.Event(), threading.Event(), threading.Event()
    append = desk.spooled.append

    def slowly(rows: Any, done: Callable[[], None]) -> None:
        between.set()
        assert go_on.wait(20)
        append(rows, done)

    monkeypatch.setattr(desk.spooled, "append", slowly)
    desk.make(1)
    assert between.wait(20)
    desk.forwarder.connected()
    found: list[bool] = []

    def ask() -> None:
        asked.set()
        found.append(desk.forwarder.is_next(chunk_of([b"1"], 1)))

    asking = spawn("model", ask, desk.crashed.set)
    assert asked.wait(20)
    asking.join(0.2)
    assert found == []
    go_on.set()
    asking.join(20)
    assert found == [False]


@pytest.mark.parametrize(
    ("qos", "data_plane", "sends"),
    [(0, "bulk", True), (1, "bulk", True), (2, "bulk", False), (0, "plain", False)],
)
def test_where_paho_keeps_the_account_nothing_is_sent_at_once(
    desk: Desk, qos: int, data_plane: str, sends: bool
) -> None:
    edge = configured().edge._replace(post=POST._replace(qos=qos), data_plane=data_plane)
    assert desk.another_forwarder(edge).sends_lone == sends


def test_the_outbox_sends_a_lone_result(desk: Desk) -> None:
    chunk = chunk_of([b"0"])
    assert desk.forwarder.send_lone(chunk)
    assert desk.alone == [chunk]


def test_a_lone_result_that_is_on_its_way_is_in_flight(desk: Desk) -> None:
    desk.forwarder.connected()
    desk.make_lone(desk.forwarder.on_its_way)
    assert desk.on_their_way == desk.result_batches
    assert desk.forwarder.live == 1
    desk.make(1)
    assert payloads(taken(desk, 1)) == [1]
    desk.forwarder.lost([*desk.result_batches])
    until(lambda: desk.ends.total() == 2, "both are spooled, in order")
    desk.forwarder.connected()
    assert payloads(taken(desk, 2)) == [0, 1]


def test_while_away_results_are_spooled_and_settled(desk: Desk) -> None:
    spool(desk, 3)
    desk.check_ends()
    assert (desk.spooled.depth, desk.results.depth(), desk.forwarder.writing) == (3, 0, 0)


def test_a_spooled_result_is_the_same_as_a_live_one(desk: Desk) -> None:
    spool(desk, 1)
    [item] = taken(desk, 1)
    live = desk.made[0]
    assert isinstance(item, StoredMessage)
    assert (item.topic, item.payload, item.qos, item.properties) == (
        *("out", live.payload, 1),
        {"pyboot-id": live.id},
    )


def test_nothing_is_settled_before_it_is_durable(desk: Desk) -> None:
    with held_up(desk.store):
        desk.make(3)
        until(lambda: desk.forwarder.writing == 3, "on its way to the disk")
        assert desk.ends == {}
        desk.forwarder.connected()
        desk.make(2)
        assert take(desk, 10) == []  # no newer one before these
        assert desk.ends == {}
    assert payloads(taken(desk, 5)) == [0, 1, 2, 3, 4]


def test_what_is_newer_waits_behind_what_is_spooled(desk: Desk) -> None:
    spool(desk, 5)
    desk.forwarder.connected()
    items = taken(desk, 5)
    assert payloads(items) == [0, 1, 2, 3, 4]
    assert all(isinstance(item, StoredMessage) and item.row for item in items)
    with held_up(desk.store):
        desk.forwarder.delivered(items[:4])
        desk.make(1)
        # The last row is on its way, before this one; that it is still on disk is no obstacle.
        live = taken(desk, 1)
        assert payloads(live) == [5]
        assert isinstance(live[0], ResultBatch)
        desk.forwarder.lost([items[4], *live])
        desk.forwarder.connected()
        again = taken(desk, 2)
        assert payloads(again) == [4, 5]
    desk.forwarder.delivered(again)
    until(lambda: desk.ends.total() == 6, "all are settled")
    desk.check_ends()


def test_few_rows_that_are_left_are_waited_for(desk: Desk) -> None:
    """To go through the disk behind them would never end beside a steady input."""
    spool(desk, 3)
    desk.forwarder.connected()
    for _ in range(20):
        desk.make(1)
    settled(desk.store)
    assert (desk.spooled.depth, desk.results.depth()) == (3, 20)
    items = taken(desk, 23)
    assert payloads(items) == list(range(23))
    assert [isinstance(item, ResultBatch) for item in items] == [False] * 3 + [True] * 20


def test_behind_many_rows_results_go_to_the_spool(desk: Desk) -> None:
    spool(desk, 1_100)
    desk.forwarder.connected()
    desk.make(1)
    until(lambda: desk.spooled.depth == 1_101, "spooled")
    assert payloads(taken(desk, 1_101)) == list(range(1_101))


def test_when_the_spool_is_empty_results_go_straight_out_again(desk: Desk) -> None:
    spool(desk, 1)
    desk.forwarder.connected()
    desk.forwarder.delivered(taken(desk, 1))
    until(lambda: not desk.spooled.busy, "the spool is empty")
    desk.make(1)
    [item] = taken(desk, 1)
    assert item is desk.result_batches[1]


def test_what_is_in_flight_when_the_connection_is_lost_goes_first(desk: Desk) -> None:
    desk.forwarder.connected()
    desk.make(5)
    first, rest = cut(take(desk, 4), 1)
    desk.forwarder.delivered(first)
    desk.forwarder.lost(rest)
    desk.make(1)
    until(lambda: len(desk.ends) == 6, "the rest is spooled")
    desk.check_ends()
    desk.forwarder.connected()
    assert payloads(taken(desk, 5)) == [1, 2, 3, 4, 5]


def test_parcels_that_the_room_has_split_go_back_in_order(desk: Desk) -> None:
    desk.forwarder.connected()
    for _ in range(3):
        desk.make(4)
    items = take(desk, 6)
    assert [payloads([item]) for item in items] == [[0, 1, 2, 3], [4, 5]]
    items += take(desk, 3)
    assert [payloads([item]) for item in items[2:]] == [[6, 7], [8]]
    desk.forwarder.delivered(cut(items, 1)[0])
    sent = one_by_one(items)
    desk.forwarder.delivered([sent[5], sent[7]])  # not in order, as a broker may answer
    assert desk.ends == {0: 1, 5: 1, 7: 1}
    unsafe = [item for item in sent if payloads([item])[0] not in desk.ends]
    desk.forwarder.lost(unsafe)
    desk.make(1)
    until(lambda: len(desk.ends) == 13, "the rest is spooled")
    desk.check_ends()
    desk.forwarder.connected()
    again = taken(desk, 10)
    assert payloads(again) == [1, 2, 3, 4, 6, 8, 9, 10, 11, 12]
    check_ids(again)


def test_what_went_back_in_parts_goes_straight_out_when_the_broker_is_back_at_once(
    desk: Desk,
) -> None:
    desk.forwarder.connected()
    desk.make(4)
    desk.make(4)
    desk.forwarder.stop()  # as if its thread were not fast enough to spool anything
    until(lambda: not any(thread.name == "spool" for thread in threading.enumerate()), "it ended")
    first, rest = cut(take(desk, 6), 1)
    desk.forwarder.delivered(first)
    desk.forwarder.lost(rest)
    assert desk.results.depth() == 7
    desk.forwarder.connected()
    again = take(desk, 2)
    assert payloads(again) == [1, 2]
    again += take(desk, 10)
    assert payloads(again) == [1, 2, 3, 4, 5, 6, 7]
    desk.forwarder.delivered(again)
    desk.check_ends()
    assert not (desk.folder / DATABASE_NAME).exists()


def test_of_a_parcel_some_results_can_be_refused(desk: Desk) -> None:
    desk.forwarder.connected()
    desk.make(5)
    sent = one_by_one(take(desk, 4))
    desk.forwarder.refused([sent[1]], "too large")
    desk.forwarder.delivered([sent[0], sent[2]])
    assert desk.ends == {0: 1, 1: 1, 2: 1}
    desk.forwarder.lost([sent[3]])
    until(lambda: len(desk.ends) == 5, "the rest is spooled")
    desk.check_ends()
    desk.forwarder.connected()
    assert payloads(taken(desk, 2)) == [3, 4]


def test_spooled_rows_in_flight_when_the_connection_is_lost_come_again(desk: Desk) -> None:
    spool(desk, 4)
    desk.forwarder.connected()
    items = taken(desk, 4)
    with held_up(desk.store):
        desk.forwarder.delivered(items[:2])
        desk.forwarder.lost(items[2:])
        desk.forwarder.connected()
        assert payloads(taken(desk, 2)) == [2, 3]
    settled(desk.store)
    assert desk.spooled.depth == 2
    assert desk.counts == {"published": 2}
    desk.check_ends()


def test_a_refused_row_is_buried_and_removed(desk: Desk) -> None:
    spool(desk, 2)
    desk.forwarder.connected()
    items = taken(desk, 2)
    desk.forwarder.refused(items[:1], "too large")
    desk.forwarder.delivered(items[1:])
    until(lambda: not desk.spooled.busy, "removed")
    assert desk.buried == items[:1]
    assert desk.counts == {"published": 1}


def test_dead_letters_wait_for_no_result(desk: Desk) -> None:
    desk.letters.append([("dead", b"7", 1, {})], lambda: None)
    spool(desk, 1)
    desk.forwarder.connected()
    items = taken(desk, 2)
    assert (topics(items), payloads(items)) == (["dead", "out"], [7, 0])
    desk.forwarder.lost(items)
    desk.forwarder.connected()
    again = taken(desk, 2)
    assert sorted(topics(again)) == ["dead", "out"]
    desk.forwarder.delivered(again)
    until(lambda: not desk.letters.busy and not desk.spooled.busy, "both are removed")
    assert desk.counts["published"] == 1


def test_divert_all_spools_what_is_left_even_while_connected(desk: Desk) -> None:
    desk.forwarder.connected()
    desk.make(1_200)
    desk.forwarder.divert_all()
    until(lambda: desk.spooled.depth == 1_200 and desk.forwarder.writing == 0, "spooled")
    settled(desk.store)  # they are counted as durable just before they are told to be
    desk.check_ends()


@pytest.mark.usefixtures("busy_switching")
def test_while_a_batch_is_moved_somebody_counts_it(desk: Desk) -> None:
    """A drain must not end between the queue and the spool."""
    for number in range(60):
        with held_up(desk.store):
            desk.make(1)
            counted = [desk.results.depth() + desk.forwarder.writing for _ in range(300)]
            assert min(counted) > 0, number
            until(lambda: desk.forwarder.writing == 1, "on its way to the disk")
        settled(desk.store)
    desk.check_ends()


def test_a_full_spool_takes_no_more_until_something_was_delivered(
    desks: Callable[..., Desk],
) -> None:
    desk = desks(max_bytes=3 * ON_DISK)
    spool(desk, 2)
    desk.make(8)
    until(lambda: desk.spooled.depth == 3, "of the batch, what there was room for")
    settled(desk.store)
    assert desk.results.depth() == 7
    desk.forwarder.connected()
    delivered: list[Sendable] = []
    while len(delivered) < 10:
        [item] = taken(desk, 1)
        delivered.append(item)
        desk.forwarder.delivered([item])
    assert payloads(delivered) == list(range(10))
    until(lambda: len(desk.ends) == 10, "all are safe")
    desk.check_ends()


def test_a_result_larger_than_the_spool_is_spooled_alone(desks: Callable[..., Desk]) -> None:
    desk = desks(max_bytes=0)
    spool(desk, 1)
    desk.make(1)
    settled(desk.store)
    assert (desk.spooled.depth, desk.results.depth()) == (1, 1)


def test_a_batch_drops_as_much_as_it_holds(desks: Callable[..., Desk]) -> None:
    desk = desks(max_bytes=5 * ON_DISK, on_full="drop_oldest")
    spool(desk, 3)
    desk.make(4)
    settled(desk.store)
    until(lambda: len(desk.ends) == 7, "all were safe")
    settled(desk.store)
    assert (desk.spooled.size, desk.counts["spool_overflowed"]) == (5 * ROW, 2)
    assert payloads(taken(desk, 5)) == [2, 3, 4, 5, 6]


@pytest.mark.parametrize("size", [40, 1_500, 2_500, 4_200])
def test_no_more_is_dropped_than_the_pages_that_are_wanted(tmp_path: Path, size: int) -> None:
    """A page holds two results of 1,500 bytes, and one of 2,500, and isn't full."""
    limits = SpoolLimits(max_bytes=1024**2, on_full="drop_oldest")
    with running(tmp_path / DATABASE_NAME, limits.max_bytes) as store:
        desk = Desk(store, tmp_path, limits)
        desk.spool.room, desk.digits = desk.room, size
        while not desk.counts["spool_overflowed"]:
            spool(desk, 20)
        settled(store)
        before, room = desk.counts["spool_overflowed"], desk.room(0)
        on_disk = bytes_on_pages(row_size("out", b"0" * size, {"pyboot-id": "0" * 32}))
        with held_up(store):
            desk.make(14)
            until(lambda: desk.forwarder.writing == 14, "on their way to the disk")
            dropped = desk.counts["spool_overflowed"] - before
        settled(store)
        assert desk.room(0) >= -2 * 4096, "some small rows begin a page"
        desk.forwarder.stop()
    assert 0 <= room < 14 * on_disk
    assert dropped == -(-(14 * on_disk - room) // on_disk)
    assert desk.early == []
    assert not desk.crashed.is_set()


def test_a_full_spool_that_drops_the_oldest_drops_no_more_than_it_must(
    desks: Callable[..., Desk], caplog: pytest.LogCaptureFixture
) -> None:
    desk = desks(max_bytes=5 * ON_DISK, on_full="drop_oldest")
    for _ in range(9):
        spool(desk, 1)
    settled(desk.store)
    assert desk.counts["spool_overflowed"] == 4
    assert desk.spooled.depth == 5
    assert "dropped 1 result from the spool: the spool is full" in caplog.text
    assert payloads(taken(desk, 5)) == [4, 5, 6, 7, 8]
    desk.check_ends()


def test_what_is_too_old_is_dropped(
    desks: Callable[..., Desk], caplog: pytest.LogCaptureFixture
) -> None:
    desk = desks(max_age=-1)  # everything is
    spool(desk, 1_100)
    until(lambda: not desk.spooled.busy, "dropped")
    assert desk.counts == {"spool_expired": 1_100}
    assert (desk.spooled.depth, desk.spooled.size) == (0, 0)
    assert "older than -1 s" in caplog.text


def test_no_more_waits_in_memory_than_the_disk_keeps_up_with(desk: Desk) -> None:
    with held_up(desk.store):
        desk.make(6_000)
        until(lambda: desk.forwarder.writing >= 2_000, "as many as may wait")
        assert desk.results.depth() == 4_000
    until(lambda: len(desk.ends) == 6_000, "all are spooled")
    desk.check_ends()


class Chance:
    """Plays the outbox and all that can happen to it, in one thread, by a seed."""

    def __init__(self, desk: Desk, seed: int) -> None:
        self.desk = desk
        self.chance = random.Random(seed)
        self.up = False
        self.in_flight: list[Sendable] = []
        self.safe = desk.safe
        self.last = -1
        self.actions = [self.make, self.make, self.take, self.take, self.deliver, self.toggle]
        self.actions += [self.make_lone]

    def play(self, steps: int) -> None:
        for _ in range(steps):
            self.chance.choice(self.actions)()
        if not self.up:
            self.toggle()

        def all_safe() -> bool:
            self.take()
            self.deliver_all()
            return len(self.safe) == len(self.desk.made)

        until(all_safe, "all are safe with the broker")

    def make(self) -> None:
        self.desk.make(self.chance.randint(0, 7))

    def take(self) -> None:
        if not self.up:
            return
        room = self.chance.randint(0, 12)
        items = take(self.desk, room, from_disk=self.chance.random() < 0.5)
        assert size_of(items) <= room
        check_ids(items)
        self._sent(items)
        self.in_flight += items

    def _sent(self, items: list[Sendable]) -> None:
        for number in payloads(items):
            # In order, and none left out that is not known to be safe.
            assert number > self.last
            assert set(range(self.last + 1, number)) <= self.safe
            assert number not in self.safe
            self.last = number

    def make_lone(self) -> None:
        """While anything is in flight, others have to go by the post_queue."""
        if self.up and not self.in_flight:
            self.desk.make_lone(self._publish)
        else:
            self.desk.make(1)

    def _publish(self, results: ResultBatch) -> None:
        self._sent([results])
        if self.chance.random() < 0.5:  # not as a whole, for now
            self.desk.forwarder.on_its_way(results)
            self.in_flight.append(results)
        else:
            self.safe.update(payloads([results]))
            self.desk.delivered([results])

    def deliver(self) -> None:
        """The broker answers some, not always in order, and not always whole result_batches."""
        if self.chance.random() < 0.2:
            self.in_flight = one_by_one(self.in_flight)
            self.chance.shuffle(self.in_flight)
        count = self.chance.randint(0, size_of(self.in_flight))
        items, self.in_flight = cut(self.in_flight, count)
        self.in_flight.sort(key=lambda item: payloads([item])[0])
        self._answer(items)

    def deliver_all(self) -> None:
        items, self.in_flight = self.in_flight, []
        self._answer(items)

    def _answer(self, items: list[Sendable]) -> None:
        self.safe.update(payloads(items))
        if items:
            self.desk.forwarder.delivered(items)

    def toggle(self) -> None:
        self.up = not self.up
        if self.up:
            self.desk.forwarder.connected()
            self.last = -1
        else:
            unsafe, self.in_flight = self.in_flight, []
            self.desk.forwarder.lost(unsafe)


@pytest.mark.parametrize("seed", range(25))
def test_any_order_of_events(desk: Desk, seed: int) -> None:
    Chance(desk, seed).play(100)
    until(lambda: len(desk.ends) == len(desk.made), "all are settled")
    desk.check_ends()
    until(lambda: not desk.spooled.busy, "the spool is empty")
    assert desk.counts["spool_overflowed"] == 0


@pytest.mark.usefixtures("busy_switching")
@pytest.mark.parametrize("seed", range(3))
def test_results_are_made_while_the_broker_comes_and_goes(desk: Desk, seed: int) -> None:
    """Each in its thread, as in a worker."""

    def produce() -> None:
        chance = random.Random(seed)
        for _ in range(120):
            desk.make(chance.randint(1, 4))
        made.set()

    made = threading.Event()
    spawn("model", produce, desk.crashed.set)
    outbox = Chance(desk, seed)
    while not made.is_set():
        outbox.chance.choice([outbox.take, outbox.deliver, outbox.deliver_all, outbox.toggle])()
    outbox.play(0)
    until(lambda: len(desk.ends) == len(desk.made), "all are settled")
    desk.check_ends()


@pytest.fixture
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pyboot_svc.worker.storage.writer.RETRY_SECONDS", 0.01)


@pytest.mark.usefixtures("quick_retries")
@pytest.mark.parametrize("seed", range(8))
def test_any_order_of_events_on_a_disk_that_is_full_at_times(
    small_disk: SmallDisk, seed: int
) -> None:
    full = False

    def toggle_the_disk() -> None:
        nonlocal full
        full = not full
        if full:
            small_disk.fill()
        else:
            small_disk.make_room()

    with running(small_disk.folder / DATABASE_NAME) as store:
        desk = Desk(store, small_disk.folder, look=rows_after_a_crash)
        outbox = Chance(desk, seed)
        outbox.actions += [toggle_the_disk]
        outbox.play(200)
        if full:
            toggle_the_disk()
        until(lambda: len(desk.ends) == len(desk.made), "all are settled")
        desk.check_ends()
        until(lambda: not desk.spooled.busy, "the spool is empty")
        desk.forwarder.stop()


@pytest.mark.usefixtures("quick_retries")
def test_with_a_full_disk_results_go_out_in_order_while_the_broker_is_there(
    small_disk: SmallDisk,
) -> None:
    with running(small_disk.folder / DATABASE_NAME) as store:
        desk = Desk(store, small_disk.folder, look=rows_after_a_crash)
        spool(desk, 2)
        small_disk.fill()
        desk.make(3)
        until(lambda: store.trouble, "trouble")
        assert desk.ends.total() == 2
        desk.forwarder.connected()
        items = taken(desk, 5)
        assert payloads(items) == [0, 1, 2, 3, 4]
        assert desk.ends.total() == 2
        desk.safe.update(range(5))
        desk.forwarder.delivered(items)
        desk.make(2)
        live = taken(desk, 2)
        assert payloads(live) == [5, 6]
        small_disk.make_room()
        until(lambda: store.trouble is None, "written again")
        desk.make(1)
        desk.forwarder.lost(live)
        until(lambda: desk.ends.total() == 8, "all are safe")
        desk.forwarder.connected()
        assert payloads(taken(desk, 3)) == [5, 6, 7]
        desk.check_ends()
        desk.forwarder.stop()


def test_while_a_live_one_is_in_flight_no_other_goes_to_the_spool(desk: Desk) -> None:
    """Else, with the connection lost, the newer one would be in front."""
    spool(desk, 2)
    desk.forwarder.connected()
    rows_in_flight = taken(desk, 2)
    desk.forwarder.delivered(rows_in_flight)
    until(lambda: not desk.spooled.busy, "the spool is empty")
    desk.make(1)
    [live] = taken(desk, 1)
    assert isinstance(live, ResultBatch)
    with held_up(desk.store):
        desk.spooled.append([("out", b"-1", 1, {})], lambda: None)  # as if it were busy again
        desk.forwarder.divert_all()
        desk.forwarder.connected()
        desk.make(1)
        assert (take(desk, 10), desk.forwarder.writing, desk.results.depth()) == ([], 1, 1)
    assert payloads(taken(desk, 2)) == [-1, 3]


def test_of_a_parcel_each_result_counts_as_in_flight(desk: Desk) -> None:
    desk.forwarder.connected()
    desk.make(3)
    first, rest = cut(taken(desk, 3), 1)
    with held_up(desk.store):
        desk.spooled.append([("out", b"-1", 1, {})], lambda: None)  # the spool is busy
        desk.forwarder.delivered(first)
        desk.make(1)
        assert take(desk, 10) == []  # it waits behind the row
        assert (desk.forwarder.live, desk.forwarder.writing) == (2, 1)
        desk.forwarder.delivered(rest)
        assert desk.forwarder.live == 0
    assert payloads(taken(desk, 2)) == [-1, 3]
    assert desk.ends == Counter(range(3))


def test_the_next_process_goes_on_where_this_one_ended(tmp_path: Path) -> None:
    with running(tmp_path / DATABASE_NAME) as store:
        desk = Desk(store, tmp_path)
        spool(desk, 10)
        desk.forwarder.connected()
        items = taken(desk, 6)
        desk.forwarder.delivered(items[:3])
        desk.forwarder.stop()
    with running(tmp_path / DATABASE_NAME) as store:
        desk = Desk(store, tmp_path)
        desk.forwarder.connected()
        items = taken(desk, 7)
        assert payloads(items) == list(range(3, 10))
        desk.forwarder.delivered(items)
        until(lambda: not desk.spooled.busy, "the spool is empty")
        desk.forwarder.stop()


def test_before_the_first_write_too_no_more_is_on_its_way_than_a_small_disk_takes_at_once(
    small_disk: SmallDisk,
) -> None:
    """What a commit writes is there twice when the log is worked in; the budget is far larger."""
    store = DatabaseWriter(small_disk.folder / DATABASE_NAME, 256 * 1024**2)
    desk = Desk(store, small_disk.folder, SpoolLimits(max_bytes=256 * 1024**2))
    try:
        desk.digits = 2000
        desk.make(300)
        until(lambda: desk.spooled.pending > 0, "some are on their way")
        assert desk.spooled.pending_bytes <= log_bytes(disk_bytes(small_disk.folder)) < 300 * 2000
    finally:
        desk.forwarder.stop()
