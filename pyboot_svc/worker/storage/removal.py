"""A database whose files are removed while it is open, as what clears temporary folders does.

SQLite writes on into files that nobody can find any more: what was acknowledged then would be lost
with the process. All of it can still be read, and so be written to where it belongs.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

from pyboot_svc.worker.storage.database import PARTS, DatabaseTrouble, troubles


class Files:
    """Those of a database that is open, as they were then."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._numbers = _numbers(file)
        # Of a folder that has gone already, the next one has to be ours.
        self._owners = _owners(file.parent) or (os.geteuid(), os.geteuid())

    def are_there(self) -> bool:
        # It may have been removed just as it was opened.
        return self._numbers[0] is not None and _numbers(self._file) == self._numbers

    def write_anew(self, connection: sqlite3.Connection) -> None:
        """What `connection`, which is to be closed then, has of them. Raises DatabaseTrouble."""
        file = self._file
        if not file.parent.is_dir():
            raise DatabaseTrouble(f"{file} was removed: make its folder, which is gone, again")
        if _owners(file.parent) != self._owners:
            raise DatabaseTrouble(
                f"{file} was removed, and its folder made again by another user: make it yours"
            )
        if _numbers(file)[0] not in (None, self._numbers[0]):
            raise DatabaseTrouble(f"{file} was replaced by another: move that away, to keep both")
        new = file.with_name(f"{file.name}-new")
        try:
            with troubles(file):
                new.unlink(missing_ok=True)  # of a process that was killed just then
                with closing(sqlite3.connect(new)) as copy:
                    connection.backup(copy)
            os.replace(new, file)
        except OSError:
            with suppress(OSError):  # a part of it would take what room there is
                new.unlink(missing_ok=True)
            raise
        _make_durable(file.parent)


def _make_durable(folder: Path) -> None:
    """What it has a name for; SQLite has done so with what the file holds."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _owners(folder: Path) -> tuple[int, int] | None:
    """Of it, and of a link that may lead to it: what is written into a folder of another user is
    his, and goes where he wants it to go. None where there is none."""
    try:
        return folder.lstat().st_uid, folder.stat().st_uid
    except OSError:
        return None


def _numbers(file: Path) -> tuple[tuple[int, int] | None, ...]:
    return tuple(map(_number, (f"{file}{part}" for part in PARTS)))


def _number(name: str) -> tuple[int, int] | None:
    try:
        found = os.stat(name)
    except OSError:
        return None
    return found.st_dev, found.st_ino
