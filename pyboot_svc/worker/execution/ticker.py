"""Calls that are due by time: each is a batch of its own, in the queue between the messages."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from pyboot_svc.threads import spawn
from pyboot_svc.worker.messages import TICK, MessageBatch


class Ticker:
    """Has a tick queued every so many seconds, and never two of them at once.

    When calls take longer than that, those that would have been due meanwhile are left out.
    """

    def __init__(self, every: float, deliver: Callable[[MessageBatch], None]) -> None:
        self._every = every
        self._deliver = deliver
        self._stopping = threading.Event()
        # Whether the last one has come to its end.
        self._free = threading.Event()
        self._free.set()

    def start(self, on_crash: Callable[[], None]) -> None:
        spawn("ticks", self._run, on_crash)

    def stop(self) -> None:
        self._stopping.set()
        self._free.set()

    def acknowledge(self, batch: MessageBatch, start: int, stop: int) -> None:
        """All that came of it is safe."""
        self._free.set()

    def _run(self) -> None:
        due = time.monotonic() + self._every
        while not self._stopping.wait(max(due - time.monotonic(), 0)):
            self._free.clear()
            if self._stopping.is_set():
                return
            self._deliver(self._tick())
            self._free.wait()
            now = time.monotonic()
            due += self._every * max(1, (now - due) // self._every)

    def _tick(self) -> MessageBatch:
        # The time tells its results from those of others.
        moment = b"%d" % time.time_ns()
        tick = MessageBatch([""], [moment], [1], [time.monotonic_ns()], particulars=TICK)
        tick.origin = self
        return tick


class NoTicker:
    """Of a model without a `tick`."""

    def start(self, on_crash: Callable[[], None]) -> None: ...
    def stop(self) -> None: ...
