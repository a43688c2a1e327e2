"""Writes to a real SQLite file: many by one commit, and nobody told before it is durable."""

from __future__ import annotations

import os
import re
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from support.disk import SmallDisk
from support.poll import until
from support.store import held_up, rows, running, settled

from pyboot_svc.worker.storage.database import check, checksum, connect
from pyboot_svc.worker.storage.disk_budget import log_bytes
from pyboot_svc.worker.storage.writer import DATABASE_NAME, DatabaseWriter, Write


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / DATABASE_NAME


def keep(key: str, value: str = "1") -> Write:
    def write(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO state VALUES (?, ?, ?)", (key, value, checksum(key, value)))

    return write


def kept(folder: Path) -> list[str]:
    return [key for (key,) in rows(folder, "SELECT key FROM state ORDER BY rowid")]


def test_what_waits_is_committed_together(file: Path, tmp_path: Path) -> None:
    """Another connection sees the file's version change once."""
    told: list[str] = []
    with running(file) as store:
        settled(store)
        with closing(sqlite3.connect(file)) as reader:

            def versions() -> int:
                return reader.execute("PRAGMA data_version").fetchone()[0]  # type: ignore[no-any-return]

            def note(key: str) -> Callable[[], None]:
                # In the store's thread: whatever is to come has not been committed yet.
                return lambda: told.append(f"{key} of {len(kept(tmp_path))}")

            before = versions()
            with held_up(store):
                for number in range(50):
                    store.submit(keep(str(number)), note(str(number)))
            until(lambda: len(told) == 50, "all are told")
            assert versions() != before
    assert told == [f"{number} of 50" for number in range(50)]
    assert kept(tmp_path) == [str(number) for number in range(50)]


def test_a_very_long_queue_is_committed_in_parts_and_in_order(file: Path, tmp_path: Path) -> None:
    told: list[int] = []
    with running(file) as store:
        with held_up(store):
            for number in range(2_500):
                store.submit(keep(str(number)), lambda number=number: told.append(number))  # type: ignore[misc]
        until(lambda: len(told) == 2_500, "all are told")
    assert told == list(range(2_500))
    assert kept(tmp_path) == [str(number) for number in range(2_500)]


@pytest.mark.parametrize("whole_time", [False, True])
def test_the_log_stays_short_beside_one_who_reads(
    whole_time: bool, file: Path, tmp_path: Path
) -> None:
    """Commits wait for him: without end they would not, and the log is emptied once he is done."""
    budget, size = 512 * 1024, 16 * 1024
    sizes: list[int] = []

    def note() -> None:
        sizes.append(os.stat(f"{file}-wal").st_size)

    with running(file, budget) as store, closing(connect(file)) as reader:
        settled(store)
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM state").fetchall()
        away = threading.Timer(0.3, reader.rollback)
        if not whole_time:
            away.start()
        for number in range(20):
            store.submit(keep(str(number), "x" * size), note, growth=size)
        until(lambda: len(sizes) == 20, "all are durable")
        if whole_time:
            reader.rollback()
        else:
            away.join()
            assert max(sizes) <= 4 * log_bytes(budget)
        store.submit(keep("last", "x"), note)
        until(lambda: os.stat(f"{file}-wal").st_size <= log_bytes(budget) * 3 // 2, "emptied")
    assert len(kept(tmp_path)) == 21


def test_who_is_told_finds_it_durable(file: Path, tmp_path: Path) -> None:
    missing: list[str] = []

    def look_for(key: str) -> Callable[[], None]:
        return lambda: missing.extend({key} - set(kept(tmp_path)))

    with running(file) as store:
        for number in range(100):
            store.submit(keep(str(number)), look_for(str(number)))
        settled(store)
    assert missing == []
    assert len(kept(tmp_path)) == 100


@pytest.mark.usefixtures("busy_switching")
def test_many_threads_submit(file: Path, tmp_path: Path) -> None:
    told: list[str] = []

    def work(name: int) -> None:
        for number in range(100):
            key = f"{name}/{number}"
            store.submit(keep(key), lambda key=key: told.append(key))  # type: ignore[misc]

    with running(file) as store:
        threads = [threading.Thread(target=work, args=(name,)) for name in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        settled(store)
    assert told == kept(tmp_path)
    for name in range(8):
        own = [key for key in told if key.startswith(f"{name}/")]
        assert own == [f"{name}/{number}" for number in range(100)]


def test_stop_commits_what_waits(file: Path, tmp_path: Path) -> None:
    told: list[int] = []
    store = DatabaseWriter(file)
    for number in range(3_000):
        store.submit(keep(str(number)), lambda number=number: told.append(number))  # type: ignore[misc]
    store.start(lambda: None)
    store.stop(60)
    assert told == list(range(3_000))
    assert len(kept(tmp_path)) == 3_000


def test_after_stop_nobody_is_told(file: Path, tmp_path: Path) -> None:
    told: list[int] = []
    store = DatabaseWriter(file)
    store.start(lambda: None)
    store.stop(20)
    store.submit(keep("late"), lambda: told.append(1))
    assert (told, kept(tmp_path)) == ([], [])


def test_no_file_is_made_while_nothing_is_to_be_written(file: Path) -> None:
    store = DatabaseWriter(file)
    assert store.open_if_there() is None
    store.start(lambda: None)
    store.stop(20)
    assert not file.exists()


def test_what_was_written_is_there_for_the_next_process(file: Path) -> None:
    with running(file) as store:
        store.submit(keep("a"), lambda: None)
    connection = DatabaseWriter(file).open_if_there()
    assert connection is not None
    assert connection.execute("SELECT key FROM state").fetchall() == [("a",)]


CHILD = """
import sys
from pathlib import Path
from pyboot_svc.worker.storage.database import checksum
from pyboot_svc.worker.storage.writer import DatabaseWriter
store = DatabaseWriter(Path(sys.argv[1]))
store.start(lambda: None)
def write(number):
    return lambda c: c.execute("INSERT INTO state VALUES (?, '', 0)", (str(number),))
for number in range(100_000):
    store.submit(write(number), lambda number=number: print(number, flush=True))
sys.stdin.read()
"""


def test_what_a_killed_process_was_told_is_durable(file: Path, tmp_path: Path) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(file)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with child:
        assert child.stdout is not None
        for _ in range(2_500):
            child.stdout.readline()
        child.send_signal(signal.SIGKILL)
        told = 2_500 + len([line for line in child.stdout.read().split(b"\n") if line]) - 1
    assert 2_499 <= told < 100_000
    there = kept(tmp_path)
    assert there == [str(number) for number in range(len(there))]
    assert len(there) >= told


def test_a_folder_that_is_absent_is_trouble_until_it_is_there(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "absent"
    told = threading.Event()
    with running(folder / DATABASE_NAME) as store:
        store.submit(keep("a"), told.set)
        trouble = until(lambda: store.trouble, "trouble")
        assert trouble is not None
        assert "unable to open database file" in trouble
        assert not told.is_set()
        folder.mkdir()
        assert told.wait(20)
        assert store.trouble is None
    assert kept(folder) == ["a"]
    assert "; retrying;" in caplog.text
    assert "can be written again" in caplog.text


def test_stop_gives_up_what_can_not_be_written(tmp_path: Path) -> None:
    told: list[int] = []
    store = DatabaseWriter(tmp_path / "absent" / DATABASE_NAME)
    store.submit(keep("a"), lambda: told.append(1))
    store.start(lambda: None)
    until(lambda: store.trouble, "trouble")
    store.stop(0.1)
    until(lambda: not any(t.name == "store" for t in threading.enumerate()), "the thread ended")
    assert told == []


def test_a_full_disk_is_trouble_until_there_is_room(
    small_disk: SmallDisk, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[int] = []
    with running(small_disk.folder / DATABASE_NAME) as store:
        settled(store)
        small_disk.fill()
        for number in range(20):
            store.submit(keep(str(number), "x" * 50_000), lambda number=number: told.append(number))  # type: ignore[misc]
        assert until(lambda: store.trouble, "trouble")
        assert told == []
        small_disk.make_room()
        until(lambda: len(told) == 20, "written")
        assert store.trouble is None
    assert told == list(range(20))
    assert kept(small_disk.folder) == [str(number) for number in range(20)]
    assert "can be written again" in caplog.text
    assert "damaged" not in caplog.text


def test_a_disk_that_was_full_from_the_start(small_disk: SmallDisk) -> None:
    told = threading.Event()
    small_disk.fill()
    with running(small_disk.folder / DATABASE_NAME) as store:
        store.submit(keep("a"), told.set)
        assert until(lambda: store.trouble, "trouble")
        assert not told.is_set()
        small_disk.make_room()
        assert told.wait(20)
    assert kept(small_disk.folder) == ["a"]


def test_a_disk_that_becomes_read_only(small_disk: SmallDisk) -> None:
    told = threading.Event()
    with running(small_disk.folder / DATABASE_NAME) as store:
        store.submit(keep("a"), lambda: None)
        settled(store)
    small_disk.remount("ro")
    with running(small_disk.folder / DATABASE_NAME) as store:
        store.submit(keep("b"), told.set)
        assert until(lambda: store.trouble, "trouble")
        assert not told.is_set()
        small_disk.remount("rw")
        assert told.wait(20)
    assert kept(small_disk.folder) == ["a", "b"]


def test_a_file_damaged_while_it_is_in_use_is_put_aside_and_watchers_see_the_new_one(
    file: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[int] = []

    def watch(connection: sqlite3.Connection) -> None:
        seen.append(connection.execute("SELECT count(*) FROM state").fetchone()[0])

    told = threading.Event()
    store = DatabaseWriter(file)
    store.watch(watch)
    store.start(lambda: None)
    try:
        for number in range(100):  # more than SQLite keeps in memory
            store.submit(keep(str(number), "x" * 100_000), lambda: None)
        settled(store)
        assert seen == [0]
        with closing(sqlite3.connect(file)) as other:
            other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        half = os.path.getsize(file) // 2
        with file.open("r+b") as damaged:
            damaged.seek(half)
            damaged.write(b"\xff" * half)
        store.submit(check, lambda: None)
        store.submit(keep("new"), told.set)
        assert told.wait(30)
    finally:
        store.stop(20)
    assert len(seen) == 2
    assert 30 < seen[1] < 70
    assert len(kept(tmp_path)) == seen[1] + 1
    assert list(tmp_path.glob(f"{DATABASE_NAME}.damaged-*"))
    assert re.search(rf"carried over what could be read: .*\bstate {seen[1]}\b", caplog.text)
