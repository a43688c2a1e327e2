"""Results that wait to be published: batches, counted as messages."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable
from itertools import islice

from pyboot_svc.worker.memory_budget import MemoryBudget
from pyboot_svc.worker.messages import ResultBatch


class PostQueue:
    """Results that wait to be published, released in order of arrival of their inputs.

    It tells `budget` of them; `left` is to be called when some are safe, and held no longer.
    """

    def __init__(self, capacity: int, budget: MemoryBudget) -> None:
        self._capacity = capacity
        self._budget = budget
        self._early: dict[int, list[ResultBatch]] = {}
        self._complete: set[int] = set()
        self._released: deque[ResultBatch] = deque()
        # How many results can be taken now, and how many wait for those before them.
        self.ready = 0
        self._early_count = 0
        # How many bytes a result had of late.
        self._each = 0
        self._next_number = 0
        self._closed = False
        self._waiters = 0
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)

    def put(self, number: int, results: ResultBatch | None, *, last: bool = True) -> None:
        """Hand over results of the chunk `number`; never blocks, so that order can't lock.

        Unless they are its `last`, more of that chunk will come.
        """
        budget, count = self._budget, 0
        with self._lock:
            if results is not None:
                count = len(results.payloads)
                self._each = results.size // count
                budget.made += results.size
                if budget.arrived + budget.made >= budget.look_at:
                    budget.judge()
            if number == self._next_number:
                if results is not None:
                    self._released.append(results)
                    self.ready += count
                if last:
                    self._next_number = number + 1
                    if self._early:
                        self._release_early()
                return
            early = self._early.setdefault(number, [])
            if results is not None:
                early.append(results)
                self._early_count += count
            if last:
                self._complete.add(number)

    def is_next(self, number: int) -> bool:
        """Whether nothing waits here that is before the results of this chunk."""
        return number == self._next_number and not self._released

    def skip(self, number: int, size: int, *, held: int = 0) -> None:
        """Nothing of a chunk that `is_next` waits here: its one result, of this size, is gone. Of
        one that is on its way so many bytes are `held` until they have `left`."""
        with self._lock:
            if held:
                budget = self._budget
                budget.made += held
                if budget.arrived + budget.made >= budget.look_at:
                    budget.judge()
            self._each = size
            self._next_number = number + 1
            if self._early:
                self._release_early()

    def _release(self, results: ResultBatch) -> None:
        self._released.append(results)
        self.ready += len(results)
        self._early_count -= len(results)

    def _release_early(self) -> None:
        """What was waiting for the chunk before it."""
        for results in self._early.pop(self._next_number, ()):
            self._release(results)
        while self._next_number in self._complete:
            self._complete.remove(self._next_number)
            self._next_number += 1
            for results in self._early.pop(self._next_number, ()):
                self._release(results)

    def room(self) -> int:
        """How many more results there is room for if they are as large as those before; asked
        before a chunk is taken."""
        return 0 if self._budget.crowded else self._room()

    def wait_for_room(self) -> int:
        """The same, when fewer results wait than the capacity."""
        with self._lock:
            self._waiters += 1
            try:
                while self._full() and not self._closed:
                    self._changed.wait()
            finally:
                self._waiters -= 1
            return self._room()

    def _room(self) -> int:
        free = self._capacity - self.ready - self._early_count
        each, at_once = self._each, self._budget.at_once
        return free if free * each <= at_once else max(at_once // each, 1)

    def left(self, size: int) -> None:
        """Results of so many bytes are safe elsewhere."""
        budget = self._budget
        with self._lock:
            budget.left += size
            if budget.full:
                budget.judge()
            if self._waiters:
                self._changed.notify_all()

    def _full(self) -> bool:
        return self.ready + self._early_count >= self._capacity or self._budget.crowded

    def take(self, most: int) -> list[ResultBatch]:
        """Up to `most` results, oldest first."""
        with self._lock:
            released = self._released
            if len(released) == 1 and self.ready <= most:
                taken = [released.popleft()]
                self.ready = 0
            else:
                taken = self._take_some(min(most, self.ready))
            if self._waiters:
                self._changed.notify_all()
        return taken

    def _take_some(self, left: int) -> list[ResultBatch]:
        taken: list[ResultBatch] = []
        if left <= 0:
            return taken
        self.ready -= left
        released = self._released
        while left:
            results = released.popleft()
            size = len(results.payloads)
            if size > left:
                released.appendleft(results.part(left, size))
                results, size = results.part(0, left), left
            taken.append(results)
            left -= size
        return taken

    def fitting(self, most: int, room: int, on_disk: Callable[[int], int]) -> tuple[int, int]:
        """How many of the first `most` results take at most `room` bytes; and how many those.

        `on_disk` says what one takes there whose payload has so many bytes.
        """
        count = size = 0
        with self._lock:
            payloads = (payload for results in self._released for payload in results.payloads)
            for payload in islice(payloads, most):
                more = on_disk(len(payload))
                if size + more > room:
                    break
                count += 1
                size += more
        return count, size

    def put_back(self, results: Iterable[ResultBatch]) -> None:
        """Return results that were taken and not sent, to the head of the queue."""
        returned = list(results)
        count = sum(map(len, returned))
        with self._lock:
            self._released.extendleft(reversed(returned))
            self.ready += count

    def depth(self) -> int:
        with self._lock:
            return self.ready + self._early_count

    def close(self) -> None:
        with self._lock:
            self._closed = True
            self._changed.notify_all()
