"""A database whose files are removed while it is open loses nothing that it had, or got since."""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from support.disk import SmallDisk
from support.poll import until
from support.store import rows, running, settled

from pyboot_svc.worker.storage.database import checksum
from pyboot_svc.worker.storage.writer import DATABASE_NAME, DatabaseWriter, Write


@pytest.fixture
def file(tmp_path: Path) -> Path:
    folder = tmp_path / "state"
    folder.mkdir()
    return folder / DATABASE_NAME


def keep(key: str) -> Write:
    def write(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO state VALUES (?, ?, ?)", (key, "1", checksum(key, "1")))

    return write


def kept(file: Path) -> list[str]:
    return [key for (key,) in rows(file.parent, "SELECT key FROM state ORDER BY rowid")]


def written(store: DatabaseWriter, key: str) -> None:
    store.submit(keep(key), lambda: None)
    settled(store)


def remove(file: Path, *parts: str) -> None:
    for part in parts:
        file.with_name(file.name + part).unlink()


@pytest.mark.parametrize(
    "parts", [("", "-wal", "-shm"), ("",), ("-wal",), ("-shm",), ("", "-wal", "-shm", "-mark")]
)
def test_what_was_there_and_what_comes_is_written_anew(
    parts: tuple[str, ...], file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with running(file) as store:
        written(store, "before")
        remove(file, *parts)
        written(store, "after")
        assert kept(file) == ["before", "after"]
        written(store, "and on")
    assert kept(file) == ["before", "after", "and on"]
    assert caplog.text.count("was removed while in use: written anew") == 1
    with closing(sqlite3.connect(file)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_those_who_read_it_are_told(file: Path) -> None:
    opened: list[sqlite3.Connection] = []
    released = threading.Event()
    with running(file) as store:
        store.watch(opened.append, released.set)
        written(store, "before")
        remove(file, "")
        written(store, "after")
        assert released.is_set()
        assert len(set(map(id, opened))) == len(opened) == 2


def test_it_is_noticed_without_a_write(file: Path) -> None:
    with running(file) as store:
        written(store, "before")
        store.tick()
        settled(store)
        remove(file, "", "-wal", "-shm")
        store.tick()
        until(file.exists, "it is there again")
        assert kept(file) == ["before"]


def test_and_at_a_stop(file: Path) -> None:
    with running(file) as store:
        written(store, "before")
        remove(file, "", "-wal", "-shm")
    assert kept(file) == ["before"]


def gone(file: Path) -> str:
    for part in list(file.parent.iterdir()):
        part.unlink()
    file.parent.rmdir()
    return "make its folder, which is gone, again"


def replaced(file: Path) -> str:
    file.rename(file.with_name("moved"))
    file.write_bytes(b"")
    return "was replaced by another"


def taken(file: Path) -> str:
    gone(file)
    file.parent.mkdir()
    os.chown(file.parent, 65534, 65534)
    return "its folder made again by another user"


def mend(file: Path) -> None:
    if file.exists():
        file.unlink()
    elif file.parent.exists():
        os.chown(file.parent, os.geteuid(), os.getegid())
    else:
        file.parent.mkdir()


as_root = pytest.mark.skipif(os.geteuid() != 0, reason="makes a folder of another user")


@pytest.mark.parametrize("end", [gone, replaced, pytest.param(taken, marks=as_root)])
def test_where_it_cannot_be_nothing_is_told_to_be_durable_until_it_is(
    end: Callable[[Path], str], file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    done = threading.Event()
    with running(file) as store:
        written(store, "before")
        reason = end(file)
        store.submit(keep("after"), done.set)
        until(lambda: reason in (store.trouble or ""), "the trouble is said")
        store.tick()
        assert not done.is_set()
        mend(file)
        until(done.is_set, "written")
        assert store.trouble is None
        assert kept(file) == ["before", "after"]
    assert reason in caplog.text


def test_on_a_full_disk_no_part_of_it_takes_the_room_that_is_left(small_disk: SmallDisk) -> None:
    """Its files are gone by name only: they take their room until it is written anew."""
    file = small_disk.folder / DATABASE_NAME
    done = threading.Event()
    with running(file) as store:
        written(store, "before")
        store.submit(keep("x" * 200_000), lambda: None)
        settled(store)
        small_disk.fill(leave=64 * 1024)
        remove(file, "", "-wal", "-shm")
        store.submit(keep("after"), done.set)
        until(lambda: store.trouble, "the trouble is said")
        until(lambda: not list(small_disk.folder.glob("*-new*")), "no part is left")
        assert not done.is_set()
        small_disk.make_room()
        until(done.is_set, "written")
    assert [key[:6] for key in kept(file)] == ["before", "xxxxxx", "after"]
