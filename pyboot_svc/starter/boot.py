"""The life of the master: init, setup, start, wait for a signal, stop in reverse."""

from __future__ import annotations

import logging
import queue
import signal
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any

from pyboot_svc.errors import ExitCode
from pyboot_svc.starter.base import Starter, StarterContext

# Among the numbers of signals, none of them.
_CRASH = 0

log = logging.getLogger(__name__)


class Boot:
    """Runs starters through their phases; a failing stop never skips the rest."""

    def __init__(
        self,
        starters: Sequence[Starter],
        context: StarterContext,
        signals: Sequence[signal.Signals] = (signal.SIGINT, signal.SIGTERM),
    ) -> None:
        self._stop_signals = signals
        self._starters = sorted(starters, key=lambda starter: starter.priority)
        self._context = context
        self._begun: list[Starter] = []
        # Its put may interrupt its own get: what signal handlers need.
        self._signals: queue.SimpleQueue[int] = queue.SimpleQueue()
        context.crashed = lambda: self._signals.put(_CRASH)

    def run(self) -> ExitCode:
        """Bring everything up, wait for a signal to stop, bring everything down.

        What a phase raises comes out here, after everything begun was stopped.
        """
        for number in {*self._stop_signals, signal.SIGHUP}:
            signal.signal(number, self._on_signal)
        stopped_well = well = False
        try:
            for starter in self._starters:
                self._begun.append(starter)
                self._call(starter, "init")
            for phase in ("setup", "start"):
                for starter in self._starters:
                    if self._signals.empty():
                        self._call(starter, phase)
            well = self._serve() != _CRASH
        finally:
            stopped_well = self._stop()
        return ExitCode.OK if well and stopped_well else ExitCode.INTERNAL

    def _serve(self) -> int:
        """Wait for what ends us, and reload on SIGHUP meanwhile; gives the signal's number."""
        while (number := self._signals.get()) == signal.SIGHUP and number not in self._stop_signals:
            for starter in self._starters:
                try:
                    self._call(starter, "reload")
                except Exception:  # what runs goes on running
                    log.exception("%s failed to reload", type(starter).__name__)
        return number

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
        self._signals.put(number)
