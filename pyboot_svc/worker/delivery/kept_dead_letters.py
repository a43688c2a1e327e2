"""The messages that were given up, as they are kept locally: the newest, as far as they may."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pyboot_svc.worker.storage.disk_budget import bytes_on_pages
from pyboot_svc.worker.storage.writer import DatabaseWriter

if TYPE_CHECKING:
    import sqlite3

# When they are too many bytes, so much of what they may take is left: the next ones find room.
_LEFT_SHARE = 0.9
_SIZE = "length(payload) + length(CAST(topic AS BLOB)) + length(CAST(error AS BLOB)) + 128"

# topic, payload, kind, error, attempts, model, version, created
Record = tuple[str, bytes, str, str, int, str, str, float]


def record_size(record: Record) -> int:
    """What it takes of the disk, about."""
    topic, payload, _, error, *_ = record
    return bytes_on_pages(len(payload) + len(topic.encode()) + len(error.encode()) + 128)


class KeptDeadLetters:
    """At most `most` rows and `most_bytes` of the disk; the newest one is kept however large."""

    def __init__(self, store: DatabaseWriter, most: int, most_bytes: int) -> None:
        self._most = most
        self._most_bytes = most_bytes
        # More than they are, at times: then they are counted anew.
        self._bytes = 0
        store.watch(self._load)

    def add(self, connection: sqlite3.Connection, records: Sequence[Record]) -> None:
        """Within a transaction; what is too much then is deleted, the oldest first."""
        from pyboot_svc.worker.storage.database import checksum

        connection.executemany(
            "INSERT INTO dead (topic, payload, kind, error, attempts, model, version, created,"
            " checksum) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            ((*record, checksum(*record)) for record in records),
        )
        connection.execute(
            "DELETE FROM dead WHERE id <= (SELECT max(id) FROM dead) - ?", (self._most,)
        )
        self._bytes += sum(map(record_size, records))
        if self._bytes > self._most_bytes:
            self._trim(connection)

    def _load(self, connection: sqlite3.Connection) -> None:
        sizes = connection.execute(f"SELECT {_SIZE} FROM dead")
        self._bytes = sum(bytes_on_pages(size) for (size,) in sizes)

    def _trim(self, connection: sqlite3.Connection) -> None:
        self._load(connection)
        if self._bytes <= self._most_bytes:
            return
        left = 0
        newest_first = connection.execute(f"SELECT id, {_SIZE} FROM dead ORDER BY id DESC")
        for number, size in newest_first:
            more = bytes_on_pages(size)
            if left and left + more > self._most_bytes * _LEFT_SHARE:
                connection.execute("DELETE FROM dead WHERE id <= ?", (number,))
                break
            left += more
        self._bytes = left
