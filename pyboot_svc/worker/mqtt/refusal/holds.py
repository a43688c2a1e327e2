"""What a broker refuses for now, because a quota is exceeded, say: tried again later, in order.

From such a refusal on nothing more is sent until all that is in flight is answered. What was
refused, and what was sent behind it, is given back to its source, which waits for a while; results
go to the spool meanwhile. Then one message is tried, and more and more while they are taken.

Results and dead letters wait each for themselves.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from pyboot_svc.backoff import Backoff
from pyboot_svc.worker.messages import (
    DEAD_LETTERS,
    RESULTS,
    ResultBatch,
    Sendable,
    content_of,
    count_of,
    lane_of,
)
from pyboot_svc.worker.mqtt.refusal.refusals import MOST_UNCLEAR, Refusal

# After so many that were taken the window is as wide as ever.
TRUSTED_WINDOW = 64
_FIRST_PAUSE_SECONDS, _LAST_PAUSE_SECONDS = 1.0, 30.0

log = logging.getLogger(__name__)

Place = tuple[int, ...]


class _Way:
    """Results, or dead letters: those to be sent again, from the place `first` on."""

    def __init__(self) -> None:
        self.again: list[Sendable] = []
        self.first: Place | None = None
        self.until: float | None = None
        self.pauses = Backoff(_FIRST_PAUSE_SECONDS, _LAST_PAUSE_SECONDS)
        self.reason = ""

    def forget(self) -> list[Sendable]:
        again, self.again = self.again, []
        self.first = self.until = None
        return sorted(again, key=place_of)


class Holds:
    """The account of both ways. `window` bounds what is in flight while it is `active`."""

    def __init__(self, window: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = window
        self._clock = clock
        self._ways = {RESULTS: _Way(), DEAD_LETTERS: _Way()}
        self._unclear: Counter[tuple[str, bytes]] = Counter()
        self.window = window
        self.active = False

    @property
    def stopping(self) -> bool:
        """Whether what is in flight has to be answered before anything else is sent."""
        return any(way.first is not None for way in self._ways.values())

    def reason(self, lane: int) -> str:
        """Why what goes that way is refused at the moment; empty when it isn't."""
        return self._ways[lane].reason

    def takes(self, item: Sendable, refusal: Refusal, topic: str) -> bool:
        """Whether this one is to be sent again; `topic` is that of results."""
        if not refusal.for_now:
            return False
        if refusal.unclear:
            key = content_of(item, topic)
            self._unclear[key] += 1
            if self._unclear[key] >= MOST_UNCLEAR:
                del self._unclear[key]
                return False
        way = self._ways[lane_of(item)]
        place = place_of(item)
        way.first = place if way.first is None else min(way.first, place)
        way.again.append(item)
        if not way.reason:
            log.warning(
                "post broker refuses %s for now: %s; trying again until it takes them",
                "results" if way is self._ways[RESULTS] else "dead letters",
                refusal.text,
            )
        way.reason = refusal.text
        self.active = True
        self.window = 1
        return True

    def safe(self, items: Sequence[Sendable]) -> list[Sendable]:
        """While `active`: those of `items` that are; what is behind a refused one comes again."""
        found = []
        for item in items:
            way = self._ways[lane_of(item)]
            if way.first is not None and place_of(item) > way.first:
                way.again.append(item)
            else:
                found.append(item)
        if found and not self.stopping:
            self._widen(sum(map(count_of, found)))
        return found

    def answered(self, in_flight: dict[int, int]) -> Iterator[tuple[int, list[Sendable]]]:
        """The ways of which nothing is in flight any more, with what is to be sent again."""
        for lane, way in self._ways.items():
            if way.first is not None and not in_flight[lane]:
                again = way.forget()
                way.until = self._clock() + way.pauses.next()
                yield lane, again

    def due(self) -> Iterator[int]:
        """The ways whose pause is over."""
        for lane, way in self._ways.items():
            if way.until is not None and self._clock() >= way.until:
                way.until = None
                self.window = 1
                yield lane

    def lost(self) -> list[Sendable]:
        """The connection was: what was to be sent again by it, in order."""
        again = [item for way in self._ways.values() for item in way.forget()]
        self.window = 1 if self.active else self._most
        return again

    def _widen(self, count: int) -> None:
        self.window += count
        if self.window >= TRUSTED_WINDOW:
            self.end()

    def end(self) -> None:
        """All that was tried again was taken; of the ways that don't wait still."""
        self.window = self._most
        waiting = [way for way in self._ways.values() if way.until is not None]
        for way in self._ways.values():
            if way not in waiting:
                way.pauses.reset()
                way.reason = ""
        if not waiting:
            self._unclear.clear()
            self.active = False


def place_of(item: Sendable) -> Place:
    """In the order of sending, among those of one way: rows are older than what goes straight."""
    if isinstance(item, ResultBatch):
        return 1, item.chunk.number, item.places[0]
    return 0, item.row < 0, abs(item.row)
