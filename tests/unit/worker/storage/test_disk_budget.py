"""What lies on disk is bounded, as the disk measures it, and what was freed is given back."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from support.disk import SmallDisk
from support.poll import until
from support.store import held_up, running, settled

from pyboot_svc.worker.storage.database import connect, give_back, open_database, used_bytes
from pyboot_svc.worker.storage.disk_budget import (
    DiskBudget,
    Usage,
    bytes_on_pages,
    log_bytes,
    put_aside,
)
from pyboot_svc.worker.storage.durable_queue import RESULTS, DurableQueue, Row
from pyboot_svc.worker.storage.rows import row_size
from pyboot_svc.worker.storage.spool import Spool
from pyboot_svc.worker.storage.writer import DATABASE_NAME, DatabaseWriter

MOST = 1024**2


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / DATABASE_NAME


def aside(file: Path, name: str, size: int = 100_000, log: int = 0) -> None:
    damaged = file.with_name(f"{file.name}.damaged-{name}")
    damaged.write_bytes(b"x" * size)
    if log:
        damaged.with_name(f"{damaged.name}-wal").write_bytes(b"x" * log)


def names(file: Path) -> list[str]:
    return sorted(path.name for path in file.parent.glob("*.damaged-*"))


@pytest.fixture
def budget(file: Path) -> Callable[..., DiskBudget]:
    def make(most: int = MOST, used: int = 0) -> DiskBudget:
        made = DiskBudget(file, most, lambda: Usage(used, 0, 0))
        with closing(open_database(file)) as connection:
            made.look(connection)
        return made

    return make


@pytest.mark.skipif(os.geteuid() != 0, reason="a disk is mounted by root alone")
def test_a_disk_that_says_nothing_of_its_size_has_room_for_the_budget(tmp_path: Path) -> None:
    disk = SmallDisk(tmp_path / "disk", size=0)
    try:
        with running(disk.folder / DATABASE_NAME, MOST) as store:
            spool = Spool(store, disk.folder / DATABASE_NAME, MOST)
            assert store.most_of_commit == log_bytes(MOST)
            assert spool.room(1) > MOST // 2
            assert not spool.disk_is_low
    finally:
        disk.close()


def test_the_last_of_a_disk_is_not_taken(small_disk: SmallDisk) -> None:
    """A twentieth of it stays free for others, whatever the budget still allows."""
    file = small_disk.folder / DATABASE_NAME
    disk = os.statvfs(small_disk.folder)
    size = disk.f_blocks * disk.f_frsize
    with closing(open_database(file)) as connection:
        budget = DiskBudget(file, 100 * size, lambda: Usage(*used_bytes(connection, file), 0))
        budget.look(connection)
        room = budget.room(0)
        assert size // 2 < room < size - size // 20
        assert not budget.disk_is_low
        small_disk.fill(leave=size // 20)
        assert budget.room(1) <= 0
        assert budget.disk_is_low
        small_disk.make_room()
        assert budget.room(1) == room
        assert not budget.disk_is_low
        small_disk.fill(leave=size // 20 + 20 * 4096)  # for a little, but not for all
        left = budget.room(1)
        assert left > 512
        assert not budget.disk_is_low
        budget.room(left + 1)
        assert budget.disk_is_low


def test_damaged_files_are_known_by_their_numbers_and_not_by_the_clock(file: Path) -> None:
    """The last one was put aside by a clock that had stepped back."""
    aside(file, "20260101T000000")
    aside(file, "1-20270101T000000", log=50_000)
    aside(file, "10-19700101T000000")
    aside(file, "2-20270101T000000")
    file.with_name("worker.sqlite.damaged-by-hand").write_bytes(b"mine")
    file.with_name("other.damaged-1-20270101T000000").write_bytes(b"another's")
    found = put_aside(file)
    assert [one.order[0] for one in found] == [0, 1, 2, 10]
    assert [len(one.files) for one in found] == [1, 2, 1, 1]
    assert found[1].size >= 150_000


def test_what_was_put_aside_is_kept_while_there_is_room(
    file: Path, budget: Callable[..., DiskBudget]
) -> None:
    aside(file, "1-20260101T000000")
    aside(file, "2-20260101T000000")
    found = budget()
    before = found.room(0)
    assert len(names(file)) == 2
    assert found.room(before + 1) > before, "for want of room the oldest goes"
    assert names(file) == ["worker.sqlite.damaged-2-20260101T000000"]
    found.room(MOST)
    assert names(file) == []


def test_of_what_was_put_aside_the_newest_that_fits_is_kept(
    file: Path, budget: Callable[..., DiskBudget], caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(1, 30):
        aside(file, f"{number}-20260101T000000", log=10_000)
    budget()
    left = [one.order[0] for one in put_aside(file)]
    assert left == list(range(30 - len(left), 30))
    assert sum(one.size for one in put_aside(file)) < MOST
    assert "removed worker.sqlite.damaged-1-" in caplog.text


def test_what_is_on_its_way_counts_once(file: Path) -> None:
    with running(file) as store:
        lane = DurableQueue(store, file, RESULTS)
        found = DiskBudget(file, 64 * 1024**2, lambda: store.used)
        settled(store)
        empty = found.room(0)
        told: list[int] = []
        rows: list[Row] = [("out", b"x" * 2_500, 1, {})] * 10
        with held_up(store):
            lane.append(rows, lambda: told.append(found.room(0)))
            told.append(found.room(0))
            assert told[0] == empty - 10 * 4096, "each takes a page"
        settled(store)
        assert told == [told[0]] * 2
        with held_up(store):
            lane.remove(lane.take(10), lambda: told.append(found.room(0)))
            assert found.room(0) == empty
        settled(store)
        assert told[2:] == [empty]


def test_what_is_taken_back_counts_no_more(small_disk: SmallDisk) -> None:
    file = small_disk.folder / DATABASE_NAME
    with running(file) as store:
        lane = DurableQueue(store, file, RESULTS)
        settled(store)
        small_disk.fill()
        lane.serve(lambda: None)
        lane.append([("out", b"x" * 100_000, 1, {})], lambda: None)
        until(lambda: lane.in_memory, "the disk is full")
        until(lambda: store.used.growth == 0, "it counts no more")
        small_disk.make_room()
        settled(store)
        assert store.used.growth == 0


@pytest.mark.parametrize("size", [100, 1500, 3000, 4090, 10_000, 100_000])
def test_rows_take_about_what_is_reckoned(file: Path, size: int) -> None:
    count = 2_000_000 // size
    with closing(open_database(file)) as connection:
        before = used_bytes(connection, file)[0]
        rows = [(b"x" * (size - 10),) for _ in range(count)]
        connection.execute("BEGIN")
        connection.executemany(
            "INSERT INTO spool (lane, topic, payload, qos, properties, created, checksum) "
            "VALUES (0, '', ?, 0, '', 0, 0)",
            rows,
        )
        connection.execute("COMMIT")
        grown = used_bytes(connection, file)[0] - before
    assert 0.75 < count * bytes_on_pages(size) / grown < 1.4


def size_of(file: Path) -> int:
    log = file.with_name(f"{file.name}-wal")
    return file.stat().st_size + (log.stat().st_size if log.exists() else 0)


def test_what_was_freed_is_given_back_when_nothing_is_written(file: Path) -> None:
    with running(file) as store:
        lane = DurableQueue(store, file, RESULTS)
        lane.append([("out", b"x" * 10_000, 1, {}) for _ in range(300)], lambda: None)
        settled(store)
        assert size_of(file) > 3_000_000
        lane.remove(lane.take(300))
        until(lambda: size_of(file) < 200_000, "given back")
        # And it goes on as before.
        lane.append([("out", b"1", 1, {})], lambda: None)
        settled(store)
        assert [row.payload for row in lane.take(9)] == [b"1"]


def test_a_database_of_an_earlier_version_gives_back_too(file: Path) -> None:
    with closing(connect(file)) as old:
        old.execute("PRAGMA journal_mode = WAL")
        old.execute("CREATE TABLE state (key TEXT PRIMARY KEY, value TEXT, checksum INTEGER)")
        old.execute("CREATE TABLE large (content BLOB)")
        old.execute("INSERT INTO large VALUES (zeroblob(10000000))")
        old.execute("DROP TABLE large")
    with closing(open_database(file)) as connection:
        while give_back(connection):
            pass
        assert connection.execute("PRAGMA auto_vacuum").fetchone() == (2,)
    assert file.stat().st_size < 200_000


def test_the_log_is_emptied_when_a_reader_kept_it_from_beginning_anew(tmp_path: Path) -> None:
    file = tmp_path / DATABASE_NAME
    most = 512 * 1024
    store = DatabaseWriter(file, most)
    store.start(lambda: None)
    try:
        lane = DurableQueue(store, file, RESULTS)
        log = file.with_name(f"{file.name}-wal")
        with closing(connect(file)) as reader:
            lane.append([("out", b"x" * 10_000, 1, {})], lambda: None)
            settled(store)
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM spool").fetchall()
            for _ in range(30):
                lane.append([("out", b"x" * 10_000, 1, {})], lambda: None)
                settled(store)
            assert log.stat().st_size > 8 * log_bytes(most)
        lane.append([("out", b"1", 1, {})], lambda: None)
        settled(store)
        assert log.stat().st_size <= 3 * log_bytes(most)
    finally:
        store.stop(20)


@pytest.mark.parametrize("together", [1, 20])
@pytest.mark.parametrize("size", [40, 1_000, 2_500])
def test_a_small_disk_is_used_and_its_last_bytes_are_not(
    small_disk: SmallDisk, size: int, together: int
) -> None:
    """Results that come alone write many times what they hold to the log; it stays in proportion to
    the disk, not to the budget."""
    small_disk.fill(leave=1024**2)
    free = 1024**2
    row: Row = ("out", b"x" * size, 1, {})
    wanted = together * bytes_on_pages(row_size("out", row[1], {}))
    with running(small_disk.folder / DATABASE_NAME, 256 * 1024**2) as store:
        spool = Spool(store, small_disk.folder / DATABASE_NAME, 256 * 1024**2)
        settled(store)
        while spool.room(wanted) >= wanted:
            spool.results.append([row] * together, lambda: None)
            settled(store)
            disk = os.statvfs(small_disk.folder)
            free = min(free, disk.f_bavail * disk.f_frsize)
            assert store.trouble is None
        assert spool.disk_is_low
        assert spool.results.depth * wanted // together > 256 * 1024
        # A twentieth of the disk, but for what a commit writes beside its rows.
        assert free > disk.f_blocks * disk.f_frsize // 20 - 32 * 1024
