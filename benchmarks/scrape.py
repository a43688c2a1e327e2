"""`make bench-scrape`: what it takes the master to answer /metrics.

The time from the request to the last byte, and the master's CPU time, of the best of a few; the
instances are one program that tells a real worker's figures under many names.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from support.app import Up
from support.snapshots import process, traffic

from benchmarks.contest import cpu_seconds, ended
from benchmarks.contestants import BULK, Launch
from pyboot_svc.metrics.snapshot import Snapshot

_SCRAPES = 10


def main() -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.scrape", description=__doc__)
    parser.add_argument("instances", nargs="?", type=int, default=1000)
    count = parser.parse_args().instances
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        config = BULK.write_config(Launch(1883, 1, "compute"), folder, count)
        run_dir = ["--run-dir", str(folder)]
        master = Up(folder / "master", config, *run_dir, command="master", ready=False)
        try:
            print(_measure(master, folder, count))
        finally:
            master.close()
    return 0


def _measure(master: Up, folder: Path, count: int) -> str:
    command = [sys.executable, "-m", "benchmarks.fleet", str(folder), str(count)]
    fakes = subprocess.Popen(command, stdin=subprocess.PIPE, text=True)
    with ended(fakes):
        assert fakes.stdin is not None
        told = Snapshot(process(), traffic(errors={"model": 1})).document()
        fakes.stdin.write(json.dumps(told) + "\n")
        fakes.stdin.flush()
        master.wait_ready(60)
        lasted, used = [], []
        for _ in range(_SCRAPES):
            before, began = cpu_seconds(master.pid), time.monotonic()
            _, text = master.get("/metrics")
            lasted.append(time.monotonic() - began)
            used.append(cpu_seconds(master.pid) - before)
    return (
        f"{count:,} instances, {text.count(chr(10)):,} lines, {len(text) / 1e6:.1f} MB: "
        f"{min(lasted) * 1e3:.0f} ms, {min(used) * 1e3:.0f} ms of CPU"
    )


if __name__ == "__main__":
    sys.exit(main())
