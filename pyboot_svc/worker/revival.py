"""Takes in again what a person asked for with `pyboot dead retry`."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from pyboot_svc.worker.message import Batch
from pyboot_svc.worker.store import Store

if TYPE_CHECKING:
    import sqlite3


class Revival:
    """`tick` looks, about once a second, whether the database was changed from outside."""

    def __init__(self, store: Store, file: Path, deliver: Callable[[Batch], None]) -> None:
        self._store = store
        self._file = file
        self._deliver = deliver
        self._reader: sqlite3.Connection | None = None
        self._seen = 0
        # Held while the file is looked at: it is let go of from the store's thread.
        self._looking = threading.Lock()
        self._taken: set[int] = set()
        store.watch(lambda connection: self._reset(), self._reset)

    def tick(self) -> None:
        if self._store.trouble is not None or not self._file.exists():
            return  # the store says what is wrong; this can wait
        from pyboot_svc.worker.database import connect, troubles

        try:
            with self._looking, troubles(self._file):
                self._reader = reader = self._reader or connect(self._file)
                self._look(reader)
        except OSError:
            self._reset()

    def close(self) -> None:
        self._reset()

    def forget(self, rows: list[int]) -> None:
        """These have reached their end: published, or given up anew."""
        self._store.submit(partial(_delete, [(row,) for row in rows]), lambda: None)

    def _reset(self) -> None:
        with self._looking:
            reader, self._reader = self._reader, None
            self._seen = 0
            if reader is not None:
                reader.close()

    def _look(self, reader: sqlite3.Connection) -> None:
        (version,) = reader.execute("PRAGMA data_version").fetchone()
        if version == self._seen:
            return
        self._seen = version
        asked = reader.execute("SELECT id, topic, payload FROM dead WHERE request = 'retry'")
        found = [one for one in asked.fetchall() if one[0] not in self._taken]
        if found:
            rows, topics, payloads = (list(column) for column in zip(*found, strict=True))
            self._taken.update(rows)
            now = time.monotonic_ns()
            # As of QoS 1, so that no full queue drops them; of no session: no broker waits for it.
            numbers = [1] * len(rows)
            self._deliver(Batch(topics, payloads, numbers, [now] * len(rows), rows=rows))


def _delete(rows: list[tuple[int]], connection: sqlite3.Connection) -> None:
    connection.executemany("DELETE FROM dead WHERE id = ?", rows)
