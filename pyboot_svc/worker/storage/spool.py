"""What waits on disk to be published: results, dead letters, and the room there is for more."""

from __future__ import annotations

from pathlib import Path

from pyboot_svc.worker.messages import DEAD_LETTERS, RESULTS
from pyboot_svc.worker.storage.disk_budget import DiskBudget
from pyboot_svc.worker.storage.durable_queue import DurableQueue
from pyboot_svc.worker.storage.writer import DatabaseWriter


class Spool:
    """Two durable queues with one budget, of `max_bytes` of the disk."""

    def __init__(self, store: DatabaseWriter, file: Path, max_bytes: int) -> None:
        budget = self._budget = DiskBudget(file, max_bytes, lambda: store.used)
        store.watch(budget.look)
        self._store = store
        self.results = DurableQueue(store, file, RESULTS)
        self.dead_letters = DurableQueue(store, file, DEAD_LETTERS)
        # How many bytes more may go to the disk, given how many are wanted.
        self.room = budget.room

    @property
    def disk_is_low(self) -> bool:
        """Whether it was the disk that had no room when it was last asked for."""
        return self._budget.disk_is_low

    @property
    def most_pending_bytes(self) -> int:
        """How many may be on their way to the disk: as many as one commit takes."""
        return self._store.most_of_commit

    def close(self) -> None:
        self.results.close()
        self.dead_letters.close()
