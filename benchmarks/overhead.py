"""What metrics, watchdog, title and crash journal cost together, as a share of a worker's CPU.

The worker runs as under systemd and a master that is scraped each second: somebody takes its signs
of life, and asks it.
"""

from __future__ import annotations

import json
import selectors
import socket
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.contest import Invalid, Trial, run
from benchmarks.contestants import BULK, Launch, Pyboot
from benchmarks.goals import Goal, at_most
from benchmarks.growth import Row
from benchmarks.toolbox import HERE, Toolbox

_ASK = b"?\n"
_ASK_SECONDS = 1.0
_WATCHDOG_SECONDS = 30
# A trial has its warm-up, and an end without messages: phases of full rate are what counts.
_FULL_SHARE = 0.5
_FEWEST_PAIRS = 10
_LIMIT = 0.03
# Of a normal distribution: how wide its middle half is, and how much wider medians scatter.
_MIDDLE_HALF, _OF_MEDIANS = 1.35, 1.25


@dataclass(frozen=True)
class Phase:
    """Of a worker, a moment: CPU time in ns, of that what is seldom, messages."""

    cpu: int
    seldom: int
    messages: int

    @property
    def each(self) -> float:
        """CPU time in µs a message."""
        return self.cpu / self.messages / 1e3


Pair = tuple[Phase, Phase]  # as it is, and without


@dataclass(frozen=True)
class Overhead:
    """CPU in µs a message as it is, and of that what is seldom; `share` of it, ± its `error`."""

    cpu: float
    seldom: float
    share: float
    error: float


def overhead(tools: Toolbox, rounds: int, seconds: float) -> tuple[list[Row], list[Goal]]:
    """At full rate against the stub broker and through mosquitto, in turns."""
    trials = {
        "stub, identity, QoS 0": Trial("identity", 0, stub=True, seconds=seconds, window=5000),
        "stub, identity, QoS 1": Trial("identity", 1, stub=True, seconds=seconds),
        "identity, QoS 1": Trial("identity", 1, seconds=seconds),
    }
    pairs: dict[str, list[Pair]] = {name: [] for name in trials}
    for _ in range(rounds):
        for name, trial in trials.items():
            pairs[name] += measure(trial, tools)
    found = {name: evaluate(of_trial) for name, of_trial in pairs.items()}
    what = "metrics, watchdog, title and crash journal"
    rows = [
        Row(
            f"{name}: {what}",
            f"{100 * one.share:.1f} ± {100 * one.error:.1f} % of {one.cpu:.2f} µs a message; "
            f"of that what is done once a second {1e3 * one.seldom:.0f} ns",
        )
        for name, one in found.items()
    ]
    return rows, [
        at_most(f"{name}: {what}, of the CPU", 100 * _LIMIT, 100 * one.share, "%")
        for name, one in found.items()
    ]


def measure(trial: Trial, tools: Toolbox) -> list[Pair]:
    """The pairs of one worker at full rate; raises Invalid."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        with _host(folder):
            run(_Switched(BULK.name, "", folder=folder), trial, tools, folder)
        lines = (folder / "phases").read_text().splitlines()
    known = (json.loads(line) for line in lines)
    return at_full_rate([(Phase(*on), Phase(*off)) for on, off in known])


def at_full_rate(pairs: Sequence[Pair]) -> list[Pair]:
    """Raises Invalid when there are too few to say anything."""
    counts = [phase.messages for pair in pairs for phase in pair if phase.messages]
    least = _FULL_SHARE * statistics.median(counts) if counts else 0
    full = [pair for pair in pairs if min(phase.messages for phase in pair) > least]
    if len(full) < _FEWEST_PAIRS:
        raise Invalid(f"the worker was at full rate for {len(full)} pairs of phases only")
    return full


def evaluate(pairs: Sequence[Pair]) -> Overhead:
    """The median of the pairs' ratios, since the machine may have other work for a while.

    `seldom`, which goes on in every phase, is the mean of all, since it comes in spikes.
    """
    phases = [phase for pair in pairs for phase in pair]
    cpu = statistics.median(on.each for on, _ in pairs)
    seldom = sum(phase.seldom for phase in phases) / sum(phase.messages for phase in phases) / 1e3
    saved = [1 - off.each / on.each for on, off in pairs]
    low, middle, high = statistics.quantiles(saved, n=4)
    error = _OF_MEDIANS * (high - low) / _MIDDLE_HALF / len(pairs) ** 0.5
    return Overhead(cpu, seldom, middle + seldom / cpu, error)


@dataclass(frozen=True)
class _Switched(Pyboot):
    """The worker in the hands of switched.py."""

    folder: Path = Path()

    def command(self, launch: Launch, folder: Path, tools: Toolbox) -> list[str]:
        _, _, _, _, *arguments = super().command(launch, folder, tools)
        script = str(HERE / "switched.py")
        return [sys.executable, "-P", script, str(folder / "phases"), *arguments]

    def environment(self, tools: Toolbox) -> dict[str, str]:
        return {
            **super().environment(tools),
            "NOTIFY_SOCKET": str(self.folder / "notify.sock"),
            "WATCHDOG_USEC": str(_WATCHDOG_SECONDS * 1_000_000),
        }


@contextmanager
def _host(run_dir: Path) -> Iterator[None]:
    """A service manager that listens, and a master that asks, until the end."""
    over = threading.Event()
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notices,
        socket.socket(socket.AF_UNIX) as master,
    ):
        notices.bind(str(run_dir / "notify.sock"))
        master.bind(str(run_dir / "metrics.sock"))
        master.listen()
        thread = threading.Thread(target=_attend, args=[notices, master, over])
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


def _attend(notices: socket.socket, master: socket.socket, over: threading.Event) -> None:
    workers: list[socket.socket] = []
    next_ask = time.monotonic()
    with selectors.DefaultSelector() as selector:
        selector.register(notices, selectors.EVENT_READ, notices.recv)
        selector.register(master, selectors.EVENT_READ)
        while not over.is_set():
            for key, _ in selector.select(_ASK_SECONDS / 10):
                if key.fileobj is master:
                    workers.append(master.accept()[0])
                    selector.register(workers[-1], selectors.EVENT_READ, workers[-1].recv)
                elif not _received(key.data):
                    selector.unregister(key.fileobj)
            if time.monotonic() >= next_ask:
                next_ask += _ASK_SECONDS
                _ask(workers)
    for worker in workers:
        worker.close()


def _received(receive: Callable[[int], bytes]) -> bytes:
    try:
        return receive(65536)
    except OSError:
        return b""  # a worker that is gone


def _ask(workers: Sequence[socket.socket]) -> None:
    for worker in workers:
        try:
            worker.sendall(_ASK)
        except OSError:
            pass  # it is gone
