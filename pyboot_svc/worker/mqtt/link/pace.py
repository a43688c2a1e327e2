"""How fast messages come on a connection, and how long a read that waits for more should wait."""

from __future__ import annotations

import time

# Messages this close together are worth the longest wait; others, by the fourth power, less.
_DENSE_SECONDS = 60e-6
# What a turn costs beside its messages is next to nothing when so many share it.
_MANY = 128
# Of the longest wait: reads are so far from each other while messages come more often than that.
# A worker that reads them one by one could keep a broker on the same cores from sending more.
_SPACING = 1 / 9
# Of the longest wait: without a message for so long, the brisk time is over. A read may have
# brought acknowledgements alone.
_PATIENCE = 1.5
# What a new gap between messages counts against those before.
_WEIGHT = 0.25
# The shortest wait, of the longest, and how fast it gets longer again.
_SHORTEST = 1 / 16
_GROWTH = 1.1
# The largest number that reads bring, so many times over, is no coincidence if it isn't small.
_MANY_HITS = 2
_FEWEST = 4


class Pace:
    """Of reads that bring many messages each, or few.

    A read waits only while more than one message is to be expected in that time; the closer they
    come, the longer, up to `longest_us`. When reads bring the same number again and again, the
    broker sends no more until it hears from us: then a wait that is too long would cost throughput,
    and it gets shorter.
    """

    def __init__(self, longest_us: int) -> None:
        self._longest = longest_us / 1e6
        self._spacing = _SPACING * self._longest
        self._last = 0.0
        self._read = 0.0
        self._gap = self._longest
        self._fruitful = self._longest
        self._most = 0
        self._hits = 0
        self._full = False

    def note(self, count: int, *, full: bool = False) -> None:
        """A read has brought so many messages; `full` says that it could not take all there was."""
        if not self._longest:
            return
        self._read = now = time.monotonic()
        passed = now - self._last
        self._full = full
        if count:
            # A long one counts as one that is just too long: it is no less brisk after a pause.
            self._gap += _WEIGHT * (min(passed / count, self._longest) - self._gap)
            self._last = now
            if self._at_its_most(count) and (linger := self.seconds()):
                self._fruitful = max(linger / 2, _SHORTEST * self._longest)
            else:
                self._fruitful = min(self._fruitful * _GROWTH, self._longest)
        elif passed > _PATIENCE * self._longest:
            self._gap = self._longest

    def seconds(self) -> float:
        """How long to wait before the next read."""
        gap = self._gap
        if self._full or gap >= self._longest:
            return 0.0
        sparse = max(gap / _DENSE_SECONDS, 1.0)
        linger = self._longest / sparse**4
        if gap < self._spacing:
            linger = max(linger, self._read + self._spacing - time.monotonic())
        return min(linger, self._fruitful, _MANY * gap) if linger > gap else 0.0

    def _at_its_most(self, count: int) -> bool:
        """Whether reads bring a certain number again and again, and never more."""
        if count > self._most:
            self._most, self._hits = count, 0
        elif count < self._most:
            self._most -= 1
        else:
            self._hits += 1
        if self._hits < _MANY_HITS or count < _FEWEST:
            return False
        self._hits = 0
        return True
