"""How long to wait before the next attempt."""

from __future__ import annotations

import random


class Backoff:
    """Exponential backoff with full jitter on its upper half, in seconds.

    With `eager`, delays stay below that for the first `eager_seconds` of them: what comes back
    soon is found soon, and what is away for days is not asked that often.
    """

    def __init__(
        self, first: float, most: float, *, eager: float | None = None, eager_seconds: float = 0.0
    ) -> None:
        self._first = first
        self._most = most
        self._eager = most if eager is None else eager
        self._eager_seconds = eager_seconds
        self._ceiling = first
        self._waited = 0.0
        self._chance = random.Random()  # the common one is the model's, which may have seeded it

    def next(self, *, patient: bool = False) -> float:
        """`patient`: there is no reason to be eager."""
        eager = not patient and self._waited < self._eager_seconds
        ceiling = min(self._ceiling, self._eager if eager else self._most)
        self._ceiling = min(ceiling * 2, self._most)
        delay = ceiling * self._chance.uniform(0.5, 1.0)
        self._waited += delay
        return delay

    def reset(self) -> None:
        self._ceiling = self._first
        self._waited = 0.0
