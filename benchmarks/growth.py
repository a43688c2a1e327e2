"""How cost and rate go with instances, threads, devices, and a backlog."""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.poll import until

from benchmarks.contest import (
    Figures,
    Invalid,
    Trial,
    broker,
    ended,
    figures,
    load,
    rss_mb,
    run,
)
from benchmarks.contestants import BULK, Launch, Pyboot
from benchmarks.goals import Goal, at_least, at_most
from benchmarks.toolbox import Toolbox, pyboot

_READY_SECONDS = 120
_SAMPLE_SECONDS = 0.2


@dataclass(frozen=True)
class Row:
    """One line of the page's table."""

    what: str
    figure: str


def scaling(tools: Toolbox, seconds: float) -> tuple[list[Row], list[Goal]]:
    """Two instances with a model of 1 ms CPU; eight threads with one that waits 10 ms."""
    busy = Pyboot("busy", "", model="slow.busy")
    one, two = (many(busy, count, Trial("identity", 1, seconds=seconds), tools) for count in (1, 2))
    waits = [
        run(
            Pyboot("waits", "", {"threads": threads}, model="slow.waits"),
            Trial("identity", 1, seconds=seconds, window=64),
            tools,
        )
        for threads in (1, 8)
    ]
    rows = [
        Row("a model of 1 ms CPU, 1 and 2 instances", f"{one.rate:.0f} and {two.rate:.0f}/s"),
        Row(
            "a model that waits 10 ms, 1 and 8 threads",
            f"{waits[0].rate:.0f} and {waits[1].rate:.0f}/s",
        ),
    ]
    goals = [
        at_least("two instances, a model of 1 ms: rate, of one's", 1.9, two.rate / one.rate),
        at_least(
            "8 threads, a model that waits 10 ms: rate, of one's",
            7.5,
            waits[1].rate / waits[0].rate,
        ),
    ]
    return rows, goals


def instances(
    tools: Toolbox, counts: Sequence[int], seconds: float
) -> tuple[list[Row], list[Goal]]:
    """CPU a message at the same rate for each instance: 50 messages a second."""
    measured = {
        count: many(BULK, count, Trial("compute", 1, seconds=seconds, rate=50 * count), tools)
        for count in counts
    }
    first = measured[counts[0]].cpu
    return [
        Row(f"CPU a message, {count} instances, 50 messages a second each", f"{one.cpu:.1f} µs")
        for count, one in measured.items()
    ], [
        at_most(
            f"CPU a message with {count} instances, of one's", 1.15, measured[count].cpu / first
        )
        for count in counts[1:]
    ]


def devices(
    tools: Toolbox, counts: Sequence[int], rounds: int, seconds: float
) -> tuple[list[Row], list[Goal]]:
    """CPU a message with so many topics in the stream, in turns."""
    found: dict[int, list[float]] = {count: [] for count in counts}
    for _ in range(rounds):
        for count in counts:
            trial = Trial("compute", 1, seconds=seconds, topics=count)
            found[count].append(run(BULK, trial, tools).cpu)
    middle = {count: sorted(values)[len(values) // 2] for count, values in found.items()}
    first = middle[counts[0]]
    return [
        Row(f"CPU a message, {count:,} devices", f"{cpu:.1f} µs") for count, cpu in middle.items()
    ], [
        at_most(f"CPU a message with {count:,} devices, of one's", 1.15, middle[count] / first)
        for count in counts[1:]
    ]


def backlog(tools: Toolbox, count: int) -> tuple[list[Row], list[Goal]]:
    """So many messages wait in the broker while the worker is away; then it works them off."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name, broker(Path(name)) as where:
        folder, port = Path(name), where[0]
        command = BULK.command(Launch(port, 1, "compute"), folder, tools)
        with worker_ready(command, folder / "first.log"):
            pass  # now the broker knows its session
        options = ["--port", str(port), "--qos", "1", "--work", "compute", "--count", str(count)]
        subprocess.run([tools.load, "publish", *options], check=True, stdout=subprocess.DEVNULL)
        with (
            subprocess.Popen(
                [tools.load, "collect", *options], stdout=subprocess.PIPE, text=True
            ) as collector,
            ended(collector),
        ):
            assert collector.stdout is not None
            collector.stdout.readline()
            started = time.monotonic()
            with worker_ready(command, folder / "second.log") as worker:
                samples = []
                while collector.poll() is None:
                    samples.append(rss_mb(worker.pid))
                    time.sleep(_SAMPLE_SECONDS)
                    if time.monotonic() > started + 600:
                        raise Invalid("the backlog is not worked off within 600 s")
            said = json.loads(collector.stdout.read())
    if said["lost"] or said["bad"]:
        raise Invalid(f"the backlog: {said['lost']} lost, {said['bad']} wrong")
    rate = count / (time.monotonic() - started)
    tenth = samples[len(samples) // 10]
    text = f"{tenth:.1f} MB after a tenth, at most {max(samples):.1f} MB; {rate:.0f}/s"
    return [Row(f"RSS of the worker, {count:,} messages wait in the broker", text)], [
        at_most("a backlog in the broker: RSS rises by", 2, max(samples) - tenth, "MB")
    ]


def many(contestant: Pyboot, count: int, trial: Trial, tools: Toolbox) -> Figures:
    """`count` instances that share the input; CPU is that of all, RSS that of one."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name, ExitStack() as stack:
        folder = Path(name)
        port, broker_pid = stack.enter_context(broker(folder))
        contestant.compile(Launch(port, trial.qos, trial.work), folder, count)
        started = [_launch(folder, number, stack) for number in range(1, count + 1)]
        for number in range(1, count + 1):
            _await_ready(folder / f"{number}.log")
        pids = [broker_pid, *(process.pid for process in started)]
        return figures(load(tools, port, trial.options(), pids, trial.seconds + 60))


def _launch(folder: Path, number: int, stack: ExitStack) -> subprocess.Popen[str]:
    folders = ["--run-dir", str(folder), "--state-dir", str(folder / "state")]
    command = [*pyboot(), "worker", f"bench-{number}", *folders]
    with (folder / f"{number}.log").open("w") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=log, text=True)
    return stack.enter_context(ended(process))


@contextmanager
def worker_ready(command: Sequence[str], log: Path) -> Iterator[subprocess.Popen[str]]:
    """A worker that has subscribed."""
    with log.open("w") as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=output, text=True)
    with ended(process):
        _await_ready(log)
        yield process


def _await_ready(log: Path) -> None:
    until(lambda: "subscribed" in log.read_text(errors="replace"), "ready", _READY_SECONDS)


def as_rows(rows: Sequence[Row]) -> list[dict[str, Any]]:
    return [{"what": row.what, "figure": row.figure} for row in rows]
