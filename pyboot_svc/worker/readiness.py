"""Tells the service manager when the worker is ready, how it does, and that it makes progress."""

from __future__ import annotations

import logging

from pyboot_svc.notify import Notifier, watchdog_seconds
from pyboot_svc.worker.pipeline import Pipeline

_TICK_SECONDS = 1.0
# At first, for a while, since a roll waits for each instance until it is ready.
_FIRST_TICK_SECONDS = 0.1
_FIRST_TICKS = 50
_EXTENSION_SECONDS = 30.0

log = logging.getLogger(__name__)


class Readiness:
    """Judges the pipeline at each `tick`, which comes every `interval` seconds.

    The watchdog is fed only while every thread makes progress. Readiness is said once, when the
    subscription is acknowledged; until then the start goes on, however long the broker is away.
    """

    def __init__(self, instance: str, pipeline: Pipeline, notifier: Notifier) -> None:
        self._instance = instance
        self._pipeline = pipeline
        self._notifier = notifier
        self._started = False
        self._told_ready = False
        # What was told last: that it waits for something.
        self._waits = False
        self._stalled = False
        self._ticks = 0
        self._interval = min(_TICK_SECONDS, (watchdog_seconds() or _TICK_SECONDS * 3) / 3)

    @property
    def started(self) -> bool:
        """Whether it has subscribed once. What was found ready has started, in every answer."""
        return self._started

    def not_ready(self) -> list[str]:
        """Why this instance can't do its work right now; empty when it can."""
        reasons = self._pipeline.not_ready()
        if not reasons:
            # Noted here, too: who asks may see it before the next tick does.
            self._started = True
        return reasons

    @property
    def interval(self) -> float:
        settled = self._told_ready and not self._waits
        if settled or self._ticks > _FIRST_TICKS:
            return self._interval
        return min(self._interval, _FIRST_TICK_SECONDS)

    def tick(self) -> None:
        self._ticks += 1
        stalls = self._pipeline.stalls()
        if stalls:
            self._report_stall(stalls)
            return
        self._stalled = False
        self._notifier.alive()
        # How it does comes first: whoever hears that it is ready reads that, too.
        if self._notifier.heard:
            self._notifier.status(self._status())
        if not self._told_ready:
            self._tell_readiness()

    def _tell_readiness(self) -> None:
        if self._started or self._pipeline.subscribed:
            self._started = True
            self._told_ready = True
            self._notifier.ready()
        else:
            self._notifier.extend_start(_EXTENSION_SECONDS)

    def _status(self) -> str:
        reasons = self.not_ready()
        self._waits = bool(reasons)
        figures = self._pipeline.figures()
        rates, errors = figures.rates, sum(figures.errors.values())
        state = f"waiting: {'; '.join(reasons)}" if reasons else "ready"
        return (
            f"{state}; in {rates.in_:.0f}/s, out {rates.out:.0f}/s, "
            f"pre_queue {figures.pre_queue}, post_queue {figures.post_queue}, "
            f"errors {errors}"
        )

    def _report_stall(self, stalls: list[str]) -> None:
        if not self._stalled:
            self._stalled = True
            log.critical("%s: stalled: %s", self._instance, "; ".join(stalls))
            self._notifier.status(f"stalled: {'; '.join(stalls)}")
            self._notifier.stalled()
