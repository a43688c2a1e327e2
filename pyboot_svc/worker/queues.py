"""The two queues of a worker. Both move batches and count messages."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable
from itertools import islice

from pyboot_svc.worker.message import Chunk, Message


class PreQueue:
    """Messages that wait for a model thread, in order of arrival."""

    def __init__(self, capacity: int, *, drop_oldest: bool = True) -> None:
        self._capacity = capacity
        self._drop_oldest = drop_oldest
        self._waiting: deque[Message] = deque()
        self._taken: set[Chunk] = set()
        self._in_hand = 0
        self._next_number = 0
        self._closed = False
        self._takers = 0
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)

    def put(self, batch: list[Message]) -> int:
        """Add a batch; gives how many messages were dropped for want of room.

        Only messages of QoS 0 are ever dropped: the others are bounded by the in-flight window,
        and the broker would wait for their acknowledgement for ever.
        """
        with self._lock:
            dropped = 0
            if len(self._waiting) + self._in_hand + len(batch) > self._capacity:
                batch, dropped = self._fit(batch)
            self._waiting.extend(batch)
            if self._takers:
                self._changed.notify(len(batch))
        return dropped

    def take(self, most: int, sharers: int, patience: float = 0.0) -> Chunk | None:
        """Wait for messages and take up to `most`, leaving a fair part for the other `sharers`.

        For up to `patience` seconds from the first on, wait for `most`. None means that the queue
        was closed.
        """
        with self._lock:
            if patience or not self._waiting:
                self._wait(most, patience)
            if self._closed:
                return None
            messages = _pop(self._waiting, max(1, min(most, len(self._waiting) // sharers)))
            chunk = Chunk(self._next_number, messages)
            self._next_number += 1
            self._taken.add(chunk)
            self._in_hand += len(messages)
            return chunk

    def has_some(self) -> bool:
        """Whether `take` would return at once."""
        return bool(self._waiting) or self._closed

    def done(self, chunk: Chunk) -> None:
        with self._lock:
            self._taken.remove(chunk)
            self._in_hand -= len(chunk.messages)

    def depth(self) -> int:
        """How many messages no model has been called for yet."""
        with self._lock:
            return self._depth()

    def unfinished(self) -> int:
        """How many messages wait, or are in the hands of a model thread."""
        with self._lock:
            return len(self._waiting) + self._in_hand

    def taken(self) -> int:
        """How many messages are in the hands of a model thread."""
        with self._lock:
            return self._in_hand

    def close(self) -> None:
        """Let every taker go; what waits stays unprocessed."""
        with self._lock:
            self._closed = True
            self._changed.notify_all()

    def _wait(self, most: int, patience: float) -> None:
        waiting, changed = self._waiting, self._changed
        self._takers += 1
        try:
            while not waiting and not self._closed:
                changed.wait()
            if patience and len(waiting) < most:
                changed.wait_for(lambda: len(waiting) >= most or self._closed, patience)
            while not waiting and not self._closed:
                changed.wait()  # another thread was faster
        finally:
            self._takers -= 1

    def _fit(self, batch: list[Message]) -> tuple[list[Message], int]:
        """What there is room for, and how many messages were dropped, here and of the batch."""
        excess = self._depth() + len(batch) - self._capacity
        if excess <= 0:
            return batch, 0
        dropped = self._drop_waiting(excess) if self._drop_oldest else 0
        kept = _without(batch, excess - dropped, oldest=self._drop_oldest)
        return kept, dropped + len(batch) - len(kept)

    def _drop_waiting(self, excess: int) -> int:
        """Drop up to `excess` of the oldest, as far as they are of QoS 0."""
        dropped = 0
        while dropped < excess and self._waiting and self._waiting[0].qos == 0:
            self._waiting.popleft()
            dropped += 1
        return dropped

    def _depth(self) -> int:
        return len(self._waiting) + sum(chunk.waiting for chunk in self._taken)


def _pop(waiting: deque[Message], count: int) -> list[Message]:
    """Take so many from the left."""
    if count == len(waiting):
        messages = list(waiting)
        waiting.clear()
        return messages
    take = waiting.popleft
    return [take() for _ in range(count)]


def _without(batch: list[Message], excess: int, *, oldest: bool) -> list[Message]:
    """The batch without the oldest or newest `excess` of its messages of QoS 0."""
    kept: list[Message] = []
    for message in batch if oldest else reversed(batch):
        if message.qos == 0 and excess > 0:
            excess -= 1
        else:
            kept.append(message)
    if not oldest:
        kept.reverse()
    return kept


class PostQueue:
    """Results that wait to be published, released in order of arrival of their inputs."""

    def __init__(self, capacity: int, on_ready: Callable[[], None]) -> None:
        self._capacity = capacity
        self._on_ready = on_ready
        self._early: dict[int, list[Message]] = {}
        self._complete: set[int] = set()
        self._ready: deque[Message] = deque()
        self._next_number = 0
        self._count = 0
        self._closed = False
        self._waiters = 0
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)

    def put(self, number: int, results: list[Message], *, last: bool = True) -> None:
        """Hand over results of the chunk `number`; never blocks, so that order can't lock.

        Unless they are its `last`, more of that chunk will come.
        """
        with self._lock:
            self._count += len(results)
            before = len(self._ready)
            if number == self._next_number:
                self._ready.extend(results)
                if last:
                    self._next_number += 1
                    if self._early or self._complete:
                        self._release_early()
            else:
                self._early.setdefault(number, []).extend(results)
                if last:
                    self._complete.add(number)
            released = len(self._ready) > before
        if released:
            self._on_ready()

    def _release_early(self) -> None:
        """What was waiting for the chunk before it."""
        self._ready.extend(self._early.pop(self._next_number, ()))
        while self._next_number in self._complete:
            self._complete.remove(self._next_number)
            self._next_number += 1
            self._ready.extend(self._early.pop(self._next_number, ()))

    @property
    def ready(self) -> int:
        """How many results can be taken now."""
        return len(self._ready)

    def wait_for_room(self) -> int:
        """Wait until fewer results wait than the capacity; gives how many more it allows.

        Asked before a chunk is taken.
        """
        with self._lock:
            if self._count >= self._capacity:
                self._waiters += 1
                try:
                    while self._count >= self._capacity and not self._closed:
                        self._changed.wait()
                finally:
                    self._waiters -= 1
            return self._capacity - self._count

    def take(self, most: int) -> list[Message]:
        with self._lock:
            taken = _pop(self._ready, min(most, len(self._ready)))
            self._count -= len(taken)
            if self._waiters:
                self._changed.notify_all()
            return taken

    def fitting(self, most: int, room: int) -> tuple[int, int]:
        """How many of the first `most` results hold at most `room` bytes; and how many those."""
        count = size = 0
        with self._lock:
            for message in islice(self._ready, most):
                more = len(message.result or b"")
                if size + more > room:
                    break
                count += 1
                size += more
        return count, size

    def put_back(self, results: Iterable[Message]) -> None:
        """Return results that were taken and not sent, to the head of the queue."""
        returned = list(results)
        with self._lock:
            self._ready.extendleft(reversed(returned))
            self._count += len(returned)

    def depth(self) -> int:
        with self._lock:
            return self._count

    def close(self) -> None:
        with self._lock:
            self._closed = True
            self._changed.notify_all()
