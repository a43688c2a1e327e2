"""Commits what a model keeps in `context.state` together with the messages that changed it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from pyboot_svc.model.state import ModelState
from pyboot_svc.worker.delivery.settlement import Settlement
from pyboot_svc.worker.messages import Chunk
from pyboot_svc.worker.storage.writer import DatabaseWriter

if TYPE_CHECKING:
    import sqlite3

log = logging.getLogger(__name__)


class StateSaver:
    """Commits what messages have changed in the state, and has them wait for it.

    While the disk can't be written nobody waits: the changes stay in memory until it can be.
    """

    def __init__(self, state: ModelState, store: DatabaseWriter, settlement: Settlement) -> None:
        self.state = state
        self._store = store
        self._settlement = settlement
        self._lock = threading.Lock()
        # So many changes are on their way to the disk.
        self.unsaved = 0
        self._in_memory = False

    def flush(self) -> None:
        """What inputs of QoS 0 have changed, or a disk could not take; about once a second."""
        self._save(None, ())

    def save(self, chunk: Chunk, places: range) -> None:
        """Called when the model is done with these, before they are settled; not needed while the
        state has no changes, and none are `unsaved`."""
        packet_ids = chunk.batch.packet_ids
        held = [place for place in places if packet_ids[place]]
        if held:  # of QoS 0, the next flush is soon enough
            self._save(chunk, held)

    def _save(self, chunk: Chunk | None, held: Sequence[int]) -> None:
        if not (self.state.changes or self.unsaved):
            return
        if self._in_memory and (held or self.unsaved):
            return  # a flush finds out when it can be written
        # Another thread may have taken what these changed, and it may not be durable yet: so they
        # wait for that, too. Writes are queued in the order in which changes were taken.
        with self._lock:
            waiting = self.unsaved > 0
            self.unsaved += 1  # first: who finds the changes taken has to see this
            changes = self.state.take_changes()
            if not changes and not waiting:
                self.unsaved -= 1
                return
            if chunk is not None:
                self._settlement.hold(chunk, held)
            self._store.submit(
                partial(_write, changes),
                partial(self._saved, chunk, held),
                partial(self._take_back, changes, chunk, held),
            )

    def _saved(self, chunk: Chunk | None, held: Sequence[int]) -> None:
        if self._in_memory:
            log.warning("context.state is on disk again")
        self._in_memory = False
        self._end(chunk, held)

    def _take_back(
        self, changes: dict[str, str | None], chunk: Chunk | None, held: Sequence[int]
    ) -> bool:
        self.state.put_back(changes)
        if not self._in_memory:
            log.critical(
                "context.state is kept in memory while the disk can't be written: "
                "its changes are lost if the process dies before"
            )
        self._in_memory = True
        self._end(chunk, held)
        return True

    def _end(self, chunk: Chunk | None, held: Sequence[int]) -> None:
        with self._lock:
            self.unsaved -= 1
        if chunk is not None:
            self._settlement.settle(chunk, held)


def _write(changes: dict[str, str | None], connection: sqlite3.Connection) -> None:
    from pyboot_svc.worker.storage.database import checksum

    connection.executemany(
        "DELETE FROM state WHERE key = ?", [(key,) for key, text in changes.items() if text is None]
    )
    connection.executemany(
        "INSERT OR REPLACE INTO state VALUES (?, ?, ?)",
        [(key, text, checksum(key, text)) for key, text in changes.items() if text is not None],
    )
