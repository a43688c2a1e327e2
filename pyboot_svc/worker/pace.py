"""How fast messages come on a connection, and whether a read should wait for more of them."""

from __future__ import annotations

import time

# Of a read's longest wait: without a message for so long, the brisk time is over. A read may have
# brought acknowledgements alone.
_PATIENCE = 2.5


class Pace:
    """Brokers write packet by packet: a read at once gets one, a read a little later many.

    So a read waits for a moment, but only while messages come closer together than that. `note`
    is told how many came with each read.
    """

    def __init__(self, longest_us: int) -> None:
        self._longest = longest_us / 1e6
        self._last = 0.0
        self._brisk = False

    def note(self, count: int) -> None:
        if not self._longest:
            return
        now = time.monotonic()
        if count:
            self._brisk = now - self._last < count * self._longest
            self._last = now
        elif now - self._last > _PATIENCE * self._longest:
            self._brisk = False

    @property
    def linger_seconds(self) -> float:
        """How long to wait before the next read."""
        return self._longest if self._brisk else 0.0
