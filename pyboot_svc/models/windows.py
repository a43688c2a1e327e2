"""Statistics over windows of event time, given when a window closes."""

from __future__ import annotations

import math
import time
from datetime import datetime
from itertools import chain
from typing import TYPE_CHECKING, Any

from pyboot_svc import __released__
from pyboot_svc.model.context import MOST_RESULTS
from pyboot_svc.models._options import Options
from pyboot_svc.models._reading import Reading, SeriesModel, publish_or_log
from pyboot_svc.models._summary import merged, single, statistics

if TYPE_CHECKING:
    from pyboot_svc.model.context import Context

_MOST_WINDOWS = 1000
# A board without a clock chip boots in the past.
RELEASED = datetime.fromisoformat(f"{__released__}T00:00:00+00:00").timestamp()
_STEERED_SECONDS = 1.0


# Lower-case, since `edge_mode` names it as a function.
class window_statistics(SeriesModel):
    """Mean, minimum, maximum and standard deviation of each series' readings in each window.

    In:  `{"device": "pump-7", "ts": 1700000000.0, "value": 4.2}`, a number alone, or a list of such
         (see `SeriesModel`). A reading without `ts` has the time at which it arrived.
    Out: `{"device", "start", "end", "count", "mean", "min", "max", "std"}` when a window closes, in
         the unit of the value; `point` where readings say theirs. `start` and `end` are UNIX
         seconds; a window has the readings from its start to before its end. `late` counts those
         that came when all their windows had closed, since the last result.

    Options, in seconds: `size` of a window; `hop` from the start of one to the start of the next
    (default `size`: windows that touch; less: they overlap); `lateness` (default 0): a window
    closes when a reading comes that is so much later than its end; `idle` (default `size` +
    `lateness`): with `every`, a series' windows also close when no reading of it came for so long;
    `ahead` (default 3600): a reading with a time so far in the future is an error, since it would
    close all windows before it, unless this host's clock is surely wrong: it tells a time before
    the release of pyboot. Also `point` and `max_devices`.

    Windows begin at multiples of `hop` from 1970 on. Readings may come in any order within
    `lateness`. See Akidau et al., The Dataflow Model (VLDB 2015), for the terms.

    When this host's clock was set back, so that a series' windows have come to a time that isn't
    yet, those that are open close as they are, and windows begin anew: a window may have a second
    result.

    Raises ValueError for a bad reading.
    """

    def __init__(self, context: Context) -> None:
        options = Options(context.options)
        size = options.number("size", None, "a number above 0", lambda value: value > 0)
        options.require(size is not None, "set `size`, the seconds of a window")
        self._size = size or 1.0
        self._hop = options.number("hop", self._size, "a number above 0", lambda value: value > 0)
        options.require(self._hop <= self._size, "`hop` must not be more than `size`")
        fits = self._size / self._hop <= _MOST_WINDOWS
        options.require(fits, f"`size` must not be more than {_MOST_WINDOWS} times `hop`")
        self._lateness = _not_negative(options, "lateness", 0.0)
        self._idle = _not_negative(options, "idle", self._size + self._lateness)
        self._ahead = _not_negative(options, "ahead", 3600.0)
        super().__init__(context, options)
        now = time.monotonic()
        # When a reading of a series with open windows came last, by the monotonic clock.
        self._active = dict.fromkeys(context.state, now)
        # For so many results there is room in the call at hand.
        self._room = MOST_RESULTS

    def __call__(self, payload: Any, context: Context | None = None) -> None:
        assert context is not None
        closed = super().__call__(payload, context) or ()
        for result in closed if closed and isinstance(closed[0], dict) else chain(*closed):
            context.publish(result)

    def tick(self, context: Context) -> None:
        now = time.monotonic()
        with self._lock:
            self._room = MOST_RESULTS
            for key, since in list(self._active.items()):
                if now - since < self._idle:
                    continue
                series = context.state.get(key)
                if series is not None:
                    for result in self._closed(series, math.inf):
                        publish_or_log(context, result)
                    context.state[key] = series
                    if series["windows"]:  # the next tick goes on with them
                        return
                del self._active[key]

    def _advance(self, readings: list[Reading]) -> list[Any]:
        with self._lock:
            self._room = MOST_RESULTS
            return super()._advance(readings)

    def _forget(self, key: str) -> None:
        super()._forget(key)
        self._active.pop(key, None)

    def _read(self, payload: Any, topic: str) -> Reading:
        reading = super()._read(payload, topic)
        now = time.time()
        if reading.seconds is not None and reading.seconds > now + self._ahead and _may_be(now):
            raise ValueError(
                f"ts: {reading.seconds:.0f} is more than {self._ahead:g} s ahead of this host's "
                "clock; which of the two is wrong?"
            )
        return reading

    def _update(self, reading: Reading, stored: Any) -> tuple[Any, Any]:
        echo = {name: reading.echo[name] for name in ("device", "point") if name in reading.echo}
        series = stored or {"latest": -math.inf, "closed": -math.inf, "late": 0, "windows": {}}
        series["echo"] = echo
        by_clock = reading.seconds is None
        seconds = _arrival(series) if reading.seconds is None else reading.seconds
        results = []
        if self._is_ahead(series, seconds, by_clock):
            results = self._closed(series, math.inf)
            series["latest"] = series["closed"] = -math.inf
        starts = self._open(series, seconds)
        for name in map(repr, starts):
            before = series["windows"].get(name, [])
            series["windows"][name] = merged(before, single(reading.value))
        series["late"] += not starts
        if seconds >= series["latest"]:
            series["latest"], series["by_clock"] = seconds, by_clock
        self._active[reading.key] = time.monotonic()
        results += self._closed(series, series["latest"] - self._lateness)
        return series, results or None

    def _is_ahead(self, series: dict[str, Any], seconds: float, by_clock: bool) -> bool:
        """Whether a series has come to a time that isn't yet: this host's clock was set back.

        A reading that says no time can't be late by itself, and none is taken that says one more
        than `ahead` in the future.
        """
        now = time.time()
        if series["latest"] > now + self._ahead + _STEERED_SECONDS and _may_be(now):
            return True
        # What has closed is full, or was left alone: it had a reading, from its start on.
        reached = max(series["latest"], series["closed"] - self._size)
        told_by_clock = by_clock and series.get("by_clock", True)
        return told_by_clock and seconds < reached and not self._open(series, seconds)

    def _open(self, series: dict[str, Any], seconds: float) -> list[float]:
        """The starts of the windows that take a reading of that moment."""
        # A window that would close at once is closed already, whether it was ever open or not.
        closed = max(series["closed"], series["latest"] - self._lateness)
        return [start for start in self._starts(seconds) if start + self._size > closed]

    def _starts(self, seconds: float) -> list[float]:
        """Of all windows that the moment is in, the first one first."""
        last = math.floor(seconds / self._hop)
        count = math.ceil(self._size / self._hop)
        starts = [number * self._hop for number in range(last - count, last + 1)]
        return [start for start in starts if start <= seconds < start + self._size]

    def _closed(self, series: dict[str, Any], now: float) -> list[dict[str, Any]]:
        """Take out the windows that end by `now`, in the order of their ends; what the call has
        no room for, another one does."""
        results: list[dict[str, Any]] = []
        for start in sorted(map(float, series["windows"])):
            end = start + self._size
            if end > now or not self._room:
                break
            self._room -= 1
            summary = series["windows"].pop(repr(start))
            series["closed"] = max(series["closed"], end)
            late, series["late"] = series["late"], 0
            result = {**series["echo"], "start": start, "end": end, **statistics(summary)}
            results.append({**result, "late": late} if late else result)
        return results


def _may_be(now: float) -> bool:
    """Whether a clock that tells `now` may be right."""
    return now >= RELEASED


def _arrival(series: dict[str, Any]) -> float:
    """The time of a reading that says none. A clock that is steered may go back by a little: that
    is no other time than the last one."""
    now, latest = time.time(), series["latest"]
    steered = series.get("by_clock", True) and now < latest <= now + _STEERED_SECONDS
    return latest if steered else now


def _not_negative(options: Options, name: str, default: float) -> float:
    return options.number(name, default, "a number of at least 0", lambda value: value >= 0)
