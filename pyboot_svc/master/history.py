"""The last day of all instances, in bounded memory: the longer ago, the coarser."""

from __future__ import annotations

import math
import threading
import time
from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pyboot_svc.master.hub import Reading
from pyboot_svc.threads import end_process, spawn

Fold = Callable[[Sequence[float]], float]
NOTHING = math.nan


def known(values: Iterable[float]) -> list[float]:
    return [value for value in values if not math.isnan(value)]


def mean(values: Sequence[float]) -> float:
    """Of those that are known; NaN of none."""
    found = known(values)
    return sum(found) / len(found) if found else NOTHING


def peak(values: Sequence[float]) -> float:
    found = known(values)
    return max(found) if found else NOTHING


def total(values: Sequence[float]) -> float:
    found = known(values)
    return sum(found) if found else NOTHING


@dataclass(frozen=True)
class Column:
    """How values of it become one: those that follow each other, and those of several instances."""

    later: Fold
    beside: Fold


# `in`, `out`, `done` and `errors` in messages/s, `p50` and `p99` in ms, `cpu` in cores, others in
# messages. Of a queue and of a quantile the peak is kept: it is what a person looks for.
COLUMNS = {
    "in": Column(mean, total),
    "out": Column(mean, total),
    "done": Column(mean, total),
    "errors": Column(mean, total),
    "pre_queue": Column(peak, total),
    "post_queue": Column(peak, total),
    "spooled": Column(peak, total),
    "p50": Column(mean, mean),
    "p99": Column(peak, peak),
    "cpu": Column(mean, total),
}
# What a table of all instances shows as lines, and how many samples are one point of them.
RECENT = ("in", "out", "pre_queue", "post_queue", "p99", "errors")
_SAMPLES_A_POINT = 3


@dataclass(frozen=True)
class Tier:
    """So many values, each of so many seconds."""

    seconds: int
    values: int


# 15 minutes, 3 hours, a day; each is made of the one before.
TIERS = (Tier(5, 180), Tier(60, 180), Tier(600, 144))
# What one instance takes at most, with what Python needs to keep it.
MOST_BYTES = 25_000


class _Series:
    """One instance: of each tier and column the values, the oldest first."""

    def __init__(self) -> None:
        self.tiers = tuple(
            {name: array("f", [NOTHING] * tier.values) for name in COLUMNS} for tier in TIERS
        )
        self._before: tuple[float, Mapping[str, float]] | None = None

    def push(self, tier: int, values: Mapping[str, float]) -> None:
        for name, kept in self.tiers[tier].items():
            kept[:-1] = kept[1:]
            kept[-1] = values.get(name, NOTHING)

    def fold(self, tier: int) -> None:
        """The last values of the tier before become one of this."""
        count = TIERS[tier].seconds // TIERS[tier - 1].seconds
        finer = self.tiers[tier - 1]
        self.push(tier, {name: one.later(finer[name][-count:]) for name, one in COLUMNS.items()})

    def values(self, reading: Reading | None, now: float) -> dict[str, float]:
        """What a reading says; of counters, by how much they grew since the one before."""
        snapshot = (reading.snapshot if reading else None) or {}
        counted, before = _counted(snapshot), self._before
        self._before = (now, counted) if counted else None
        told = _told(snapshot)
        if before is not None and now > before[0]:
            for name, value in counted.items():
                # A counter that is less than it was has begun anew.
                grown = value - before[1].get(name, 0.0)
                told[name] = (grown if grown >= 0 else value) / (now - before[0])
        return told


