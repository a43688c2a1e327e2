"""Tells a SIGHUP that somebody sends from the one that comes when a terminal is closed."""

from __future__ import annotations

import os
import signal
import time

# The shell's end may be told before the terminal is taken away.
_MOMENT_SECONDS = 0.1


class Terminal:
    """The controlling terminal, if there is one when this is made.

    Whoever has SIGHUP ignored, as nohup does, wants to outlive it.
    """

    def __init__(self) -> None:
        self._matters = _is_there() and signal.getsignal(signal.SIGHUP) != signal.SIG_IGN

    def has_gone(self) -> bool:
        if not self._matters:
            return False
        time.sleep(_MOMENT_SECONDS)
        return not _is_there()


def _is_there() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY | os.O_NONBLOCK))
    except OSError:
        return False
    return True
