"""Messages that wait for a model thread: batches, counted as messages."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable

from pyboot_svc.worker.memory_budget import MemoryBudget
from pyboot_svc.worker.messages import Chunk, MessageBatch


class PreQueue:
    """Messages that wait for a model thread, in order of arrival.

    It tells `budget` of what comes. When that is full and the queue is `lossy`, messages of QoS 0
    are dropped; else whoever reads has to stop.
    """

    def __init__(
        self,
        capacity: int,
        budget: MemoryBudget,
        *,
        drop_oldest: bool = True,
        lossy: bool = False,
    ) -> None:
        self._capacity = capacity
        self._drop_oldest = drop_oldest
        self._budget = budget
        self._lossy = lossy
        self._batches: deque[MessageBatch] = deque()
        # Of the first batch, so many are gone.
        self._gone = 0
        # How many wait to be taken.
        self.waiting = 0
        self._taken: dict[int, Chunk] = {}
        # How many wait, or are in the hands of a model thread.
        self._held = 0
        self._next_number = 0
        # Whether what was dropped last had too many bytes; else there were too many.
        self.short_of_bytes = False
        self._closed = False
        self._takers = 0
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)

    def put(self, batch: MessageBatch) -> int:
        """Add a batch; gives how many messages were dropped for want of room.

        Only messages of QoS 0 are ever dropped: the others are bounded by the in-flight window,
        and the broker would wait for their acknowledgement for ever.
        """
        budget = self._budget
        count, dropped = len(batch.packet_ids), 0
        with self._lock:
            budget.arrived += batch.size
            if budget.arrived + budget.made >= budget.look_at:
                budget.judge()
            if self._held + count > self._capacity or budget.full:
                kept, dropped = self._fit_all(batch)
                if kept is None:
                    return dropped
                batch, count = kept, len(kept)
            self._batches.append(batch)
            self.waiting += count
            self._held += count
            if self._takers:
                self._changed.notify(count)
        return dropped

    def take(self, most: int, sharers: int, patience: float = 0.0) -> Chunk | None:
        """Wait for messages and take up to `most`, at least one, leaving a fair part for the other
        `sharers`.

        For up to `patience` seconds from the first on, wait for `most`. None means that the queue
        was closed.
        """
        with self._lock:
            if patience or not self.waiting:
                self._wait(most, patience)
            if self._closed:
                return None
            count = self.waiting
            if count > 1:
                count = max(1, min(most, count // sharers))
            if count == self.waiting and len(self._batches) == 1 and not self._gone:
                batch = self._batches.popleft()
                self.waiting = 0
            else:
                batch = self._cut(count)
            number = self._next_number
            chunk = self._taken[number] = Chunk(number, batch)
            self._next_number = number + 1
            return chunk

    def busy(self) -> bool:
        """Whether a thread that takes has no time for anything else."""
        return self.waiting > 0 or self._closed or self._budget.full

    def resume(self, chunk: Chunk) -> None:
        """This one goes on for the chunk of the same number, which was taken."""
        with self._lock:
            self._taken[chunk.number] = chunk

    def done(self, chunk: Chunk) -> None:
        with self._lock:
            del self._taken[chunk.number]
            self._held -= len(chunk.batch.packet_ids)

    def depth(self) -> int:
        """How many messages no model has been called for yet."""
        with self._lock:
            return self._depth()

    def unfinished(self) -> int:
        """How many messages wait, or are in the hands of a model thread."""
        with self._lock:
            return self._held

    def unprocessed(self) -> int:
        """How many inputs of QoS 0, which nobody sends again, have no result yet."""
        with self._lock:
            waiting = [(batch, 0) for batch in self._batches]
            if waiting:
                waiting[0] = (waiting[0][0], self._gone)
            waiting += [(chunk.batch, len(chunk.results)) for chunk in self._taken.values()]
            return sum(batch.packet_ids[start:].count(0) for batch, start in waiting)

    def taken(self) -> int:
        """How many messages are in the hands of a model thread."""
        with self._lock:
            return self._held - self.waiting

    def close(self) -> None:
        """Let every taker go; what waits stays unprocessed."""
        with self._lock:
            self._closed = True
            self._changed.notify_all()

    def _wait(self, most: int, patience: float) -> None:
        changed = self._changed
        self._takers += 1
        try:
            while not self.waiting and not self._closed:
                changed.wait()
            if patience and self.waiting < most:
                changed.wait_for(lambda: self.waiting >= most or self._closed, patience)
            while not self.waiting and not self._closed:
                changed.wait()  # another thread was faster
        finally:
            self._takers -= 1

    def _cut(self, most: int) -> MessageBatch:
        """The first messages, up to `most`; fewer where those of another connection begin."""
        found = self._pop(most)
        while len(found.packet_ids) < most and self._batches:
            following = self._batches[0]
            if following.session != found.session or following.origin is not found.origin:
                break
            found.extend(self._pop(most - len(found.packet_ids)))
        return found

    def _pop(self, most: int) -> MessageBatch:
        """Of the first batch, up to `most`."""
        first, start = self._batches[0], self._gone
        stop = min(start + most, len(first.packet_ids))
        self.waiting -= stop - start
        if stop < len(first.packet_ids):
            self._gone = stop
            return first.part(start, stop)
        self._batches.popleft()
        self._gone = 0
        return first.part(start, stop) if start else first

    def _fit_all(self, batch: MessageBatch) -> tuple[MessageBatch | None, int]:
        """What there is room for, in number and in bytes, and how many messages were dropped."""
        kept: MessageBatch | None = batch
        dropped = more = 0
        if self._held + len(batch) > self._capacity:
            kept, dropped = self._fit(batch)
        if kept is not None and self._budget.full and self._lossy:
            kept, more = self._fit_bytes(kept)
        self.short_of_bytes = more > 0
        return kept, dropped + more

    def _fit(self, batch: MessageBatch) -> tuple[MessageBatch | None, int]:
        """What there is room for, and how many messages were dropped, here and of the batch."""
        excess = self._depth() + len(batch) - self._capacity
        if excess <= 0:
            return batch, 0
        dropped = self._drop_waiting(excess) if self._drop_oldest else 0
        kept = self._without(batch, excess - dropped, oldest=self._drop_oldest)
        return kept, dropped + len(batch) - (len(kept) if kept is not None else 0)

    def _fit_bytes(self, batch: MessageBatch) -> tuple[MessageBatch | None, int]:
        """The same by bytes. The newest stays in any case, or the first, if it is alone."""
        dropped = 0
        if self._drop_oldest:
            while self._budget.excess and self._drop_waiting(1):
                dropped += 1
        excess, count = self._budget.excess, 0
        alone = not self._held
        most = len(batch) - (1 if self._drop_oldest or alone else 0)
        sizes = [len(topic) + len(payload) for topic, payload in _pairs(batch)]
        for size in sizes if self._drop_oldest else reversed(sizes):
            if excess <= 0 or count >= most:
                break
            excess -= size
            count += 1
        if not count:
            return batch, dropped
        kept = self._without(batch, count, oldest=self._drop_oldest)
        return kept, dropped + len(batch) - (len(kept) if kept is not None else 0)

    def _drop_waiting(self, excess: int) -> int:
        """Drop up to `excess` of the oldest, as far as they are of QoS 0."""
        dropped = 0
        while dropped < excess and self._batches:
            packet_ids, start = self._batches[0].packet_ids, self._gone
            stop, last = start, min(len(packet_ids), start + excess - dropped)
            while stop < last and not packet_ids[stop]:
                stop += 1
            if stop == start:
                break
            self._let_go(self._pop(stop - start))
            self._held -= stop - start
            dropped += stop - start
        return dropped

    def _without(self, batch: MessageBatch, excess: int, *, oldest: bool) -> MessageBatch | None:
        """The batch without the oldest or newest `excess` of its messages of QoS 0; None if none
        is left."""
        droppable = [place for place, mid in enumerate(batch.packet_ids) if not mid]
        first = max(len(droppable) - excess, 0)
        dropped = droppable[:excess] if oldest else droppable[first:]
        self._let_go(batch.only(dropped))
        gone = set(dropped)
        kept = [place for place in range(len(batch)) if place not in gone]
        return batch.only(kept) if kept else None

    def _let_go(self, batch: MessageBatch) -> None:
        """These were dropped: it is as if they hadn't come."""
        self._budget.arrived -= batch.size
        if self._budget.full:
            self._budget.judge()

    def _depth(self) -> int:
        return self.waiting + sum(chunk.waiting for chunk in self._taken.values())


def _pairs(batch: MessageBatch) -> Iterable[tuple[str, bytes]]:
    return zip(batch.topics, batch.payloads, strict=True)
