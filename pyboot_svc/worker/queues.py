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
        self._next_number = 0
        self._closed = False
        self._changed = threading.Condition()

    def put(self, batch: list[Message]) -> int:
        """Add a batch; gives how many messages were dropped for want of room.

        Only messages of QoS 0 are ever dropped: the others are bounded by the in-flight window,
        and the broker would wait for their acknowledgement for ever.
        """
        with self._changed:
            excess = self._depth() + len(batch) - self._capacity
            dropped = 0
            if excess > 0:
                if self._drop_oldest:
                    dropped = self._drop_waiting(excess)
                kept = _without(batch, excess - dropped, oldest=self._drop_oldest)
                dropped += len(batch) - len(kept)
                batch = kept
            self._waiting.extend(batch)
            self._changed.notify(len(batch))
        return dropped

    def take(self, most: int, sharers: int, patience: float = 0.0) -> Chunk | None:
        """Wait for messages and take up to `most`, leaving a fair part for the other `sharers`.

        For up to `patience` seconds from the first on, wait for `most`. None means that the queue
        was closed.
        """
        with self._changed:
            while not self._waiting and not self._closed:
                self._changed.wait()
            if patience and len(self._waiting) < most:
                self._changed.wait_for(lambda: len(self._waiting) >= most or self._closed, patience)
            while not self._waiting and not self._closed:
                self._changed.wait()  # another thread was faster
            if self._closed:
                return None
            count = max(1, min(most, len(self._waiting) // sharers))
            if count == len(self._waiting):
                messages = list(self._waiting)
                self._waiting.clear()
            else:
                messages = [self._waiting.popleft() for _ in range(count)]
            chunk = Chunk(self._next_number, messages)
            self._next_number += 1
            self._taken.add(chunk)
            return chunk

    def has_some(self) -> bool:
        """Whether `take` would return at once."""
        return bool(self._waiting) or self._closed

    def done(self, chunk: Chunk) -> None:
        with self._changed:
            self._taken.discard(chunk)

    def depth(self) -> int:
        """How many messages no model has been called for yet."""
        with self._changed:
            return self._depth()

    def unfinished(self) -> int:
        """How many messages wait, or are in the hands of a model thread."""
        with self._changed:
            return len(self._waiting) + self._taken_count()

    def taken(self) -> int:
        """How many messages are in the hands of a model thread."""
        with self._changed:
            return self._taken_count()

    def close(self) -> None:
        """Let every taker go; what waits stays unprocessed."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _drop_waiting(self, excess: int) -> int:
        """Drop up to `excess` of the oldest, as far as they are of QoS 0."""
        dropped = 0
        while dropped < excess and self._waiting and self._waiting[0].qos == 0:
            self._waiting.popleft()
            dropped += 1
        return dropped

    def _taken_count(self) -> int:
        return sum(len(chunk.messages) for chunk in self._taken)

    def _depth(self) -> int:
        return len(self._waiting) + sum(chunk.waiting for chunk in self._taken)


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
        self._changed = threading.Condition()

    def put(self, number: int, results: list[Message], *, last: bool = True) -> None:
        """Hand over results of the chunk `number`; never blocks, so that order can't lock.

        Unless they are its `last`, more of that chunk will come.
        """
        with self._changed:
            self._count += len(results)
            before = len(self._ready)
            if number == self._next_number:
                self._ready.extend(results)
            else:
                self._early.setdefault(number, []).extend(results)
            if last:
                self._complete.add(number)
            while self._next_number in self._complete:
                self._complete.remove(self._next_number)
                self._next_number += 1
                self._ready.extend(self._early.pop(self._next_number, ()))
            released = len(self._ready) > before
        if released:
            self._on_ready()

    @property
    def ready(self) -> int:
        """How many results can be taken now."""
        return len(self._ready)

    def wait_for_room(self) -> int:
        """Wait until fewer results wait than the capacity; gives how many more it allows.

        Asked before a chunk is taken.
        """
        with self._changed:
            while self._count >= self._capacity and not self._closed:
                self._changed.wait()
            return self._capacity - self._count

    def take(self, most: int) -> list[Message]:
        with self._changed:
            count = min(most, len(self._ready))
            if count == len(self._ready):
                taken = list(self._ready)
                self._ready.clear()
            else:
                taken = [self._ready.popleft() for _ in range(count)]
            self._count -= count
            self._changed.notify_all()
            return taken

    def fitting(self, most: int, room: int) -> tuple[int, int]:
        """How many of the first `most` results hold at most `room` bytes; and how many those."""
        count = size = 0
        with self._changed:
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
        with self._changed:
            self._ready.extendleft(reversed(returned))
            self._count += len(returned)

    def depth(self) -> int:
        with self._changed:
            return self._count

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()
