"""How many bytes of messages a worker holds: one account of all, whatever stage they are in."""

from __future__ import annotations

import threading

# Of the bound: results may always be so many, however many inputs there are. Inputs are only let
# go of when their results are safe.
_SHARE_OF_RESULTS = 4


class MemoryBudget:
    """Inputs from their arrival to their end, and results until they are safe: up to `most` bytes.

    While it is `full` nothing more should be taken in; while it is `crowded`, no more results
    should be made: some have to leave first. It can be exceeded by what was added last, which are
    results of `at_once` bytes if they are like those before.

    Each of its four sums is added to under a lock that all have who do so, and that they need
    anyway: whole batches are counted, and a message costs no call. Who has added to `arrived` or
    `made` has it `judge` when these reach `look_at` together, and who has added to `settled` or
    `left` while it is `full`.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        # So many bytes of results may be made before somebody looks whether there is room.
        self.at_once = most // _SHARE_OF_RESULTS
        # It can't be full before so many bytes have come, all in all: what has left, has left.
        self.look_at = most
        # Bytes of inputs, and of those that have come to their end.
        self.arrived = self.settled = 0
        # Bytes of results, and of those that are safe elsewhere.
        self.made = self.left = 0
        self.full = False
        self.crowded = False
        self._judging = threading.Lock()

    @property
    def size(self) -> int:
        return self.arrived - self.settled + self.made - self.left

    @property
    def excess(self) -> int:
        """How many bytes are too many."""
        return max(self.size - self._most, 0)

    def judge(self) -> None:
        """Look whether it is full, and crowded."""
        with self._judging:
            self.full = self.size >= self._most
            # Who let go of some in between didn't see that it is full, and had nobody look.
            self.full = self.size >= self._most
            self.crowded = self.full and self.made - self.left >= self._most / _SHARE_OF_RESULTS
            self.look_at = self._most + self.settled + self.left
