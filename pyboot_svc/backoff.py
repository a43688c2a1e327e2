"""How long to wait before the next attempt."""

from __future__ import annotations

import random


class Backoff:
    """Exponential backoff with full jitter on its upper half, in seconds."""

    def __init__(self, first: float, most: float) -> None:
        self._first = first
        self._most = most
        self._ceiling = first

    def next(self) -> float:
        ceiling = self._ceiling
        self._ceiling = min(ceiling * 2, self._most)
        return ceiling * random.uniform(0.5, 1.0)

    def reset(self) -> None:
        self._ceiling = self._first
