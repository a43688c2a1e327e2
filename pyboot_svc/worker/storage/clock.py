"""How long what lies in the database has been there, by no clock that steps.

A board without a clock chip boots in the past, and its wall clock jumps by years once it has
reached a time server. So the database carries a count of seconds of its own, which goes on while a
worker runs and, as long as the host is up, between two of its runs; while the host is off it
stands still.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import sqlite3

UPTIME = Path("/proc/uptime")
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def uptime() -> float:
    """Seconds since the host was booted, sleep included."""
    try:
        return float(UPTIME.read_text(encoding="ascii").split()[0])
    except (OSError, ValueError, IndexError):  # a sandbox may hide it
        return time.clock_gettime(time.CLOCK_BOOTTIME)


def boot_id() -> str:
    """Names the boot; empty where a sandbox hides it, and then `uptime` alone has to tell."""
    try:
        return BOOT_ID.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""


class AgeClock:
    """The database's count of seconds. `meet` a database first; `note` it in each transaction."""

    def __init__(self) -> None:
        self._boot = boot_id()
        # What the count is ahead of `uptime`.
        self._offset = -uptime()

    def now(self) -> float:
        return self.at(uptime())

    def at(self, moment: float) -> float:
        """What it was when `uptime` was `moment`."""
        return self._offset + moment

    def meet(self, connection: sqlite3.Connection) -> None:
        """Go on from where the database's count is; back never."""
        here = uptime()
        reached = max(self.at(here), _reached(connection, here, self._boot))
        self._offset = reached - here

    def note(self, connection: sqlite3.Connection) -> None:
        from pyboot_svc.worker.storage.database import checksum

        here = uptime()
        values = (self.at(here), here, self._boot)
        connection.execute(
            "INSERT OR REPLACE INTO clock VALUES (1, ?, ?, ?, ?)", (*values, checksum(*values))
        )


def _reached(connection: sqlite3.Connection, here: float, boot: str) -> float:
    """Where the count is: as noted, and on by what has passed since then for sure."""
    noted = connection.execute("SELECT seconds, uptime, boot FROM clock").fetchone()
    if noted is None:
        # It was lost, or an earlier version wrote this: it begins where the rows are.
        (latest,) = connection.execute(
            "SELECT max(coalesce((SELECT max(created) FROM spool), 0), "
            "coalesce((SELECT max(last) FROM crashes), 0))"
        ).fetchone()
        return float(latest)
    seconds, then, where = noted
    # Of another boot nobody knows how long the host was off, nor whether it is the same host.
    passed = here - then if where == boot else 0.0
    return float(seconds + max(passed, 0.0))
