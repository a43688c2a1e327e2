"""Makes the pictures of the page for the documentation: PNG files in the folder that is named.

All instances are simulated, so that each picture shows what it is there for; five minutes of them.
"""

from __future__ import annotations

import sys
import tempfile
import time
from bisect import bisect_left
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from support.app import Up
from support.chromium import Chromium
from support.simulated import Simulated

from pyboot_svc.metrics.snapshot import LATENCY_BOUNDS

CONFIG = """\
app_name: Plant 7
description: temperatures, vibration and alarms
defaults: {pre_broker: plant.example, post_broker: office.example}
edge:
  - {name: temperature, instance: 2, edge_mode: my.mean, pre_topic: plant/temperature/+, post_topic: mean/temperature}
  - {name: alarm, edge_mode: my.alarm, pre_topic: plant/temperature/+, post_topic: alarm}
  - {name: vibration, edge_mode: my.spectrum, pre_topic: plant/vibration/+, post_topic: vibration}
"""  # noqa: E501
INSTANCES = ("temperature-1", "temperature-2", "alarm-1", "vibration-1")
_SECONDS = 300.0
_GROWS_AFTER = 200.0
_WIDTH = 1280


class Day:
    """What the instances say, by how long it goes on: vibration gets more than it can do."""

    def __init__(self, workers: Simulated) -> None:
        self._workers = workers
        self._begun = time.monotonic()
        self._spreads: dict[str, tuple[list[int], int]] = {}

    def go_on(self, seconds: float) -> None:
        begun = time.monotonic()
        while time.monotonic() - begun < seconds:
            self._turn()
            time.sleep(0.2)

    def _turn(self) -> None:
        seconds = time.monotonic() - self._begun
        waits = int(max(seconds - _GROWS_AFTER, 0) * 60)
        wave = 10 * (seconds % 11) / 11
        self._say("temperature-1", 95 + wave, 95 + wave, seconds, 0.5)
        self._say("temperature-2", 105 - wave, 105 - wave, seconds, 0.5)
        self._say("alarm-1", 200, 0.4, seconds, 0.3)
        arriving = 300 if waits else 210
        self._say("vibration-1", arriving, min(arriving, 240), seconds, 4.1, waits)

    def _say(
        self, name: str, arriving: float, out: float, seconds: float, cost: float, waits: int = 0
    ) -> None:
        done = int(seconds * min(round(arriving, -2), 240))
        latency = {"p50": cost + waits / 240, "p99": 3 * cost + 1000 * waits / 240}
        changes: dict[str, Any] = {
            "rates": {"in": round(arriving, 1), "out": round(out, 1)},
            "pre_queue": waits,
            "latency_ms": latency,
            "histograms": {"latency_s": self._spread(name, done, latency)},
            "cpu_s": done * cost / 1000,
            "counters": {"received": done, "processed": done},
        }
        self._workers.changes[name] = changes

    def _spread(self, name: str, done: int, latency: dict[str, float]) -> dict[str, Any]:
        """Of the messages since the last time, four of five took p50, and few as long as p99."""
        counts, before = self._spreads.setdefault(name, ([0] * (len(LATENCY_BOUNDS) + 1), 0))
        new = max(done - before, 0)
        for factor, share in ((1.0, 0.8), (2.0, 0.17), (4.0, 0.03)):
            bucket = bisect_left(LATENCY_BOUNDS, latency["p50"] * factor / 1000)
            counts[bucket] += round(new * share)
        self._spreads[name] = counts, before + new
        return {"counts": [*counts], "sum": 0.0}


def shoot(browser: Chromium, file: Path, height: int) -> None:
    browser.size(_WIDTH, height)
    browser.run("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    browser.screenshot(file)
    print(f"{file}: {file.stat().st_size // 1000} kB")


def main(folder: Path) -> None:
    with ExitStack() as stack:
        own = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        config = own / "config.yaml"
        config.write_text(CONFIG)
        more = ("--run-dir", str(own / "run"))
        master = Up(own, config, *more, command="master", ready=False)
        stack.callback(master.close)
        workers = Simulated(own / "run" / "metrics.sock", INSTANCES)
        stack.callback(workers.close)
        browser = Chromium(own)
        stack.callback(browser.close)
        day = Day(workers)
        browser.size(_WIDTH, 600)
        browser.open(master.url + "/")
        day.go_on(_SECONDS)
        browser.wait_text("vibration-1", ".troubles")
        shoot(browser, folder / "page.png", 590)
        for view, name, height in (
            ("#/model/vibration", "page-model.png", 1100),
            ("#/instances", "page-instances.png", 420),
        ):
            browser.open(f"{master.url}/{view}")
            browser.wait("document.querySelector('path.line[d^=M]') !== null", "lines are drawn")
            day.go_on(6)  # CPU is known from the second answer on
            shoot(browser, folder / name, height)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
