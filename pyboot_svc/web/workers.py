"""The threads that answer requests: each has a whole one before it begins."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable
from functools import partial

from pyboot_svc.sockets.gate import Visit, busy
from pyboot_svc.threads import end_process, spawn

# Each question of theirs has a deadline of a second or so.
STUCK_SECONDS = 20.0

log = logging.getLogger(__name__)


class Workers:
    """So many threads, and so many requests that wait for them at most."""

    def __init__(self, answer: Callable[[Visit], bytes], threads: int, waiting: int) -> None:
        self._answer = answer
        self._waiting: queue.Queue[Visit | None] = queue.Queue(waiting)
        # Since when each has worked at its request.
        self._begun: list[float | None] = [None] * threads
        self._threads: list[threading.Thread] = []

    def start(self, on_crash: Callable[[], None] = end_process) -> None:
        self._threads = [
            spawn(f"web-{number}", partial(self._run, number), on_crash)
            for number in range(len(self._begun))
        ]

    def stop(self, seconds: float) -> None:
        """What waits is not answered any more."""
        for _ in self._threads:
            try:
                self._waiting.put_nowait(None)
            except queue.Full:
                break
        until = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(until - time.monotonic(), 0))

    def take(self, visit: Visit) -> None:
        """To be answered as soon as a thread can; if too many wait, the answer says so."""
        try:
            self._waiting.put_nowait(visit)
        except queue.Full:
            visit.reply(busy())

    @property
    def stuck(self) -> bool:
        """Whether all of them have been at the same request for longer than one can take."""
        now = time.monotonic()
        return all(begun is not None and now - begun > STUCK_SECONDS for begun in self._begun)

    def _run(self, number: int) -> None:
        while (visit := self._waiting.get()) is not None:
            self._begun[number] = time.monotonic()
            try:
                answer = self._answer(visit)
            except Exception:  # of this request alone
                log.exception("a request could not be answered")
                answer = b""
            visit.reply(answer)
            self._begun[number] = None
