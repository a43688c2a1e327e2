"""How fast the spool empties once the post broker is back, alone and beside live input.

Prints a Markdown table; medians of several runs. Run it by `make spool`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.app import Up
from support.broker import Broker
from support.client import Plant
from support.poll import until

# 20 in flight are mosquitto's own default, and what many brokers allow.
_BROKER = "listener {port} 127.0.0.1\nallow_anonymous true\nmax_inflight_messages 20\n"
_LIVE_RATE = 3000
_PATIENCE_SECONDS = 180.0
_BURST_SECONDS = 0.02
_MODEL = "def same(payload):\n    return payload\n"


@dataclass(frozen=True)
class Case:
    """`live`: messages a second that come in meanwhile."""

    threads: int
    live: int


@dataclass(frozen=True)
class Drain:
    """Rows that left the spool, those that joined it meanwhile included, in so many seconds."""

    rows: int
    seconds: float

    @property
    def rate(self) -> float:
        return self.rows / self.seconds


_CASES = [Case(threads, live) for threads in (1, 2) for live in (0, _LIVE_RATE)]


def main() -> None:
    options = _options()
    print(
        f"| threads | live input, msg/s | {options.rows} spooled are gone after | drained, msg/s |"
    )
    print("|---|---|---|---|")
    for case in _CASES:
        drains = [measure(case, options.rows) for _ in range(options.runs)]
        seconds = statistics.median(drain.seconds for drain in drains)
        rate = statistics.median(drain.rate for drain in drains)
        print(
            f"| {case.threads} | {case.live or '–'} | {seconds:.1f} s | {rate:,.0f} |", flush=True
        )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks.spool", description=__doc__)
    parser.add_argument("--rows", type=int, default=20_000, help="how many are spooled before")
    parser.add_argument("--runs", type=int, default=3)
    return parser.parse_args()


def measure(case: Case, rows: int) -> Drain:
    """Spool `rows` results while the post broker is away, then have it come back."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        pre, post = Broker(folder / "pre", _BROKER), Broker(folder / "post", _BROKER)
        pre.start()
        stack.callback(pre.stop)
        up = Up(folder / "up", _write_config(folder, pre, post, case), ready=False)
        stack.callback(up.close)
        stack.callback(post.stop)
        plant = stack.enter_context(Plant(pre.port))

        def figures() -> dict[str, Any]:
            return up.instance("same-1")

        up.wait_log("subscribed to")
        plant.publish_all("spool/in", list(range(rows)), 1)
        until(lambda: figures()["spooled"] == rows, f"{rows} are spooled", _PATIENCE_SECONDS)
        if case.live:
            stack.enter_context(_live(plant, case.live))
        post.start()
        until(lambda: figures()["spooled"] < rows // 1.01, "it drains", _PATIENCE_SECONDS)
        began, first = time.monotonic(), figures()
        until(lambda: figures()["spooled"] == 0, "it is empty", _PATIENCE_SECONDS)
        after = figures()["counters"]
        left = first["spooled"] + after["spooled"] - first["counters"]["spooled"]
        return Drain(left, time.monotonic() - began)


@contextmanager
def _live(plant: Plant, rate: int) -> Iterator[None]:
    """Meanwhile messages come in at that rate."""
    stop = threading.Event()

    def publish() -> None:
        number, began = 0, time.monotonic()
        while not stop.wait(_BURST_SECONDS):
            due = int((time.monotonic() - began) * rate)
            plant.publish_soon("spool/in", list(range(number, due)), 1)
            number = due

    thread = threading.Thread(target=publish)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _write_config(folder: Path, pre: Broker, post: Broker, case: Case) -> Path:
    (folder / "spool_model.py").write_text(_MODEL)
    edge = {
        "name": "same",
        "edge_mode": "spool_model.same",
        "pre_broker": "127.0.0.1",
        "pre_port": pre.port,
        "pre_topic": "spool/in",
        "pre_qos": 1,
        "post_broker": "127.0.0.1",
        "post_port": post.port,
        "post_topic": "spool/out",
        "post_qos": 1,
        "threads": case.threads,
    }
    config = folder / "config.yaml"
    config.write_text(json.dumps({"model_path": ".", "edge": [edge]}))
    return config


if __name__ == "__main__":
    main()
