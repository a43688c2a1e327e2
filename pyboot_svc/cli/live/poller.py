"""Asks the master again and again, so that no answer that is slow keeps a key waiting."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pyboot_svc.errors import PybootError
from pyboot_svc.threads import spawn

Instances = list[dict[str, Any]]


@dataclass(frozen=True)
class Reading:
    """The last answer, the number and the time of it (Unix), and why there is no newer one."""

    instances: Instances
    number: int
    moment: float
    trouble: str = ""


class Poller:
    """A thread that has `ask` called every `interval` seconds; `reading` is the latest.

    What else it raises than a PybootError is a bug, and the end of it: `failure`, for whoever can
    put the terminal back before it is told.
    """

    def __init__(self, ask: Callable[[], Instances], interval: float) -> None:
        """Asks once here and now; raises what `ask` does."""
        self._ask = ask
        self._interval = interval
        self._ended = threading.Event()
        self.reading = Reading(ask(), 0, time.time())
        self.failure: Exception | None = None
        spawn("poller", self._run)

    def stop(self) -> None:
        self._ended.set()

    def _run(self) -> None:
        try:
            while not self._ended.wait(self._interval):
                self._read()
        except Exception as error:
            self.failure = error

    def _read(self) -> None:
        before = self.reading
        try:
            self.reading = Reading(self._ask(), before.number + 1, time.time())
        except PybootError as error:
            self.reading = Reading(before.instances, before.number, before.moment, str(error))
