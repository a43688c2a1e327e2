"""`pyboot worker` that does without what watches it, in turns: what does that cost?

    python switched.py REPORT worker NAME-N …

Stats (metrics), ledger and heartbeats (watchdog) are called for each batch: they are switched off
and on for a moment each, in the same process, so that nothing else differs. The rest, a tick and
an answer to the master a second, with the title, is all that the control thread and the one of the
metrics socket do: their CPU time tells what it costs. Digests stay: results carry them, too.

REPORT gets a line of JSON for each pair of phases, first the one in which all was on: CPU time of
the process and that of the two threads in ns, and messages.
"""

from __future__ import annotations

import json
import random
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

_PHASE_SECONDS = 0.02
_SELDOM = {"control", "metrics"}


class Changed(Exception):
    """The worker has other parts than this program knows: it would measure something else."""


class Switch:
    """While `on` is false, what was `put` under it does its substitute's work, or none."""

    def __init__(self) -> None:
        self.on = True
        self.messages = 0

    def put(self, owner: type, silenced: Mapping[str, Callable[..., Any]], kept: set[str]) -> None:
        """Every public name of the class has to be known, so that a new one is not overlooked.

        Raises Changed.
        """
        known = {name for name in vars(owner) if not name.startswith("_")}
        if known != {*silenced, *kept}:
            differ = ", ".join(sorted(known ^ {*silenced, *kept}))
            raise Changed(f"{owner.__name__} has changed ({differ}): tell benchmarks/switched.py")
        for name, instead in silenced.items():
            self.replace(owner, name, instead)

    def replace(self, owner: type, name: str, instead: Callable[..., Any]) -> None:
        """Raises Changed."""
        real = vars(owner).get(name)
        if not callable(real):
            raise Changed(f"{owner.__name__}.{name} is gone: tell benchmarks/switched.py")

        def call(*args: Any, **kwargs: Any) -> Any:
            return (real if self.on else instead)(*args, **kwargs)

        setattr(owner, name, call)

    def alternate(self, report: Path) -> None:
        """For ever: a phase with and a phase without, in an order that follows no tick."""
        with report.open("w", buffering=1) as file:
            while True:
                threads = [one for one in threading.enumerate() if one.name in _SELDOM]
                pair = {}
                for self.on in random.sample((True, False), 2):
                    cpu, seldom, count = time.process_time_ns(), _cpu(threads), self.messages
                    time.sleep(_PHASE_SECONDS)
                    spent = time.process_time_ns() - cpu, _cpu(threads) - seldom
                    pair[self.on] = (*spent, self.messages - count)
                if len(threads) == len(_SELDOM):
                    file.write(json.dumps([pair[True], pair[False]]) + "\n")


def install(switch: Switch) -> None:
    """Put all of it under the switch; raises Changed."""
    from pyboot_svc.worker.delivery.completion import Completion
    from pyboot_svc.worker.execution.crash_journal import CrashJournal
    from pyboot_svc.worker.heartbeat import Heartbeat
    from pyboot_svc.worker.stats import Stats

    counters = ("add", "add_errors", "published", "published_lone")
    switch.put(Stats, dict.fromkeys(counters, _nothing), {"count", "counters", "figures", "tick"})
    switch.put(Heartbeat, {"beat": _nothing, "rest": _nothing}, {"overdue"})
    # What is left of noting the message at hand is to note it in a list.
    notes: dict[str, Callable[..., Any]] = {
        "begin": _nothing,
        "end": _nothing,
        "cursor": _list_cursor,
    }
    switch.put(CrashJournal, notes, {"left_in_hand", "close", "die"})
    _count_published(Completion, switch)


def _nothing(*args: Any, **kwargs: Any) -> None:
    pass


def _list_cursor(*args: Any) -> tuple[list[int], int]:
    return [0], 0


def _count_published(completion: Any, switch: Switch) -> None:
    published, published_at_once = completion.published, completion.published_at_once

    def count(self: Any, some: list[Any]) -> None:
        switch.messages += sum(map(len, some))
        published(self, some)

    def count_one(self: Any, chunk: Any) -> None:
        switch.messages += 1
        published_at_once(self, chunk)

    completion.published, completion.published_at_once = count, count_one


def _cpu(threads: list[threading.Thread]) -> int:
    clocks = [time.pthread_getcpuclockid(thread.ident) for thread in threads if thread.ident]
    return sum(map(time.clock_gettime_ns, clocks))


def main() -> int:
    from pyboot_svc.cli import main as pyboot

    switch = Switch()
    install(switch)
    report = Path(sys.argv.pop(1))
    threading.Thread(target=switch.alternate, args=[report], daemon=True).start()
    return pyboot()


if __name__ == "__main__":
    sys.exit(main())
