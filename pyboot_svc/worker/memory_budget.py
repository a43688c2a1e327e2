"""How many bytes of messages a worker holds: one account of all, whatever stage they are in.

Whole batches are counted, so that a message costs next to nothing.
"""

from __future__ import annotations

import threading

from pyboot_svc.worker.messages import MessageBatch, ResultBatch

# Of the bound: results may always be so many, however many inputs there are. Inputs are only let
# go of when their results are safe.
_SHARE_OF_RESULTS = 4


class Held:
    """Inputs from their arrival to their end, and results until they are safe: up to `most` bytes.

    Who adds asks before, so that it can be exceeded by what was added last.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._inputs = 0
        self._results = 0
        self._lock = threading.Lock()

    def add_inputs(self, size: int) -> None:
        """So many bytes more, or fewer."""
        with self._lock:
            self._inputs += size

    def add_results(self, size: int) -> None:
        """So many bytes more, or fewer."""
        with self._lock:
            self._results += size

    @property
    def size(self) -> int:
        with self._lock:
            return self._inputs + self._results

    @property
    def excess(self) -> int:
        """How many bytes are too many."""
        return max(self.size - self._most, 0)

    @property
    def full(self) -> bool:
        """Whether nothing more should be taken in."""
        return self._inputs + self._results >= self._most

    @property
    def crowded(self) -> bool:
        """Whether no more results should be made: some have to leave first."""
        return self.full and self._results >= self._most / _SHARE_OF_RESULTS


def input_bytes(batch: MessageBatch) -> int:
    """Topics may be as long as payloads, and each may be another one."""
    return sum(map(len, batch.payloads)) + sum(map(len, batch.topics))


def result_bytes(parcel: ResultBatch) -> int:
    return sum(map(len, parcel.payloads))
