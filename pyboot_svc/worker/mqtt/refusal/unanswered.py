"""Which message of QoS 0, where no answer tells, a broker may have hung up on."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Sequence

from pyboot_svc.worker.messages import RESULTS, ResultBatch, Sendable

# A broker that hangs up does so that soon after what it minds.
_MOMENTS_SECONDS, _MOMENT_SECONDS = 1.0, 0.1
_MOST_MOMENTS = 100
_CERTAIN_LOSSES = 3


class Unanswered:
    """What was written at QoS 0 just before a connection was lost: no answer tells what did it.

    A message of twice the size of others is named. When that happens again and again, and others
    of its size never got through, it is taken for too large.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        # Since when, the smallest and the largest: of each moment of the last second.
        self._recent: deque[tuple[float, int, int]] = deque(maxlen=_MOST_MOMENTS)
        # The latest of them once more: while it lasts, nothing within it is news.
        self._until, self._least, self._most = -math.inf, 0, 0
        self._survived = 0
        self._sizes: list[int] = []

    def written(self, items: Sequence[Sendable]) -> None:
        """These were."""
        sizes: list[int] = []
        for item in items:
            if isinstance(item, ResultBatch):
                sizes += map(len, item.payloads)
            elif item.lane == RESULTS:
                sizes.append(len(item.payload))
        if sizes:
            self._note(min(sizes), max(sizes), self._clock())

    def written_one(self, size: int) -> None:
        """The same of a result of this size."""
        now = self._clock()
        if not self._least <= size <= self._most or now >= self._until:
            self._note(size, size, now)

    def _note(self, least: int, most: int, now: float) -> None:
        self._age(now)
        recent = self._recent
        if recent and now - recent[-1][0] < _MOMENT_SECONDS and most < 2 * recent[-1][2]:
            since, before_least, before_most = recent.pop()
            recent.append((since, min(least, before_least), max(most, before_most)))
        else:  # what is so much larger has a place of its own: those before it did no harm
            recent.append((now, least, most))
        since, self._least, self._most = recent[-1]
        self._until = since + _MOMENT_SECONDS

    def lost(self) -> tuple[int | None, bool]:
        """The size of the message that may be the reason, and whether it is that for certain."""
        self._age(self._clock())
        recent = list(self._recent)
        self._recent.clear()
        self._until = -math.inf
        if not recent:
            return None, False
        largest = max(most for _, _, most in recent)
        # The broker reads in order: what it closed the connection for came after these.
        for _, _, most in recent:
            if most == largest:
                break
            self._survived = max(self._survived, most)
        usual = self._survived or min(least for _, least, _ in recent)
        if largest < 2 * usual:
            self._sizes.clear()
            return None, False
        if self._survived:
            self._sizes.append(largest)
        if len(self._sizes) < _CERTAIN_LOSSES:
            return largest, False
        smallest = min(self._sizes)
        self._sizes.clear()
        return smallest, True

    def _age(self, now: float) -> None:
        """What was written that long ago did no harm."""
        recent = self._recent
        while recent and recent[0][0] < now - _MOMENTS_SECONDS:
            self._survived = max(self._survived, recent.popleft()[2])
