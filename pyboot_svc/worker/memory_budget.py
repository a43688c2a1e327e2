"""How many bytes of messages a worker holds: one account of all, whatever stage they are in.

Whole batches are counted, so that a message costs next to nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable

from pyboot_svc.worker.messages import MessageBatch, ResultBatch

# Of the bound: results may always be so many, however many inputs there are. Inputs are only let
# go of when their results are safe.
_SHARE_OF_RESULTS = 4


class MemoryBudget:
    """Inputs from their arrival to their end, and results until they are safe: up to `most` bytes.

    Who adds asks before, so that it can be exceeded by what was added last. While it is `full`
    nothing more should be taken in; while it is `crowded`, no more results should be made: some
    have to leave first.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._inputs = 0
        self._results = 0
        self._lock = threading.Lock()
        self.full = False
        self.crowded = False

    def hold_inputs(self, batch: MessageBatch) -> None:
        # Topics may be as long as payloads, and each may be another one.
        size = sum(map(len, batch.payloads)) + sum(map(len, batch.topics))
        with self._lock:
            self._inputs += size
            if self._inputs + self._results >= self._most:
                self._judge()

    def release_inputs(self, batch: MessageBatch) -> None:
        size = sum(map(len, batch.payloads)) + sum(map(len, batch.topics))
        with self._lock:
            self._inputs -= size
            if self.full:
                self._judge()

    def hold_results(self, results: ResultBatch) -> None:
        size = sum(map(len, results.payloads))
        with self._lock:
            self._results += size
            if self._inputs + self._results >= self._most:
                self._judge()

    def release_results(self, some: Iterable[ResultBatch]) -> None:
        size = 0
        for results in some:
            size += sum(map(len, results.payloads))
        with self._lock:
            self._results -= size
            if self.full:
                self._judge()

    @property
    def size(self) -> int:
        with self._lock:
            return self._inputs + self._results

    @property
    def excess(self) -> int:
        """How many bytes are too many."""
        return max(self.size - self._most, 0)

    def _judge(self) -> None:
        self.full = self._inputs + self._results >= self._most
        self.crowded = self.full and self._results >= self._most / _SHARE_OF_RESULTS
