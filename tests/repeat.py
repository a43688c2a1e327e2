"""Runs a suite again and again, each time in another order: rare failures show.

    repeat.py SUITE COUNT [--load]

SUITE is a target of the Makefile, with or without its `test-`. With --load, busy loops take every
core meanwhile. What a run says is kept in build/repeat.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOGS = ROOT / "build" / "repeat"
SHORT = {name: f"test-{name}" for name in ("hosts", "system", "openrc", "container")}
MOST_SEED = 10**6
_BUSY = """
import os, sys, time
parent, until = int(sys.argv[1]), time.monotonic() + float(sys.argv[2])
while os.getppid() == parent and time.monotonic() < until:
    for _ in range(1_000_000):
        pass
"""
_MOST_SECONDS = 3600.0


@contextmanager
def busy_cores() -> Iterator[None]:
    """A loop for each core; they end with this process, or after an hour, whatever happens."""
    command = [sys.executable, "-c", _BUSY, str(os.getpid()), str(_MOST_SECONDS)]
    loops = [subprocess.Popen(command) for _ in range(os.cpu_count() or 1)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


@contextmanager
def idle_cores() -> Iterator[None]:
    yield


def run(suite: str, seed: int, log: Path) -> bool:
    order = f"--random-order --random-order-seed={seed}"
    options = f"{os.environ.get('PYTEST_ADDOPTS', '')} {order}".strip()
    with log.open("wb") as file:
        done = subprocess.run(
            ["make", "-C", str(ROOT), SHORT.get(suite, suite)],
            env={**os.environ, "PYTEST_ADDOPTS": options},
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            check=False,
        )
    return done.returncode == 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("suite")
    parser.add_argument("count", type=int)
    parser.add_argument("--load", action="store_true", help="busy loops on every core meanwhile")
    options = parser.parse_args()
    LOGS.mkdir(parents=True, exist_ok=True)
    failed = 0
    for number in range(1, options.count + 1):
        seed = random.SystemRandom().randrange(MOST_SEED)
        log = LOGS / f"{options.suite}-{number}.log"
        began = time.monotonic()
        with busy_cores() if options.load else idle_cores():
            well = run(options.suite, seed, log)
        took = time.monotonic() - began
        ended = "passed" if well else f"FAILED, see {log}"
        beside = ", beside busy loops" if options.load else ""
        print(
            f"{options.suite} {number} of {options.count}, order {seed}{beside}: "
            f"{ended} ({took:.0f} s)",
            flush=True,
        )
        if not well:
            failed += 1
            said = log.read_text(errors="replace")
            print(*re.findall(r"^(?:FAILED|ERROR) .*", said, re.MULTILINE), sep="\n", flush=True)
    print(f"{options.suite}: {options.count - failed} of {options.count} runs passed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
