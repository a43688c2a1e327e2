"""A lane of the spool, on a real database, beside a simple list that does the same."""

from __future__ import annotations

import sqlite3
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from support.disk import SmallDisk
from support.poll import until
from support.store import held_up, rows, running, settled

from pyboot_svc.worker.messages import StoredMessage
from pyboot_svc.worker.storage.durable_queue import (
    DEAD_LETTERS,
    RESULTS,
    DurableQueue,
    Row,
)
from pyboot_svc.worker.storage.row_reader import RowReader
from pyboot_svc.worker.storage.rows import insert, row_size
from pyboot_svc.worker.storage.writer import DATABASE_NAME, DatabaseWriter


@pytest.fixture
def store(tmp_path: Path) -> Iterator[DatabaseWriter]:
    with running(tmp_path / DATABASE_NAME) as store:
        yield store


def make_lane(store: DatabaseWriter, folder: Path, number: int = RESULTS) -> DurableQueue:
    return DurableQueue(store, folder / DATABASE_NAME, number)


@pytest.fixture
def lane(store: DatabaseWriter, tmp_path: Path) -> DurableQueue:
    return make_lane(store, tmp_path)


def numbered(first: int, last: int) -> list[Row]:
    return [("out", b"%d" % number, 1, {"n": str(number)}) for number in range(first, last)]


def sizes(*numbers: int) -> int:
    """What the rows of these take."""
    return sum(row_size("out", b"%d" % n, {"n": str(n)}) for n in numbers)


def fill(store: DatabaseWriter, lane: DurableQueue, first: int, last: int) -> None:
    lane.append(numbered(first, last), lambda: None)
    settled(store)


def payloads(items: list[StoredMessage]) -> list[int]:
    return [int(item.payload) for item in items]


def test_what_is_appended_comes_out_in_order_and_whole(
    store: DatabaseWriter, lane: DurableQueue
) -> None:
    lane.append([("a/b", b"\x00\xff", 2, {"k": "温", "l": "\n"}), ("c", b"", 0, {})], lambda: None)
    settled(store)
    first, second = lane.take(10)
    assert (first.topic, first.payload, first.qos, first.properties) == (
        *("a/b", b"\x00\xff", 2),
        {"k": "温", "l": "\n"},
    )
    assert (second.topic, second.payload, second.qos, second.properties) == ("c", b"", 0, {})
    assert first.lane == RESULTS


DEEP = '{"k": ' + "[" * 100_000 + "]" * 100_000 + "}"


@pytest.mark.parametrize(
    "values",
    [
        (b"\xff", b"1", 1, "{}"),
        ("out", "1", 1, "{}"),
        ("out", 1, 1, "{}"),
        ("out", b"1", "one", "{}"),
        ("out", b"1", 1, b"{}"),
        *(("out", b"1", 1, text) for text in ('{"k": 1}', '{"k": null}', '{"k": ["x"]}', DEEP)),
    ],
    ids=lambda values: str(values)[:40],
)
def test_a_row_of_other_types_than_it_should_have_says_so(
    store: DatabaseWriter, tmp_path: Path, values: tuple[Any, ...]
) -> None:
    def write(connection: sqlite3.Connection) -> None:
        insert(connection, RESULTS, [values, ("out", b"2", 1, "{}")], 0.0)

    store.submit(write, lambda: None)
    settled(store)
    with running(tmp_path / DATABASE_NAME) as again:  # with it, the rows are counted
        lane = make_lane(again, tmp_path)
        settled(again)
        odd, good = lane.take(10)
        assert odd.flaw is not None
        assert odd.flaw.startswith("its row on the disk is damaged")
        # As anything else that is to be kept.
        assert isinstance(odd.topic, str)
        assert isinstance(odd.payload, bytes)
        assert good.flaw is None
        lane.remove([odd, good])
        settled(again)
        assert not lane.busy


