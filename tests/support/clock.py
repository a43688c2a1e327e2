"""A clock that stands still until a test sets it on."""

from __future__ import annotations


class Clock:
    """In the place of a function that tells the time, or of the module `time`."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now
