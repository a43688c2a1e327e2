"""What survives the process: database, crash journal, the model's state."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from pyboot_svc.config import InstanceConfig
from pyboot_svc.model.state import ModelState
from pyboot_svc.worker.execution.crash_journal import CrashJournal
from pyboot_svc.worker.execution.poison import PoisonTracker
from pyboot_svc.worker.execution.pool import LONGEST_CHUNK
from pyboot_svc.worker.execution.stored_in_hand import StoredInHand
from pyboot_svc.worker.storage.spool import Spool
from pyboot_svc.worker.storage.writer import DATABASE_NAME, DatabaseWriter

if TYPE_CHECKING:
    import sqlite3

_JOURNAL_NAME = "in-hand"


class Durables:
    """Opened before the model is loaded: it may ask for its state, and it may be what crashes."""

    def __init__(self, config: InstanceConfig, state_dir: Path) -> None:
        self.file = file = state_dir / DATABASE_NAME
        edge = config.edge
        self.store = DatabaseWriter(file, edge.spool.max_bytes)
        most = max(LONGEST_CHUNK, edge.batch.max_size if edge.batch is not None else 0)
        # One slot more: for what the outbox sends from the disk.
        self.journal = CrashJournal(state_dir / _JOURNAL_NAME, edge.threads + 1, most)
        self.suspects = PoisonTracker(self.store)
        self.suspects.load(self.journal)
        self.stored_in_hand = StoredInHand(self.journal, edge.threads, most, self.suspects)
        self.spool = Spool(self.store, file, edge.spool.max_bytes)
        connection = self.store.open_if_there()
        if connection is not None:
            self.spool.results.load(connection)
            self.spool.dead_letters.load(connection)
        elif self.store.trouble is not None:
            # What it holds has to come out as soon as it can be opened.
            self.store.submit(lambda connection: None, lambda: None)
        self.state = self._load_state(connection)

    def _load_state(self, connection: sqlite3.Connection | None) -> ModelState:
        """Also of a file that can't be written now; once it can be, both are made the same."""
        stored: dict[str, str] = {}
        if os.path.exists(self.file):
            from pyboot_svc.worker.storage.database import read_state, stored_state

            stored = read_state(self.file) if connection is None else stored_state(connection)
        state = ModelState(stored, known=connection is not None or bool(stored))
        self.store.watch(lambda opened: _meet(state, opened))
        return state


def _meet(state: ModelState, opened: sqlite3.Connection) -> None:
    from pyboot_svc.worker.storage.database import stored_state

    state.meet(stored_state(opened))
