"""Whether a read should wait for more messages: only while the thread has little time to spare."""

from __future__ import annotations

from pyboot_svc.worker.mqtt.link.pace import Pace

# Of its time a thread that is busier than that saves work by fewer reads, while so many messages
# and answers come in a second; so does one that can hardly keep up, however few they are. One that
# is less busy has the time to read each as it comes.
BUSY_SHARE, MANY_ARRIVALS = 0.65, 20_000
OVERBUSY_SHARE = 0.95
# In a row: on a busy host a thread that has time to spare waits for a core, too, for some ms.
OVERBUSY_MEASUREMENTS = 3
# So long that is measured, without any linger, and then it holds for so long.
MEASURE_SECONDS, HOLD_SECONDS = 0.02, 1.0
# One that is far less busy is measured more seldom.
_SPARE_SHARE, _SPARE_SECONDS = 0.2, 0.1


class Linger:
    """Brokers write packet by packet: a read at once gets one, a read a little later many.

    That costs latency, and saves work: so it is for a thread that hardly waits for messages any
    more. Each second it reads without lingering for a moment, and looks whether it would still be
    so busy; while it lingers it can't tell.

    While it is `active`, a read is to wait for `seconds`, by the pace at which messages come. The
    messages and answers that reads bring are to be counted in `arrivals`, and the seconds that the
    thread waits for them in `waited`.
    """

    def __init__(self, longest_us: int) -> None:
        self._longest = longest_us
        self._pace = Pace(longest_us)
        self.active = False
        # When the measurement began, by the first read, and how long the waits were since.
        self._since: float | None = None
        self.waited = 0.0
        # When the next read is to be told of: while it is active, each.
        self.due = 0.0
        # When what is so now is over: the measurement, or the time that its outcome holds.
        self._until = 0.0
        # How much has come since then.
        self.arrivals = 0
        # So many measurements in a row have found the thread hardly waiting.
        self._overbusy = 0
        # How many came in a second, by the last measurement.
        self.rate = float("inf")

    def note(self, now: float, count: int, full: bool) -> None:
        """By the monotonic clock a read has just brought so many messages; `full` says that it
        could not take all there was. Not to be told before `due`.
        """
        if self.active and now < self._until:
            self._pace.note(count, full=full)
            return
        spare = False
        if self._since is not None and not self.active:
            elapsed = now - self._since
            self.rate = self.arrivals / elapsed
            busy = elapsed - self.waited
            self._overbusy = self._overbusy + 1 if busy > OVERBUSY_SHARE * elapsed else 0
            if busy > BUSY_SHARE * elapsed and self._saves_work(elapsed):
                self.active = True
                self.due, self._until = 0.0, now + HOLD_SECONDS
                # To see that it still is so, a single one is enough.
                self._overbusy = OVERBUSY_MEASUREMENTS - 1
                return
            spare = busy < _SPARE_SHARE * elapsed
        self.active = False
        self._since, self.waited, self.arrivals = now, 0.0, 0
        self.due = now + (_SPARE_SECONDS if spare else MEASURE_SECONDS)

    def _saves_work(self, elapsed: float) -> bool:
        many = self.arrivals > MANY_ARRIVALS * elapsed
        return self._longest > 0 and (many or self._overbusy >= OVERBUSY_MEASUREMENTS)

    def seconds(self) -> float:
        """How long to wait before the next read, while it is active."""
        return self._pace.seconds()
