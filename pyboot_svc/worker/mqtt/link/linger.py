"""Whether a read should wait for more messages: only while the thread has little time to spare."""

from __future__ import annotations

import time

from pyboot_svc.worker.mqtt.link.pace import Pace

# Of its time a thread that is busier than that saves work by fewer reads; one that is less busy has
# the time to read each message as it comes.
BUSY_SHARE = 0.65
# So long that is measured, without any linger, and then it holds for so long.
MEASURE_SECONDS, HOLD_SECONDS = 0.02, 1.0


class Linger:
    """Brokers write packet by packet: a read at once gets one, a read a little later many.

    That costs latency, and saves work: so it is for a thread that hardly waits for messages any
    more. Each second it reads without lingering for a moment, and looks whether it would still be
    so busy; while it lingers it can't tell.

    While it is `active`, a read is to wait for `seconds`, by the pace at which messages come.
    """

    def __init__(self, longest_us: int) -> None:
        self._longest = longest_us
        self._pace = Pace(longest_us)
        self.active = False
        # When the measurement began, by the first read, and how long the waits were since.
        self._since: float | None = None
        self._waited = 0.0
        self._until = 0.0

    def note(self, count: int, full: bool = False, waited: float = 0.0) -> None:
        """A read has brought so many messages, for which the thread `waited`, in seconds.

        `full` says that it could not take all there was.
        """
        now = time.monotonic()
        if self.active and now < self._until:
            self._pace.note(count, full=full)
        elif self.active or self._since is None:
            self.active = False
            self._since, self._waited = now, 0.0
        else:
            self._waited += waited
            elapsed = now - self._since
            if elapsed >= MEASURE_SECONDS:
                self.active = self._longest > 0 and elapsed - self._waited > BUSY_SHARE * elapsed
                self._until = now + HOLD_SECONDS
                self._since, self._waited = now, 0.0

    def seconds(self) -> float:
        """How long to wait before the next read, while it is active."""
        return self._pace.seconds()