def test_nothing_is_taken_before_it_is_durable(store: DatabaseWriter, lane: DurableQueue) -> None:
    told = threading.Event()
    with held_up(store):
        lane.append(numbered(0, 3), told.set)
        assert (lane.busy, lane.ready, lane.pending, lane.depth, lane.size) == (
            True,
            False,
            3,
            3,
            sizes(0, 1, 2),
        )
        assert lane.take(10) == []
        assert not told.is_set()
    assert told.wait(20)
    assert (lane.busy, lane.ready, lane.pending, lane.depth, lane.size) == (
        *(True, True, 0, 3),
        sizes(0, 1, 2),
    )
    assert payloads(lane.take(10)) == [0, 1, 2]


def test_each_row_is_handed_out_once(store: DatabaseWriter, lane: DurableQueue) -> None:
    fill(store, lane, 0, 5)
    assert payloads(lane.take(2)) == [0, 1]
    assert payloads(lane.take(2)) == [2, 3]
    fill(store, lane, 5, 7)
    assert payloads(lane.take(9)) == [4, 5, 6]
    assert (lane.take(9), lane.ready, lane.busy) == ([], False, True)


@pytest.mark.parametrize("room", [0, -1])
def test_without_room_nothing_is_taken(
    store: DatabaseWriter, lane: DurableQueue, room: int
) -> None:
    fill(store, lane, 0, 1)
    assert lane.take(room) == []
    assert payloads(lane.take(1)) == [0]


def test_after_a_lost_connection_what_was_not_delivered_comes_again(
    store: DatabaseWriter, lane: DurableQueue
) -> None:
    fill(store, lane, 0, 6)
    taken = lane.take(4)
    lane.remove([taken[1]])
    settled(store)
    lane.reset()
    assert payloads(lane.take(10)) == [0, 2, 3, 4, 5]


