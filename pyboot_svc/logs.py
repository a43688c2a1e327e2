"""Log lines for people, on standard error."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable

_FORMAT = "%(asctime)s %(levelname)s %(message)s"
_TIME_FORMAT = "%Y-%m-%dT%H:%M:%S"


def configure_logging(level: int = logging.INFO) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter(_FORMAT, _TIME_FORMAT))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)


class RateLimit:
    """Lets a few events of each kind through in a period, and counts the rest."""

    def __init__(
        self, most: int, period: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._most = most
        self._period = period
        self._clock = clock
        self._lock = threading.Lock()
        self._windows: dict[str, tuple[float, int, int]] = {}

    def admit(self, kind: str) -> int | None:
        """None to keep silent; else how many of the kind were kept silent since the last one."""
        now = self._clock()
        with self._lock:
            since, passed, silent = self._windows.get(kind, (now, 0, 0))
            if now - since >= self._period:
                since, passed = now, 0
            if passed >= self._most:
                self._windows[kind] = (since, passed, silent + 1)
                return None
            self._windows[kind] = (since, passed + 1, 0)
            return silent
