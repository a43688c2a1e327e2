"""The last day of all instances, in bounded memory: the longer ago, the coarser."""

from __future__ import annotations

import math
import threading
import time
from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pyboot_svc.identity import InstanceId
from pyboot_svc.master.peer import Reading
from pyboot_svc.master.spread import Spread
from pyboot_svc.master.tiers import SAMPLE_SECONDS, Tier
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


# 15 minutes, 3 hours, a day; each is made of the one before.
TIERS = (Tier(SAMPLE_SECONDS, 180), Tier(60, 180), Tier(600, 144))
# What one instance takes at most, with what Python needs to keep it.
MOST_BYTES = 28_000


class _Series:
    """One instance: of each tier and column the values, the oldest first."""

    def __init__(self) -> None:
        self.tiers = tuple(
            {name: array("f", [NOTHING] * tier.values) for name in COLUMNS} for tier in TIERS
        )
        # Of the finest tier, as a table shows it: to be asked for often, and for all at once.
        self._points = {
            name: array("d", [NOTHING] * (TIERS[0].values // _SAMPLES_A_POINT)) for name in RECENT
        }
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

    def mark(self, samples: int) -> None:
        """The last samples are one point; the first of them has made a new one."""
        for name, points in self._points.items():
            if samples == 1:
                points[:-1] = points[1:]
            points[-1] = _rounded(COLUMNS[name].later(self.tiers[0][name][-samples:]))

    def points(self) -> list[list[float | None]]:
        return [[_number(value) for value in points] for points in self._points.values()]

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
        self._spreads: dict[str, Spread] = {}
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
            models = dict.fromkeys(map(_model_of, readings))
            self._spreads = {name: self._spreads.get(name) or Spread() for name in models}
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
            points = {name: series.points() for name, series in self._series.items()}
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

    def latency(self, model: str) -> dict[str, Any]:
        """The day of its messages by how long they took: see `Spread.document`."""
        with self._lock:
            return (self._spreads.get(model) or Spread()).document()

    def lately(self, instance: str, name: str) -> list[float]:
        """Of the last minute, what is known of this column."""
        samples = TIERS[1].seconds // TIERS[0].seconds
        with self._lock:
            series = self._series.get(instance)
            return known(series.tiers[0][name][-samples:]) if series else []

    def _push(self, slot: int, readings: Mapping[str, Reading], now: float = 0.0) -> None:
        for model, counted in _latencies(self._spreads, readings).items():
            self._spreads[model].push(slot, counted)
        for name, series in self._series.items():
            series.push(0, series.values(readings.get(name), now))
            series.mark(slot % _SAMPLES_A_POINT + 1)
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


def _latencies(
    models: Iterable[str], readings: Mapping[str, Reading]
) -> dict[str, dict[str, list[int]]]:
    """What the instances of each model have counted by latency."""
    found: dict[str, dict[str, list[int]]] = {model: {} for model in models}
    for name, reading in readings.items():
        histograms = (reading.snapshot or {}).get("histograms") or {}
        if "latency_s" in histograms:
            found[_model_of(name)][name] = histograms["latency_s"]["counts"]
    return found


def _model_of(instance: str) -> str:
    return InstanceId.parse(instance).model


def _short(value: float) -> float | None:
    return _number(_rounded(value))


def _rounded(value: float) -> float:
    """Four digits are more than a line shows; what is whole stays so."""
    return value if value.is_integer() else float(f"{value:.4g}")


def _number(value: float) -> float | None:
    """Null where nothing is known."""
    if not math.isfinite(value):
        return None
    return int(value) if value.is_integer() else value
