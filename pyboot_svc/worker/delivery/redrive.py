"""Takes in again what a person asked for with `pyboot dead retry`."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from pyboot_svc.worker.delivery.dead_letters import is_result
from pyboot_svc.worker.messages import MessageBatch
from pyboot_svc.worker.storage.writer import DatabaseWriter

if TYPE_CHECKING:
    import sqlite3


# So much of it may be on its way at a time, in messages and in bytes; the rest waits on disk.
_MOST_ROWS, _MOST_BYTES = 2000, 16 * 1024**2

Publish = Callable[[list[tuple[str, bytes]], Callable[[], None]], None]


class Redrive:
    """`tick` looks, about once a second, whether the database was changed from outside.

    Inputs are delivered as if they had just arrived, results are published.
    """

    def __init__(
        self,
        store: DatabaseWriter,
        file: Path,
        deliver: Callable[[MessageBatch], None],
        publish: Publish,
    ) -> None:
        self._store = store
        self._file = file
        self._deliver = deliver
        self._publish = publish
        self._reader: sqlite3.Connection | None = None
        self._seen = 0
        # Held while the file is looked at: it is let go of from the store's thread.
        self._looking = threading.Lock()
        self._taken: set[int] = set()
        # The sizes of those that have not reached their end yet, and whether more were asked for.
        self._open: dict[int, int] = {}
        self._more = False
        store.watch(lambda connection: self._reset(), self._reset)

    def tick(self) -> None:
        if self._store.trouble is not None:
            return  # it says what is wrong; this can wait
        if not os.access(self._file, os.F_OK):  # it mostly isn't there, and this raises nothing
            return
        from pyboot_svc.worker.storage.database import connect, troubles

        try:
            with self._looking, troubles(self._file):
                self._reader = reader = self._reader or connect(self._file)
                self._look(reader)
        except OSError:
            self._reset()

    def close(self) -> None:
        self._reset()

    def acknowledge(self, batch: MessageBatch, start: int, stop: int) -> None:
        """These have reached their end: published, or given up anew."""
        self._forget(batch.packet_ids[start:stop])

    def _forget(self, rows: list[int]) -> None:
        for row in rows:
            self._open.pop(row, None)
        self._store.submit(partial(_delete, [(row,) for row in rows]), lambda: None)

    def _reset(self) -> None:
        with self._looking:
            reader, self._reader = self._reader, None
            self._seen = 0
            if reader is not None:
                reader.close()

    def _look(self, reader: sqlite3.Connection) -> None:
        (version,) = reader.execute("PRAGMA data_version").fetchone()
        if version == self._seen and not self._more:
            return
        self._seen = version
        results: list[tuple[int, str, bytes]] = []
        inputs: list[tuple[int, str, bytes]] = []
        for row, topic, payload, kind, attempts in self._asked(reader):
            (results if is_result(kind, attempts) else inputs).append((row, topic, payload))
        if results:
            rows = [row for row, _, _ in results]
            self._publish([one[1:] for one in results], partial(self._forget, rows))
        if inputs:
            rows, topics, payloads = (list(column) for column in zip(*inputs, strict=True))
            now = time.monotonic_ns()
            # By numbers, as of QoS 1: no full queue drops them.
            batch = MessageBatch(topics, payloads, rows, [now] * len(rows))
            batch.origin = self
            self._deliver(batch)

    def _asked(self, reader: sqlite3.Connection) -> Iterator[tuple[int, str, bytes, str, int]]:
        """What is to be taken in now, in order."""
        asked = reader.execute("SELECT id FROM dead WHERE request = 'retry' ORDER BY id").fetchall()
        size = sum(self._open.copy().values())
        self._more = False
        for (row,) in asked:
            if row in self._taken:
                continue
            if size >= _MOST_BYTES or len(self._open) >= _MOST_ROWS:
                self._more = True
                return
            found = reader.execute(_SELECT, (row,)).fetchone()
            if found is not None:
                self._taken.add(row)
                self._open[row] = len(found[2])
                size += len(found[2])
                yield found


# Whatever type a damage, or another version, has left there.
_SELECT = (
    "SELECT id, CAST(topic AS TEXT), CAST(payload AS BLOB), kind, attempts FROM dead WHERE id = ?"
)


def _delete(rows: list[tuple[int]], connection: sqlite3.Connection) -> None:
    connection.executemany("DELETE FROM dead WHERE id = ?", rows)
