"""What a process tells the service manager that started it (sd_notify(3)).

Without one, all of it goes nowhere: nobody has to ask first.
"""

from __future__ import annotations

import os

from sdnotify import SystemdNotifier

from pyboot_svc.text import printable

_MICROS = 1_000_000
_LONGEST_STATUS = 1000


class Notifier:
    """Ready, status, signs of life."""

    def __init__(self) -> None:
        # Without an address it would open a socket for nobody.
        self._notifier = SystemdNotifier() if self.heard else None
        self._status = ""

    @property
    def heard(self) -> bool:
        """Whether there is a service manager that listens."""
        return "NOTIFY_SOCKET" in os.environ

    def ready(self) -> None:
        self._notify("READY=1")

    def stopping(self) -> None:
        self._notify("STOPPING=1")

    def status(self, text: str) -> None:
        """Shown by `systemctl status`; sent when it changed."""
        if text != self._status:
            self._status = text
            # A second line would be a message of its own.
            shown = printable(" ".join(text.splitlines()), _LONGEST_STATUS)
            self._notify(f"STATUS={shown}")

    def extend_start(self, seconds: float) -> None:
        """The start goes on: wait for so long from now."""
        self._notify(f"EXTEND_TIMEOUT_USEC={int(seconds * _MICROS)}")

    def alive(self) -> None:
        self._notify("WATCHDOG=1")

    def stalled(self) -> None:
        """Have the watchdog strike at once."""
        self._notify("WATCHDOG=trigger")

    def close(self) -> None:
        """Nothing more will be told."""
        notifier, self._notifier = self._notifier, None
        if notifier is not None and notifier.socket is not None:
            notifier.socket.close()

    def _notify(self, message: str) -> None:
        notifier = self._notifier
        if notifier is not None:
            notifier.notify(message)


def watchdog_seconds() -> float | None:
    """How often the service manager wants a sign of life at least; None: it doesn't."""
    if os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    try:
        micros = int(os.environ["WATCHDOG_USEC"])
    except (KeyError, ValueError):
        return None
    return micros / _MICROS if micros > 0 else None
