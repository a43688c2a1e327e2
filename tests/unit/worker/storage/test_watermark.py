"""Rows that were committed and are no longer there: noticed, and counted."""

from __future__ import annotations

import logging
import os
import shutil
import sqlite3
from pathlib import Path

import pytest
from support.store import running, settled

from pyboot_svc.worker.storage.durable_queue import RESULTS, DurableQueue
from pyboot_svc.worker.storage.watermark import Held, Mark
from pyboot_svc.worker.storage.writer import DATABASE_NAME, DatabaseWriter

MISSING = "it lacks what was committed last"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "written" / DATABASE_NAME


@pytest.fixture
def found(tmp_path: Path) -> Path:
    return tmp_path / "found" / DATABASE_NAME


def spool(store: DatabaseWriter, lane: DurableQueue, count: int) -> None:
    lane.append([("out", b"x" * 3000, 1, {})] * count, lambda: None)
    settled(store)


def leave(file: Path, found: Path) -> None:
    """A process was killed that had spooled 5 results and delivered 2, in some commits."""
    file.parent.mkdir()
    with running(file) as store:
        lane = DurableQueue(store, file, RESULTS)
        for _ in range(5):
            spool(store, lane, 1)
        lane.remove(lane.take(2))
        settled(store)
        shutil.copytree(file.parent, found.parent)


def opened(found: Path) -> int:
    """How many results the next process finds."""
    connection = DatabaseWriter(found).open_if_there()
    assert connection is not None
    count: int = connection.execute("SELECT count(*) FROM spool").fetchone()[0]
    connection.close()
    return count


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.message for record in caplog.records if record.levelno >= logging.WARNING]


def test_all_is_there(file: Path, found: Path, caplog: pytest.LogCaptureFixture) -> None:
    leave(file, found)
    assert opened(found) == 3
    with running(found) as store:
        store.submit(lambda connection: None, lambda: None)
    assert opened(found) == 3
    assert warnings(caplog) == []


def test_a_log_that_was_cut(file: Path, found: Path, caplog: pytest.LogCaptureFixture) -> None:
    leave(file, found)
    wal = found.with_name(found.name + "-wal")
    found.with_name(found.name + "-shm").unlink()
    os.truncate(wal, wal.stat().st_size * 3 // 5)
    count = opened(found)
    [warning] = warnings(caplog)
    assert f"{found}: {MISSING}" in warning
    assert f"up to {3 - max(count - 2, 0)} results and dead letters" in warning
    caplog.clear()
    assert opened(found) == count
    assert warnings(caplog) == [], "it is said once"


@pytest.mark.parametrize("how", ["cut to nothing", "log deleted", "all deleted"])
def test_a_database_that_looks_new(
    file: Path, found: Path, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    leave(file, found)
    if how == "cut to nothing":
        os.truncate(found, 0)
    else:
        names = ["-wal", "-shm"] + [""] * (how == "all deleted")
        for name in names:
            found.with_name(found.name + name).unlink()
    assert opened(found) == 0
    [warning] = warnings(caplog)
    assert f"{MISSING}: up to 3 results and dead letters that waited" in warning


def test_what_a_salvage_could_not_read(
    file: Path, found: Path, caplog: pytest.LogCaptureFixture
) -> None:
    leave(file, found)
    DatabaseWriter(found).open_if_there().close()  # type: ignore[union-attr]
    with sqlite3.connect(found) as connection:
        connection.execute("UPDATE spool SET payload = x'00' WHERE id = 4")
    connection.close()
    assert opened(found) == 2
    assert f"{MISSING}: up to 1 results and dead letters" in warnings(caplog)[-1]


def test_work_goes_on_behind_a_loss(
    file: Path, found: Path, caplog: pytest.LogCaptureFixture
) -> None:
    leave(file, found)
    os.truncate(found, 0)
    with running(found) as store:
        lane = DurableQueue(store, found, RESULTS)
        spool(store, lane, 2)
    assert opened(found) == 2
    assert len(warnings(caplog)) == 1


@pytest.mark.parametrize("content", [b"", b"x" * 58, b"pyboot-mark-1\n" + b"\xff" * 44])
def test_a_mark_that_is_none_says_nothing(
    file: Path, found: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    leave(file, found)
    os.truncate(found, 0)
    found.with_name(found.name + "-mark").write_bytes(content)
    assert opened(found) == 0
    assert warnings(caplog) == []


def test_a_mark_that_can_not_be_written_is_no_obstacle(tmp_path: Path) -> None:
    mark = Mark(tmp_path / "absent" / "mark")
    mark.note(Held(1, 2, 3, 4, 5))
    (tmp_path / "absent").mkdir()
    mark.note(Held(1, 2, 3, 4, 5))
    assert mark.exists
    mark.close()
