"""Acknowledges inputs in order of arrival, whatever the order in which they were finished."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from pyboot_svc.worker.messages import Chunk, MessageBatch

Acknowledge = Callable[[MessageBatch, int, int], None]


class Settlement:
    """Has messages acknowledged as soon as they and all before them are settled.

    Every message of every chunk is to be settled once, whatever its end. `acknowledge` is told a
    batch, and which of it: from the first place to before the second; `finished` of each batch that
    is settled as a whole.
    """

    def __init__(
        self,
        acknowledge: Acknowledge,
        finished: Callable[[MessageBatch], None] = lambda batch: None,
    ) -> None:
        self._acknowledge = acknowledge
        self._finished = finished
        self._next_number = 0
        # Chunks of which something is settled, and that others are before.
        self._early: dict[int, Chunk] = {}
        self._open = 0
        self._lock = threading.Lock()

    def admit(self, batch: MessageBatch) -> None:
        """These have arrived; those that are not of QoS 0 wait to be acknowledged."""
        if batch.redeliverable:
            with self._lock:
                self._open += batch.held

    def hold(self, chunk: Chunk, places: Sequence[int]) -> None:
        """One more thing has to come true before these are settled."""
        with self._lock:
            holds = _one_by_one(chunk)
            for place in places:
                holds[place] += 1

    def settle(self, chunk: Chunk, places: Sequence[int]) -> None:
        """One thing that each of these was held for has come true."""
        with self._lock:
            if chunk.number < self._next_number:
                return  # it was at its end already
            before = chunk.settled
            if chunk.holds is None and isinstance(places, range) and places.start == before:
                chunk.settled = places.stop
            else:
                _settle_each(chunk, places)
            if chunk.number > self._next_number:
                self._early[chunk.number] = chunk
                return
            # Inside the lock: two threads must not hand their acknowledgements over in turn.
            self._release(chunk, before)
            while chunk.settled == len(chunk):
                self._next_number += 1
                self._finished(chunk.batch)
                if not self._early or self._next_number not in self._early:
                    return
                chunk = self._early.pop(self._next_number)
                self._release(chunk, 0)

    def depth(self) -> int:
        """How many have arrived that are to be acknowledged, and are not."""
        with self._lock:
            return self._open

    def _release(self, chunk: Chunk, start: int) -> None:
        batch, stop = chunk.batch, chunk.settled
        if start == stop or not batch.redeliverable:
            return
        self._open -= stop - start - batch.packet_ids[start:stop].count(0)
        self._acknowledge(batch, start, stop)


def _one_by_one(chunk: Chunk) -> list[int]:
    """The chunk's account, message by message."""
    if chunk.holds is None:
        chunk.holds = [0] * chunk.settled + [1] * (len(chunk) - chunk.settled)
    return chunk.holds


def _settle_each(chunk: Chunk, places: Sequence[int]) -> None:
    holds = _one_by_one(chunk)
    for place in places:
        holds[place] -= 1
    settled, count = chunk.settled, len(holds)
    while settled < count and holds[settled] <= 0:
        settled += 1
    chunk.settled = settled
