"""`make fuzz`: all targets in turn, each with new inputs; what one finds is kept in the corpus.

python -m fuzz.campaign SECONDS [TARGET…]

A process for each target, so that one that crashes or grows ends no other.
"""

from __future__ import annotations

import hashlib
import resource
import subprocess
import sys
import time
from collections.abc import Sequence

from fuzz.mutation import Mutator
from fuzz.target import Target
from fuzz.targets import TARGETS

# What a target may take: inputs are small, and what is made of them is bounded.
MOST_MEMORY = 4 * 1024**3
# Starts up, and ends, beside its time.
SPARE_SECONDS = 120.0


def main(arguments: Sequence[str]) -> int:
    if arguments[:1] == ["--one"]:
        _try_one(TARGETS[arguments[1]], float(arguments[2]))
        return 0
    names = list(arguments[1:]) or list(TARGETS)
    each = float(arguments[0]) / len(names)
    failed = [name for name in names if not _in_a_process(name, each)]
    print(f"found something: {', '.join(failed)}" if failed else "found nothing")
    return len(failed) > 0


def _in_a_process(name: str, seconds: float) -> bool:
    print(f"{name}: {seconds:.0f} s", flush=True)
    command = [sys.executable, "-m", "fuzz.campaign", "--one", name, str(seconds)]
    return subprocess.run(command, timeout=seconds + SPARE_SECONDS, check=False).returncode == 0


def _try_one(target: Target, seconds: float) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, MOST_MEMORY))
    seed = time.time_ns()
    print(f"{target.name}: seed {seed}", flush=True)
    end, tried = time.monotonic() + seconds, 0
    for data in Mutator(target.seeds(), target.tokens, seed).inputs():
        if time.monotonic() > end:
            break
        _attempt(target, data)
        tried += 1
    print(f"{target.name}: {tried} inputs", flush=True)


def _attempt(target: Target, data: bytes) -> None:
    try:
        target.attempt(data)
    except BaseException:
        name = hashlib.sha256(data).hexdigest()[:16]
        target.folder.mkdir(parents=True, exist_ok=True)
        (target.folder / name).write_bytes(data)
        print(f"{target.name}: kept as {target.folder / name}", flush=True)
        raise


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
