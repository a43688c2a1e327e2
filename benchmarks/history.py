"""`make bench-history`: what the master's day of history costs, with 500 instances of 20 models.

CPU time of a sample without the question itself, of which `make bench-scrape` tells, and of each
answer of /api/history as JSON; and the memory that the history takes. The clock is the benchmark's
own, so that hours pass in seconds.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

from support.snapshots import process, traffic

from pyboot_svc.master.history import History
from pyboot_svc.master.load import reckon
from pyboot_svc.master.peer import Reading
from pyboot_svc.master.tiers import SAMPLE_SECONDS
from pyboot_svc.metrics.snapshot import Snapshot

_MODELS, _EACH = 20, 25
_ANSWERS = 5


class Fleet:
    """Instances whose figures change from one sample to the next."""

    def __init__(self) -> None:
        self.names = [f"model_{m}-{n}" for m in range(_MODELS) for n in range(1, _EACH + 1)]
        self.now = 0.0
        self._told = Snapshot(process(), traffic()).document()

    def readings(self) -> dict[str, Reading]:
        step = int(self.now)
        told = {**self._told, "cpu_s": step / 7, "pre_queue": step % 11}
        told["rates"] = {"in": 100 + step % 13 / 3, "out": 100 + step % 17 / 3}
        told["counters"] = {**told["counters"], "processed": 100 * step}
        spread = told["histograms"]["latency_s"]
        counts = [step * bucket for bucket in range(len(spread["counts"]))]
        told["histograms"] = {**told["histograms"], "latency_s": {**spread, "counts": counts}}
        return {name: Reading(told, None) for name in self.names}


def main() -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.history", description=__doc__)
    parser.add_argument("--hours", type=float, default=0.25)
    samples = round(parser.parse_args().hours * 3600 / SAMPLE_SECONDS)
    print(f"{_MODELS * _EACH} instances: {_memory(samples) / 1e6:.1f} MB after {samples:,} samples")
    fleet, history = _filled(samples)
    one = fleet.names[:_EACH]

    def model() -> dict[str, Any]:
        return {
            "tiers": history.combined(one),
            "latency": history.latency("model_0"),
            "load": str(reckon(history, one, _EACH)),
        }

    for path, answer in (("/api/history", history.recent), ("/api/history/NAME", model)):
        seconds, size = min(_timed(answer) for _ in range(_ANSWERS))
        print(f"{path}: {seconds * 1e3:.0f} ms of CPU, {size / 1e3:,.0f} kB")
    return 0


def _filled(samples: int) -> tuple[Fleet, History]:
    fleet = Fleet()
    history = History(fleet.readings, lambda: fleet.now)
    used = []
    for _ in range(samples):
        began = time.process_time()
        history.sample()
        used.append(time.process_time() - began)
        fleet.now += SAMPLE_SECONDS
    print(f"a sample: {sum(used) / len(used) * 1e3:.1f} ms of CPU every {SAMPLE_SECONDS} s")
    return fleet, history


def _memory(samples: int) -> int:
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    fleet = Fleet()
    history = History(fleet.readings, lambda: fleet.now)
    for _ in range(samples):
        history.sample()
        fleet.now += SAMPLE_SECONDS
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return after - before


def _timed(answer: Callable[[], dict[str, Any]]) -> tuple[float, int]:
    began = time.process_time()
    size = len(json.dumps(answer(), separators=(",", ":")))
    return time.process_time() - began, size


if __name__ == "__main__":
    sys.exit(main())
