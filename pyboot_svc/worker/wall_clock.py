"""The time of day at moments of the monotonic clock."""

import time

# While the time of day is steered and not set, the clocks part by no more within any 0.2 s.
_SLACK_NS = 100_000


class WallClock:
    """Tells moments of the monotonic clock in ns of Unix time, in the same order.

    Two clocks can't be read at once, so how far they are apart is never known exactly. What was
    read first holds as long as what is read later doesn't contradict it: moments that were one stay
    one, whichever thread asks. When somebody sets the time of day, this follows.
    """

    def __init__(self) -> None:
        self._offset = time.time_ns() - time.monotonic_ns()

    def unix_ns(self, moment: int) -> int:
        before = time.monotonic_ns()
        now = time.time_ns()
        least, most = now - time.monotonic_ns(), now - before
        offset = self._offset
        if not least - _SLACK_NS <= offset <= most + _SLACK_NS:
            # Never too late: what a later reading mends doesn't turn the order round.
            offset = self._offset = least
        return moment + offset