def test_what_is_deleted_while_rows_are_read_is_not_handed_out_again(
    store: DatabaseWriter, lane: DurableQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(store, lane, 0, 6)
    read = RowReader.read

    def read_before_the_removal(*arguments: Any) -> list[StoredMessage]:
        found = read(*arguments)
        go_on.set()
        settled(store)
        return found

    go_on = threading.Event()
    delivered = lane.take(4)
    lane.reset()

    def wait(connection: object) -> None:
        assert go_on.wait(20)

    store.submit(wait, lambda: None)
    lane.remove(delivered)
    monkeypatch.setattr(RowReader, "read", read_before_the_removal)
    assert payloads(lane.take(10)) == [4, 5]


def test_a_connection_lost_while_a_removal_waits(store: DatabaseWriter, lane: DurableQueue) -> None:
    fill(store, lane, 0, 4)
    taken = lane.take(4)
    with held_up(store):
        lane.remove(taken[:2])
        lane.reset()
        assert payloads(lane.take(10)) == [2, 3]
        assert (lane.ready, lane.depth, lane.size) == (False, 4, sizes(2, 3))
    settled(store)
    assert (lane.ready, lane.depth) == (False, 2)
    lane.reset()
    assert payloads(lane.take(10)) == [2, 3]


def test_busy_until_the_last_row_is_deleted(store: DatabaseWriter, lane: DurableQueue) -> None:
    deleted = threading.Event()
    fill(store, lane, 0, 2)
    with held_up(store):
        lane.remove(lane.take(2), deleted.set)
        assert (lane.busy, lane.ready, deleted.is_set()) == (True, False, False)
    assert deleted.wait(20)
    assert (lane.busy, lane.depth, lane.size) == (False, 0, 0)


def test_removing_twice_counts_once(store: DatabaseWriter, lane: DurableQueue) -> None:
    """As when a row is dropped for its age while the broker's answer is on its way."""
    fill(store, lane, 0, 3)
    taken = lane.take(3)
    with held_up(store):
        lane.remove(taken[:2])
        lane.remove(taken[:1])
    settled(store)
    lane.remove(taken[:2])
    settled(store)
    assert (lane.depth, lane.size, lane.busy, lane.ready) == (1, sizes(2), True, False)


def test_the_oldest_are_not_offered_twice(store: DatabaseWriter, lane: DurableQueue) -> None:
    fill(store, lane, 0, 5)
    with held_up(store):
        assert payloads(lane.take(1)) == [0]  # in flight: it may be safe already
        old = lane.oldest(2)
        assert payloads(old) == [1, 2]
        lane.remove(old)
        assert payloads(lane.oldest(9)) == [3, 4]
        assert lane.oldest(9, age=3600) == []


def test_the_oldest_of_a_lane_without_a_file(lane: DurableQueue, store: DatabaseWriter) -> None:
    with held_up(store):
        lane.append(numbered(0, 1), lambda: None)
        assert lane.oldest(10) == []


def reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many rows each read of the disk brings from here on."""
    found: list[int] = []
    read = RowReader.read

    def counted(*arguments: Any) -> list[StoredMessage]:
        rows = read(*arguments)
        found.append(len(rows))
        return rows

    monkeypatch.setattr(RowReader, "read", counted)
    return found


def test_one_read_of_the_disk_serves_many_calls(
    store: DatabaseWriter, lane: DurableQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(store, lane, 0, 200)
    found = reads(monkeypatch)
    assert lane.take(20, from_disk=False) == []
    assert lane.ready, "somebody who may read has to"
    assert payloads(lane.take(20)) == list(range(20))
    for first in range(20, 200, 20):
        assert payloads(lane.take(20, from_disk=False)) == list(range(first, first + 20))
    assert found == [200]
    assert not lane.ready


def test_a_read_takes_no_more_bytes_than_it_may(
    store: DatabaseWriter, lane: DurableQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    long: list[Row] = [("out", b"%d" % number * 400_000, 1, {}) for number in range(8)]
    lane.append([*long, ("out", b"9" * 3_000_000, 1, {})], lambda: None)
    settled(store)
    found = reads(monkeypatch)
    taken = lane.take(2000)
    while lane.ready:
        taken += lane.take(2000)
    assert [item.payload[:1] for item in taken] == [b"%d" % n for n in (0, 1, 2, 3, 4, 5, 6, 7, 9)]
    assert max(found) == 3
    assert len(lane.oldest(500)) == 0


def test_no_more_bytes_are_on_their_way_than_may_be(
    store: DatabaseWriter, lane: DurableQueue
) -> None:
    lane.append([("out", b"%02d" % n + b"x" * 500_000, 1, {}) for n in range(40)], lambda: None)
    settled(store)
    taken = lane.take(2000)
    while lane.ready:
        taken += lane.take(2000)
    assert len(taken) == 17, "8 MiB, and the one that goes beyond"
    assert (lane.take(2000), lane.busy, lane.waiting) == ([], True, 23)
    lane.remove(taken[:5])
    assert lane.ready, "as soon as they are delivered"
    again = lane.take(2000)
    assert [int(item.payload[:2]) for item in again] == list(range(17, 22))
    lane.reset()
    assert [int(item.payload[:2]) for item in lane.take(3)] == [5, 6, 7]


def test_what_was_read_ahead_and_dropped_is_not_handed_out(
    store: DatabaseWriter, lane: DurableQueue
) -> None:
    fill(store, lane, 0, 6)
    assert payloads(lane.take(1)) == [0]
    lane.remove(lane.oldest(2))
    settled(store)
    assert payloads(lane.take(9, from_disk=False)) == [3, 4, 5]


def test_what_is_dropped_while_rows_are_read_ahead_is_not_handed_out(
    store: DatabaseWriter, lane: DurableQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(store, lane, 0, 6)
    old = lane.oldest(2)
    read = RowReader.read

    def read_before_they_are_dropped(*arguments: Any) -> list[StoredMessage]:
        found = read(*arguments)
        lane.remove(old)
        settled(store)
        return found

    monkeypatch.setattr(RowReader, "read", read_before_they_are_dropped)
    assert payloads(lane.take(9)) == [2, 3, 4, 5]


def test_rows_that_are_no_neighbours_are_deleted_too(
    store: DatabaseWriter, lane: DurableQueue, tmp_path: Path
) -> None:
    fill(store, lane, 0, 9)
    taken = lane.take(9)
    with closing(sqlite3.connect(tmp_path / DATABASE_NAME)) as other, other:
        other.execute("DELETE FROM spool WHERE id = 3")  # as if it were lost by a damage
    lane.remove([taken[n] for n in (0, 1, 2, 4, 7, 8)])
    settled(store)
    assert rows(tmp_path, "SELECT payload FROM spool") == [(b"3",), (b"5",), (b"6",)]


def test_lanes_are_apart(store: DatabaseWriter, tmp_path: Path) -> None:
    results, letters = make_lane(store, tmp_path), make_lane(store, tmp_path, DEAD_LETTERS)
    fill(store, results, 0, 2)
    fill(store, letters, 10, 13)
    assert (results.depth, letters.depth) == (2, 3)
    taken = letters.take(10)
    assert payloads(taken) == [10, 11, 12]
    letters.remove(taken)
    settled(store)
    assert (letters.busy, results.busy) == (False, True)
    assert payloads(results.take(10)) == [0, 1]


def test_an_earlier_process_left_rows(tmp_path: Path) -> None:
    with running(tmp_path / DATABASE_NAME) as store:
        lane = make_lane(store, tmp_path)
        lane.append(numbered(8, 12), lambda: None)
        settled(store)
        lane.remove(lane.take(1))
    with running(tmp_path / DATABASE_NAME) as store:
        lane = make_lane(store, tmp_path)
        connection = store.open_if_there()
        assert connection is not None
        lane.load(connection)
        assert (lane.depth, lane.size, lane.busy, lane.ready) == (3, sizes(9, 10, 11), True, True)
        lane.append(numbered(12, 14), lambda: None)
        settled(store)
        assert payloads(lane.take(10)) == [9, 10, 11, 12, 13]


def test_rows_committed_and_not_yet_counted_are_handed_out_once(
    store: DatabaseWriter, lane: DurableQueue, tmp_path: Path
) -> None:
    fill(store, lane, 0, 1)
    began, go_on = threading.Event(), threading.Event()

    def stand_still() -> None:
        began.set()
        assert go_on.wait(20)

    with held_up(store):
        store.submit(lambda connection: None, stand_still)
        lane.append(numbered(1, 4), lambda: None)
    assert began.wait(20)
    try:
        # The transaction is committed, and the store's thread has not told the lane yet.
        assert len(rows(tmp_path, "SELECT * FROM spool")) == 4
        assert payloads(lane.take(3)) == [0, 1, 2]
        assert (lane.ready, lane.busy, lane.take(3)) == (False, True, [])
    finally:
        go_on.set()
    settled(store)
    assert lane.ready
    assert payloads(lane.take(3)) == [3]


@pytest.mark.usefixtures("busy_switching")
def test_never_idle_between_the_disk_and_the_count(
    store: DatabaseWriter, lane: DurableQueue
) -> None:
    """Somebody who looks all the time sees `busy` from the first append to the last removal."""
    wrong: list[str] = []
    stop = threading.Event()

    def watch() -> None:
        while not stop.is_set():
            if not lane.busy:
                wrong.append("idle")
            if lane.depth < 1:
                wrong.append("empty")

    fill(store, lane, 0, 1)
    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        for number in range(1, 200):
            with held_up(store):  # then the only row is deleted, and the next one written, at once
                only = lane.take(1)
                lane.remove(only)
                lane.append(numbered(number, number + 1), lambda: None)
            settled(store)
    finally:
        stop.set()
        watcher.join(20)
    assert wrong == []


@pytest.mark.usefixtures("busy_switching")
def test_the_outbox_and_the_forwarder_read_at_the_same_time(
    store: DatabaseWriter, lane: DurableQueue
) -> None:
    fill(store, lane, 0, 300)
    wrong: list[int] = []
    stop = threading.Event()

    def look() -> None:
        while not stop.is_set():
            found = payloads(lane.oldest(5, age=-60))
            if found != sorted(set(found)):
                wrong.extend(found)

    forwarder = threading.Thread(target=look)
    forwarder.start()
    try:
        taken = [number for _ in range(300) for number in payloads(lane.take(1))]
    finally:
        stop.set()
        forwarder.join(20)
    assert (taken, wrong) == (list(range(300)), [])


def test_a_damage_that_sqlite_does_not_see_loses_no_more_than_it_must(
    store: DatabaseWriter, lane: DurableQueue, tmp_path: Path
) -> None:
    fill(store, lane, 0, 3)
    with closing(sqlite3.connect(tmp_path / DATABASE_NAME)) as other, other:
        other.execute("UPDATE spool SET properties = '{\"a' WHERE id = 1")
        other.execute("UPDATE spool SET properties = '5' WHERE id = 2")
        other.execute("UPDATE spool SET topic = CAST(x'6fff' AS TEXT) WHERE id = 3")
    taken = lane.take(3)
    assert payloads(taken) == [0, 1, 2]
    assert [item.properties for item in taken] == [{}, {}, {"n": "2"}]
    assert taken[2].topic == "o\ufffd"


def test_a_file_found_damaged_by_reading_is_put_aside_and_read_on(
    store: DatabaseWriter, lane: DurableQueue, tmp_path: Path
) -> None:
    file = tmp_path / DATABASE_NAME
    lane.append([("out", b"%05d" % n + b"x" * 20_000, 1, {}) for n in range(200)], lambda: None)
    settled(store)
    with closing(sqlite3.connect(file)) as other:
        other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    size = file.stat().st_size
    with file.open("r+b") as damaged:
        damaged.seek(size // 4 // 4096 * 4096)
        damaged.write(b"\xff" * (size // 4))
    taken: list[int] = []

    def drained() -> bool:
        items = lane.take(10)
        taken.extend(int(item.payload[:5]) for item in items)
        lane.remove(items)
        return not lane.busy

    until(drained, "what could be read is handed out, and no more is waited for")
    assert list(tmp_path.glob(f"{DATABASE_NAME}.damaged-*"))
    assert taken == sorted(set(taken))
    assert {0, 199} <= set(taken)
    assert 100 <= len(set(taken)) < 200
    fill(store, lane, 0, 2)
    assert payloads(lane.take(9)) == [0, 1]


class LaneMachine(RuleBasedStateMachine):
    """Any order of calls; the store is held up, or does what waits, between them."""

    @initialize()
    def create(self) -> None:
        self.stack = ExitStack()
        self.folder = Path(self.stack.enter_context(tempfile.TemporaryDirectory()))
        self.number = 0
        self.durable: list[int] = []
        self.open()

    def open(self) -> None:
        self.running = ExitStack()
        self.store = self.running.enter_context(running(self.folder / DATABASE_NAME))
        self.lane = make_lane(self.store, self.folder)
        connection = self.store.open_if_there()
        if connection is not None:
            self.lane.load(connection)
        self.hold: ExitStack | None = None
        self.pending: list[int] = []
        self.out: list[StoredMessage] = []
        self.out_numbers: set[int] = set()
        self.removing: set[int] = set()
        self.cursor = -1

    def quiet(self) -> None:
        if self.hold is None:
            settled(self.store)
            self.durable += self.pending
            self.pending = []
            self.durable = [n for n in self.durable if n not in self.removing]
            self.removing = set()

    @rule(count=st.integers(1, 4))
    def append(self, count: int) -> None:
        self.lane.append(numbered(self.number, self.number + count), lambda: None)
        self.pending += range(self.number, self.number + count)
        self.number += count
        self.quiet()

    @rule(most=st.integers(0, 5))
    def take(self, most: int) -> None:
        self.check_taken(self.lane.take(most), most)

    @rule(most=st.integers(0, 5))
    def take_what_was_read_ahead(self, most: int) -> None:
        taken = self.lane.take(most, from_disk=False)
        self.check_taken(taken, min(most, len(taken)))

    def check_taken(self, taken: list[StoredMessage], most: int) -> None:
        free = [n for n in self.durable if n not in self.out_numbers | self.removing]
        found = payloads(taken)
        assert found == free[: len(found)]
        assert bool(found) or not free or most == 0 or self.removing
        self.out += taken
        self.out_numbers.update(found)

    @precondition(lambda self: self.out)
    @rule(data=st.data())
    def deliver(self, data: st.DataObject) -> None:
        count = data.draw(st.integers(1, len(self.out)))
        items, self.out = self.out[:count], self.out[count:]
        self.lane.remove(items)
        self.removing.update(payloads(items))
        self.out_numbers.difference_update(payloads(items))
        self.quiet()

    @rule()
    def lose_the_connection(self) -> None:
        self.lane.reset()
        self.out = []
        self.out_numbers = set()

    @rule(most=st.integers(1, 3))
    def drop_the_oldest(self, most: int) -> None:
        items = self.lane.oldest(most)
        free = [n for n in self.durable if n not in self.out_numbers | self.removing]
        assert payloads(items) == free[:most]
        self.lane.remove(items)
        self.removing.update(payloads(items))
        self.quiet()

    @precondition(lambda self: self.hold is None)
    @rule()
    def hold_the_store_up(self) -> None:
        self.hold = ExitStack()
        self.hold.enter_context(held_up(self.store))

    @precondition(lambda self: self.hold is not None)
    @rule()
    def let_it_go_on(self) -> None:
        assert self.hold is not None
        self.hold.close()
        self.hold = None
        self.quiet()

    @precondition(lambda self: self.hold is None)
    @rule()
    def restart(self) -> None:
        self.running.close()
        self.open()

    @invariant()
    def counts_are_exact(self) -> None:
        assert self.lane.pending == len(self.pending)
        assert self.lane.depth == len(self.pending) + len(self.durable)
        assert self.lane.busy == bool(self.pending or self.durable)
        left = [n for n in self.pending + self.durable if n not in self.removing]
        assert self.lane.size == sizes(*left)
        waiting = set(self.durable) - self.out_numbers - self.removing
        assert self.lane.ready == bool(waiting)
        assert self.lane.waiting == len(waiting) + len(self.pending)

    def teardown(self) -> None:
        if not hasattr(self, "stack"):
            return
        if self.hold is not None:
            self.hold.close()
        self.running.close()
        self.stack.close()


TestLaneAgainstAList = LaneMachine.TestCase
TestLaneAgainstAList.settings = settings(max_examples=30, stateful_step_count=30, deadline=None)


def test_who_has_read_lets_go_of_the_file_when_closed(tmp_path: Path) -> None:
    """The last connection that closes takes the log into the database; none may be left behind."""
    file = tmp_path / DATABASE_NAME
    with running(file) as store:
        lane = make_lane(store, tmp_path)
        fill(store, lane, 0, 3)
        assert payloads(lane.take(10)) == [0, 1, 2]
        lane.close()
    assert file.exists()
    assert not file.with_name(f"{DATABASE_NAME}-wal").exists()


def test_what_a_commit_wrote_is_there_once_though_its_log_cant_be_worked_in(
    small_disk: SmallDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk has room for the log, but not for what the database grows by then."""
    monkeypatch.setattr("pyboot_svc.worker.storage.writer.RETRY_SECONDS", 0.01)
    with running(small_disk.folder / DATABASE_NAME, 512 * 1024) as store:
        lane = make_lane(store, small_disk.folder)
        settled(store)
        numbers = iter(range(1_000))
        for left in range(0, 400, 8):
            small_disk.fill(leave=left * 1024)
            for number in islice(numbers, 10):
                lane.append([("out", b"%03000d" % number, 1, {})], lambda: None)
            until(lambda: lane.pending == 0 or store.trouble is not None, "written, or not")
            small_disk.make_room()
            settled(store)
    found = rows(small_disk.folder, "SELECT payload FROM spool ORDER BY id")
    assert [int(payload) for (payload,) in found] == list(range(500))
