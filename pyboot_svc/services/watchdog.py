"""Looks after the progress of child processes, as systemd's watchdog does."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from pyboot_svc.errors import UnavailableError
from pyboot_svc.health.client import ask_health
from pyboot_svc.identity import InstanceId
from pyboot_svc.threads import end_process, spawn

_LONGEST_ANSWER_SECONDS = 3.0

Running = Callable[[], Mapping[InstanceId, int]]
"""Gives the process ids of the children."""
Strike = Callable[[InstanceId, int, str], None]
"""Is told of a child that makes no progress: its process id, and the reason."""


class Watchdog:
    """Asks each child at its health socket, and calls `strike` for one that makes no progress.

    That is one whose answer says so, or from which none has come for `seconds`. Where there is no
    socket, none could be made: the worker has said so, and is left alone. `socket_of` raises
    UnavailableError where somebody else may listen.
    """

    def __init__(
        self,
        socket_of: Callable[[InstanceId], Path],
        seconds: float,
        running: Running,
        strike: Strike,
    ) -> None:
        self._socket_of = socket_of
        self._seconds = seconds
        self._running = running
        self._strike = strike
        self._stopping = threading.Event()
        # By process id: since when it hasn't answered.
        self._silent: dict[int, float] = {}

    def start(self, on_crash: Callable[[], None] = end_process) -> None:
        spawn("watchdog", self._run, on_crash)

    def stop(self) -> None:
        self._stopping.set()

    def _run(self) -> None:
        while not self._stopping.wait(self._seconds / 6):
            running = self._running()
            self._silent = {
                pid: since for pid, since in self._silent.items() if pid in running.values()
            }
            for identity, pid in running.items():
                reason = self._ailment(identity, pid)
                if reason is not None:
                    self._strike(identity, pid, reason)

    def _ailment(self, identity: InstanceId, pid: int) -> str | None:
        try:
            socket = self._socket_of(identity)
        except UnavailableError:
            return None  # what answers there is none of ours
        if not socket.exists():
            return None
        asked = time.monotonic()
        health = ask_health(socket, min(_LONGEST_ANSWER_SECONDS, self._seconds / 3))
        if health.alive:
            self._silent.pop(pid, None)
            return None
        if health.stalls:
            return "; ".join(health.stalls)
        since = self._silent.setdefault(pid, asked)
        silent = time.monotonic() - since
        return f"no answer for {silent:.0f} s" if silent >= self._seconds else None


class NoWatchdog:
    """Leaves every child alone."""

    def __init__(self, running: Running, strike: Strike) -> None: ...

    def start(self, on_crash: Callable[[], None] = end_process) -> None: ...

    def stop(self) -> None: ...


MakeWatchdog = Callable[[Running, Strike], Watchdog | NoWatchdog]
