"""Which messages have spans: some of them by chance, without asking for each."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

# Further on than any message comes.
_NEVER = 2**62


class Draw:
    """Draws each message with the probability `rate`, from 0 to 1; `chance` gives numbers from 0
    to below 1."""

    def __init__(self, rate: float, chance: Callable[[], float] | None = None) -> None:
        self._rate = rate
        # Without `random`'s own generator, which is the model's: it may have seeded it.
        self._chance = chance or random.Random().random
        # So many come before the next one that is drawn.
        self._skipped = self._gap()

    def of(self, places: range) -> list[int]:
        """Those that are drawn of the next messages, at these places."""
        if self._rate == 1:
            return list(places)
        drawn = []
        at = self._skipped
        while at < len(places):
            drawn.append(places[at])
            at += 1 + self._gap()
        self._skipped = at - len(places)
        return drawn

    def _gap(self) -> int:
        if self._rate == 0:
            return _NEVER
        if self._rate == 1:
            return 0
        # The geometric distribution: what a draw for each message would give.
        return int(min(math.log(1 - self._chance()) / math.log1p(-self._rate), _NEVER))
