"""What the tests of the delivery chain have in common: configurations, and a look at the file."""

from __future__ import annotations

import sqlite3
import subprocess
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pyboot_svc.config import Broker, Edge, Endpoint, InstanceConfig
from pyboot_svc.identity import InstanceId
from pyboot_svc.worker.storage.writer import DATABASE_NAME, DatabaseWriter

POST = Endpoint(Broker("10.0.0.1"), "out", 1)


def configured(pre_qos: int = 1, **settings: Any) -> InstanceConfig:
    """An instance test-1 with these settings of its edge."""
    pre = Endpoint(Broker("10.0.0.1"), "in", pre_qos)
    chosen = {"pre": pre, "post": POST, **settings}
    return InstanceConfig(InstanceId("test", 1), Edge("test", "a.b", **chosen))


def rows(folder: Path, query: str) -> list[tuple[Any, ...]]:
    """What the database in that folder says; a table that isn't there yet has no rows."""
    file = folder / DATABASE_NAME
    if not file.exists():
        return []
    with closing(sqlite3.connect(file, timeout=20)) as connection:
        try:
            return connection.execute(query).fetchall()
        except sqlite3.OperationalError as error:
            if "no such table" in str(error):
                return []
            raise


def rows_after_a_crash(folder: Path, query: str) -> list[tuple[Any, ...]]:
    """What a process that starts after a crash at this moment would find, read from a copy.

    For the store's own thread, which writes nothing meanwhile. Who reads the files themselves may
    have to make or enlarge one, which fails while the disk is full.
    """
    files = [file for file in folder.glob(f"{DATABASE_NAME}*") if not file.name.endswith("-shm")]
    with TemporaryDirectory() as copy:
        # By another process: one that closes a file gives up all its own locks of it (fcntl(2)),
        # those of SQLite included.
        subprocess.run(["cp", *files, copy], check=True, timeout=20)
        return rows(Path(copy), query)


@contextmanager
def running(file: Path, most_bytes: int = 256 * 1024**2) -> Iterator[DatabaseWriter]:
    """A store at work, with so many bytes of the disk; it must not die of an error."""
    crashed = threading.Event()
    store = DatabaseWriter(file, most_bytes)
    store.start(crashed.set)
    try:
        yield store
    finally:
        store.stop(20)
    assert not crashed.is_set()


def settled(store: DatabaseWriter) -> None:
    """Wait until all that was submitted up to here is committed."""
    done = threading.Event()
    store.submit(lambda connection: None, done.set)
    assert done.wait(20), "the store doesn't commit"


@contextmanager
def held_up(store: DatabaseWriter) -> Iterator[None]:
    """Meanwhile the store's thread stands still, and what is submitted waits."""
    began, go_on = threading.Event(), threading.Event()

    def wait(connection: object) -> None:
        began.set()
        assert go_on.wait(20)

    store.submit(wait, lambda: None)
    assert began.wait(20)
    try:
        yield
    finally:
        go_on.set()
