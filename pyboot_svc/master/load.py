"""How many instances a model's input needs, reckoned from figures of the last minute.

As `pyboot bench` reckons it from a measurement, and with less to go by: of a worker at work it is
known how much CPU time its messages take and, while messages wait for it, how many it can do.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pyboot_svc.master.history import History, mean

# What an instance is given to do, of what it could: the rest takes bursts and catches up.
USABLE = 0.7
# With fewer messages than these in a minute, the time of one is not known.
_FEWEST = 10


@dataclass(frozen=True)
class Load:
    """`message_ms` is what one message takes of an instance. It is `measured` by the rate of those
    for whom messages wait; by CPU time otherwise, and then it is the least: what a model waits for
    is not in it."""

    message_ms: float
    measured: bool
    arriving: float
    needed: int
    running: int

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def reckon(history: History, instances: Sequence[str], running: int) -> Load | None:
    """None where too little went through to say. `running` is how many of them there are."""

    def average(instance: str, name: str) -> float:
        found = history.lately(instance, name)
        return mean(found) if found else 0.0

    done = {name: average(name, "done") for name in instances}
    arriving = sum(average(name, "in") for name in instances)
    if sum(done.values()) * 60 < _FEWEST:
        return None
    # One that always had something to do does as much as it can.
    full = [name for name in instances if done[name] and _never_idle(history, name)]
    if full:
        seconds = len(full) / sum(done[name] for name in full)
    else:
        seconds = sum(average(name, "cpu") for name in instances) / sum(done.values())
    needed = max(math.ceil(arriving * seconds / USABLE), 1)
    return Load(seconds * 1000, bool(full), arriving, needed, running)


def _never_idle(history: History, instance: str) -> bool:
    waiting = history.lately(instance, "pre_queue")
    return len(waiting) > 1 and min(waiting) > 0
