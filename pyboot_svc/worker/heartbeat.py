"""Whether a worker makes progress: what the watchdog is told, and the service manager shows."""

from __future__ import annotations

import time

# A turn of a connection's loop waits a second at most, and never for a model.
TURN_SECONDS = 15.0
# Far more than `opening.ATTEMPT_SECONDS`, which an attempt keeps to: files are read before.
OPEN_SECONDS = 60.0
# The main thread ticks about once a second; writing to a slow disk may keep it for a while.
TICK_SECONDS = 30.0


class Heartbeat:
    """Beaten by one thread as it makes progress; silent for longer than it may be, it stalls."""

    def __init__(self) -> None:
        self._due = float("inf")

    def beat(self, seconds: float) -> None:
        """Still at work; the next beat comes within so many seconds."""
        self._due = time.monotonic() + seconds

    def rest(self) -> None:
        """Nothing to do: no beat is due."""
        self._due = float("inf")

    @property
    def overdue(self) -> float:
        """For how many seconds the beat has been missing; negative while it isn't due."""
        return time.monotonic() - self._due
