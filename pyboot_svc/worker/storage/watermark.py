"""What the database held at its last commit, noted beside it: so that missing rows are noticed.

To SQLite a log that was cut looks like an earlier database, and a file that was cut to nothing
like a new one. The note is written after each commit, without an fsync: at worst it is older than
the database, and then it says nothing.
"""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import sqlite3

_NUMBERS = struct.Struct("<5Q")
_CHECKSUM = struct.Struct("<I")
_MAGIC = b"pyboot-mark-1\n"
_BYTES = len(_MAGIC) + _NUMBERS.size + _CHECKSUM.size


class Held(NamedTuple):
    """How many commits there were, and the first and last row of what waits, of what is dead."""

    commits: int
    spool_first: int
    spool_last: int
    dead_first: int
    dead_last: int


_SELECT_FIRST = "SELECT min(id) FROM "
_SELECT_LAST = "SELECT seq FROM sqlite_sequence WHERE name = "
_SELECT_COMMITS = "SELECT count FROM commits"


class Mark:
    """The note in `file`; used by the store's thread."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._descriptor: int | None = None

    @property
    def exists(self) -> bool:
        return os.path.exists(self._file)

    def count(self, connection: sqlite3.Connection) -> Held:
        """Inside each transaction, at its end: gives what to `note` once it is committed."""
        connection.execute(
            "INSERT INTO commits VALUES (1, 1) ON CONFLICT DO UPDATE SET count = count + 1"
        )
        return _held(connection)

    def note(self, held: Held) -> None:
        content = _MAGIC + _NUMBERS.pack(*held)
        try:
            if self._descriptor is None:
                self._descriptor = os.open(self._file, os.O_RDWR | os.O_CREAT, 0o600)
            os.pwrite(self._descriptor, content + _CHECKSUM.pack(zlib.crc32(content)), 0)
        except OSError:
            self.close()  # the next one may work; an old note is no wrong one

    def missing(self, connection: sqlite3.Connection) -> str | None:
        """What a database that was just opened lacks, in words; None when it is what it was."""
        noted = self._read()
        if noted is None or _one(connection, _SELECT_COMMITS) >= noted.commits:
            return None
        results = _absent(connection, "spool", noted.spool_first, noted.spool_last)
        dead = _absent(connection, "dead", noted.dead_first, noted.dead_last)
        self.note(_held(connection))  # it is said once
        return (
            f"it lacks what was committed last: up to {results} results and dead letters "
            f"that waited to be published, up to {dead} messages kept for pyboot dead, and "
            "changes of context.state are missing"
        )

    def close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _read(self) -> Held | None:
        try:
            content = self._file.read_bytes()
        except OSError:
            return None
        body, checksum = content[: -_CHECKSUM.size], content[-_CHECKSUM.size :]
        if len(content) != _BYTES or _CHECKSUM.pack(zlib.crc32(body)) != checksum:
            return None
        return Held(*_NUMBERS.unpack_from(body, len(_MAGIC)))


def _held(connection: sqlite3.Connection) -> Held:
    spool_last = _one(connection, f"{_SELECT_LAST} 'spool'")
    dead_last = _one(connection, f"{_SELECT_LAST} 'dead'")
    return Held(
        _one(connection, _SELECT_COMMITS),
        _one(connection, f"{_SELECT_FIRST} spool") or spool_last + 1,
        spool_last,
        _one(connection, f"{_SELECT_FIRST} dead") or dead_last + 1,
        dead_last,
    )


def _absent(connection: sqlite3.Connection, table: str, first: int, last: int) -> int:
    """Some of these may have been published before others: it is an upper bound."""
    present = _one(connection, f"SELECT count(*) FROM {table} WHERE id BETWEEN {first} AND {last}")
    return last - first + 1 - present


def _one(connection: sqlite3.Connection, query: str) -> int:
    row = connection.execute(query).fetchone()
    return row[0] if row and row[0] else 0
