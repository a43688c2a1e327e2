"""Many messages through one worker, at a steady lead: does it grow? Prints its figures.

    PYTHONPATH=tests python -m chaos.soak [--messages N] [--threads N]

Exit code 1: a message was lost, memory grew by more than 5 % from the first to the last tenth, or
descriptors grew.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from paho.mqtt.client import Client, MQTTMessage
from support.poll import until

from chaos.counted import At, Collector
from chaos.rig import Rig

_SAMPLES = 200
_MOST_GROWTH = 0.05
_LEAD = 1000


class Tallying(Collector):
    """Counts how often each number arrives, and keeps nothing else."""

    def __init__(self, name: str, at: At, *topics: str) -> None:
        self.times: dict[int, int] = {}
        super().__init__(name, at, *topics)

    @property
    def distinct(self) -> int:
        return len(self.times)

    def _on_message(self, client: Client, userdata: Any, message: MQTTMessage) -> None:
        number = json.loads(message.payload)["n"]
        self.times[number] = self.times.get(number, 0) + 1


class Samples:
    """Resident memory and open descriptors of a process, over the run."""

    def __init__(self, pid: int) -> None:
        self._process = Path(f"/proc/{pid}")
        self.rss: list[int] = []
        self.descriptors: list[int] = []

    def take(self) -> None:
        pages = int((self._process / "statm").read_text().split()[1])
        self.rss.append(pages * os.sysconf("SC_PAGE_SIZE"))
        self.descriptors.append(len(list((self._process / "fd").iterdir())))

    def tenths(self, values: list[int]) -> tuple[float, float]:
        """The medians of the first and of the last tenth."""
        part = max(len(values) // 10, 1)
        return statistics.median(values[:part]), statistics.median(values[-part:])


def soak(messages: int, threads: int) -> bool:
    with tempfile.TemporaryDirectory(prefix="pyboot-soak-") as folder, ExitStack() as stack:
        rig = Rig(Path(folder) / "rig", stack, random.Random(0), "same", threads=threads)
        rig.make_collector = Tallying
        rig.start()
        samples = Samples(rig.worker.pid)
        began = time.monotonic()
        rig.flow(messages, lead=_LEAD)
        for step in range(1, _SAMPLES + 1):
            rig.wait_distinct(messages * step // _SAMPLES, timeout=600)
            samples.take()
        seconds = time.monotonic() - began
        rig.feed.finish()
        until(lambda: rig.figures().get("unacknowledged") == 0, "all is acknowledged")
        row = rig.figures()
        collector = rig.collector
        assert isinstance(collector, Tallying)
        return _report(messages, seconds, collector.times, samples, row)


def _report(
    messages: int, seconds: float, times: dict[int, int], samples: Samples, row: dict[str, Any]
) -> bool:
    lost = messages - len(times)
    first, last = samples.tenths(samples.rss)
    first_open, last_open = samples.tenths(samples.descriptors)
    growth = last / first - 1
    print(f"messages     {messages}, {lost} lost, {sum(times.values()) - len(times)} duplicates")
    print(f"time         {seconds:.0f} s, {messages / seconds:.0f} messages/s, qos 1 to qos 1")
    print(f"RSS          {first / 2**20:.1f} MiB in the first tenth, {last / 2**20:.1f} MiB in")
    print(f"             the last ({growth:+.1%}), at most {max(samples.rss) / 2**20:.1f} MiB")
    print(f"descriptors  {first_open:.0f} in the first tenth, {last_open:.0f} in the last")
    print(f"CPU          {row['cpu_s'] / messages * 1e6:.0f} us a message in the worker")
    return lost == 0 and growth <= _MOST_GROWTH and last_open <= first_open


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--messages", type=int, default=1_000_000)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    return 0 if soak(options.messages, options.threads) else 1


if __name__ == "__main__":
    sys.exit(main())
