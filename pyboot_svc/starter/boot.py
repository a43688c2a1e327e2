"""The life of the master: init, setup, start, wait for a signal, stop in reverse."""

from __future__ import annotations

import logging
import queue
import signal
from collections.abc import Callable, Sequence
from contextlib import suppress
from types import FrameType
from typing import Any

from pyboot_svc.errors import ConfigError, ExitCode, UnavailableError
from pyboot_svc.starter.base import Starter, StarterContext

# Among the numbers of signals, none of them.
_CRASH = 0
_RELOAD = -1
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# Python calls a handler between two steps of the main thread: a signal that comes just before a
# wait begins, or to another thread, doesn't end that wait.
_LOOK_SECONDS = 1.0

log = logging.getLogger(__name__)


class Boot:
    """Runs starters through their phases; a failing stop never skips the rest.

    SIGHUP reloads, unless `hung_up` says that it came with the end of the terminal.
    """

    def __init__(
        self,
        starters: Sequence[Starter],
        context: StarterContext,
        hung_up: Callable[[], bool] = lambda: False,
    ) -> None:
        self._hung_up = hung_up
        self._starters = sorted(starters, key=lambda starter: starter.priority)
        self._context = context
        self._begun: list[Starter] = []
        # Its put may interrupt its own get: what signal handlers need.
        self._signals: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._ending = False
        context.crashed = lambda: self._end(_CRASH)
        context.reload = lambda: self._signals.put(_RELOAD)

    def run(self) -> ExitCode:
        """Bring everything up, wait for a signal to stop, bring everything down.

        What a phase raises comes out here, after everything begun was stopped.
        """
        for number in SIGNALS:
            signal.signal(number, self._on_signal)
        # A command may have held them until somebody is there for them.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        stopped_well = well = False
        try:
            for starter in self._starters:
                self._begun.append(starter)
                self._call(starter, "init")
            for phase in ("setup", "start"):
                for starter in self._starters:
                    if not self._ending:
                        self._call(starter, phase)
            well = self._serve() != _CRASH
        finally:
            stopped_well = self._stop()
        return ExitCode.OK if well and stopped_well else ExitCode.INTERNAL

    def _serve(self) -> int:
        """Wait for what ends us, and reload meanwhile when asked to; gives the signal's number."""
        while (number := self.wait()) in (signal.SIGHUP, _RELOAD):
            if number == signal.SIGHUP and self._hung_up():
                break
            self._reload()
        return number

    def _reload(self) -> None:
        for starter in self._starters:
            try:
                self._call(starter, "reload")
            except (ConfigError, UnavailableError) as error:  # there is nothing new for the others
                log.error("the configuration was not reloaded; the old one stays:\n%s", error)
                return
            except Exception:  # what runs goes on running
                log.exception("%s failed to reload", type(starter).__name__)

    def wait(self) -> int:
        """The next signal, or what came in its stead."""
        while True:
            with suppress(queue.Empty):
                return self._signals.get(timeout=_LOOK_SECONDS)

    def _stop(self) -> bool:
        well = True
        for starter in reversed(self._begun):
            try:
                self._call(starter, "stop")
            except BaseException:  # even sys.exit in one must not skip the rest
                well = False
                log.exception("%s failed to stop; stopping the rest", type(starter).__name__)
        return well

    def _call(self, starter: Starter, phase: str) -> None:
        original: Callable[[Any], None] | None = getattr(starter, phase.capitalize(), None)
        method = original or getattr(starter, phase)
        method(self._context)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGHUP:
            self._signals.put(number)
        else:
            self._end(number)

    def _end(self, number: int) -> None:
        self._ending = True
        self._signals.put(number)