class History:
    """Samples all instances that `scrape` gives, in a thread of its own.

    Whoever it doesn't give any longer is forgotten; one that is only away is not.
    """

    def __init__(
        self, scrape: Callable[[], dict[str, Reading]], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._scrape = scrape
        self._clock = clock
        self._series: dict[str, _Series] = {}
        self._slot: int | None = None
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, on_crash: Callable[[], None] = end_process) -> None:
        self._thread = spawn("history", self._run, on_crash)

    def stop(self) -> None:
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(2)

    def sample(self) -> None:
        """Ask all of them once; call it once in each of the first tier's intervals."""
        readings = self._scrape()
        now = self._clock()
        slot = int(now // TIERS[0].seconds)
        with self._lock:
            self._series = {name: self._series.get(name) or _Series() for name in readings}
            # Those that were missed, as on a host that stood still, are empty.
            missed = 0 if self._slot is None else slot - self._slot - 1
            for number in range(slot - min(missed, TIERS[0].values), slot):
                self._push(number, {})
            if slot != self._slot:
                self._push(slot, readings, now)
            self._slot = slot

    def instances(self) -> list[str]:
        with self._lock:
            return list(self._series)

    def recent(self) -> dict[str, Any]:
        """The last 15 minutes of all instances: `points` of each, by column, the oldest first."""
        with self._lock:
            points = {name: _points(series.tiers[0]) for name, series in self._series.items()}
        return {
            "now": time.time(),
            "seconds": TIERS[0].seconds * _SAMPLES_A_POINT,
            "columns": list(RECENT),
            "instances": points,
        }

    def combined(self, instances: Iterable[str]) -> list[dict[str, Any]]:
        """The day of these together: an object a tier, the finest first."""
        with self._lock:
            chosen = [self._series[name].tiers for name in instances if name in self._series]
            columns = [
                {
                    name: list(zip(*(tiers[number][name] for tiers in chosen), strict=True))
                    for name in COLUMNS
                }
                for number in range(len(TIERS))
            ]
        return [
            {"seconds": tier.seconds}
            | {
                name: [_short(COLUMNS[name].beside(values)) for values in column]
                for name, column in found.items()
            }
            for tier, found in zip(TIERS, columns, strict=True)
        ]

    def lately(self, instance: str, name: str) -> list[float]:
        """Of the last minute, what is known of this column."""
        samples = TIERS[1].seconds // TIERS[0].seconds
        with self._lock:
            series = self._series.get(instance)
            return known(series.tiers[0][name][-samples:]) if series else []

    def _push(self, slot: int, readings: Mapping[str, Reading], now: float = 0.0) -> None:
        for name, series in self._series.items():
            series.push(0, series.values(readings.get(name), now))
            for number, tier in enumerate(TIERS):
                if number and (slot + 1) % (tier.seconds // TIERS[0].seconds) == 0:
                    series.fold(number)

    def _run(self) -> None:
        while True:
            self.sample()
            seconds = TIERS[0].seconds
            if self._stopping.wait(seconds - self._clock() % seconds):
                return


def _told(snapshot: Mapping[str, Any]) -> dict[str, float]:
    rates, latency = snapshot.get("rates") or {}, snapshot.get("latency_ms") or {}
    found = {
        "in": rates.get("in"),
        "out": rates.get("out"),
        "p50": latency.get("p50"),
        "p99": latency.get("p99"),
        **{name: snapshot.get(name) for name in ("pre_queue", "post_queue", "spooled")},
    }
    return {name: float(value) for name, value in found.items() if value is not None}


def _counted(snapshot: Mapping[str, Any]) -> dict[str, float]:
    found = {
        "done": (snapshot.get("counters") or {}).get("processed"),
        "errors": sum((snapshot.get("errors") or {}).values()),
        "cpu": snapshot.get("cpu_s"),
    }
    told = {name: float(value) for name, value in found.items() if value is not None}
    return told if snapshot else {}


def _points(tier: Mapping[str, array[float]]) -> list[list[float | None]]:
    starts = range(0, TIERS[0].values, _SAMPLES_A_POINT)
    return [
        [
            _short(COLUMNS[name].later(tier[name][start : start + _SAMPLES_A_POINT]))
            for start in starts
        ]
        for name in RECENT
    ]


def _short(value: float) -> float | None:
    """Four digits are more than a line shows; null where nothing is known."""
    if not math.isfinite(value):
        return None
    return int(value) if value == int(value) else float(f"{value:.4g}")
