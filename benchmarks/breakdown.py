"""Where a worker's CPU time goes at full rate through mosquitto: `make breakdown`.

Three runs for each trial, since what watches a worker slows it down: CPU time and context switches
of one that nobody watches, system calls by strace, functions by py-spy. What is not installed, or
may not trace, leaves its lines out.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.contest import Trial, broker, cpu_seconds, ended, load
from benchmarks.contestants import BULK, Launch
from benchmarks.growth import worker_ready
from benchmarks.page import number, table
from benchmarks.toolbox import Toolbox, compile_programs

TRIALS = {
    **{f"identity, QoS {qos}": Trial("identity", qos, seconds=3.0) for qos in (0, 1)},
    "500 messages a second": Trial("identity", 0, seconds=3.0, rate=500),
}
_MOST_CALLS, _MOST_FUNCTIONS = 8, 12
_SAMPLES_A_SECOND = 500
_ATTACH_SECONDS = 20


@dataclass(frozen=True)
class Breakdown:
    """By the message: CPU in µs, switches, `calls` of the kernel; `functions` are shares of it."""

    user: float
    system: float
    waits: float
    preemptions: float
    rate: float
    broker_share: float
    calls: dict[str, float] = field(default_factory=dict)
    functions: dict[str, float] = field(default_factory=dict)


def breakdowns(tools: Toolbox) -> dict[str, Breakdown]:
    """Of each of TRIALS; raises Invalid."""
    return {name: _break_down(trial, tools) for name, trial in TRIALS.items()}


def breakdown_page(found: dict[str, Breakdown]) -> str:
    """Two tables."""
    lines: list[tuple[str, Callable[[Breakdown], float | None]]] = [
        ("CPU in user mode, µs", lambda one: one.user),
        ("CPU in the kernel, µs", lambda one: one.system),
        ("context switches, waiting", lambda one: one.waits),
        ("context switches, preempted", lambda one: one.preemptions),
        *((f"`{name}`", _call(name)) for name in _most(one.calls for one in found.values())),
        ("messages a second", lambda one: one.rate),
        ("mosquitto, % of a core", lambda one: 100 * one.broker_share),
    ]
    counts = table(
        ["a message", *found],
        [[what, *(number(figure(one)) for one in found.values())] for what, figure in lines],
    )
    return "\n\n".join([counts, _function_table(found)])


def _call(name: str) -> Callable[[Breakdown], float | None]:
    return lambda one: one.calls.get(name)


def _most(each: Iterator[dict[str, float]]) -> list[str]:
    total: Counter[str] = Counter()
    for calls in each:
        total.update(calls)
    return [name for name, _ in total.most_common(_MOST_CALLS)]


def _function_table(found: dict[str, Breakdown]) -> str:
    columns = [
        [
            f"`{name}` {100 * share:.1f} %"
            for name, share in Counter(one.functions).most_common(_MOST_FUNCTIONS)
        ]
        for one in found.values()
    ]
    longest = max(map(len, columns), default=0)
    padded = [column + [""] * (longest - len(column)) for column in columns]
    return table(
        [f"own time while it has the GIL, {name}" for name in found],
        list(zip(*padded, strict=True)),
    )


def _break_down(trial: Trial, tools: Toolbox) -> Breakdown:
    with _at_work(trial, tools) as at_work:
        before, broker_before = _read(at_work.pid), cpu_seconds(at_work.broker_pid)
        said = at_work.load()
        after, broker_after = _read(at_work.pid), cpu_seconds(at_work.broker_pid)
    user, system, waits, preemptions = (
        (end - start) / said["received"] for start, end in zip(before, after, strict=True)
    )
    tick = os.sysconf("SC_CLK_TCK")
    return Breakdown(
        user=user / tick * 1e6,
        system=system / tick * 1e6,
        waits=waits,
        preemptions=preemptions,
        rate=said["rate"],
        broker_share=(broker_after - broker_before) / (said["received"] / said["rate"]),
        calls=_system_calls(trial, tools),
        functions=_functions(trial, tools),
    )


@dataclass(frozen=True)
class _AtWork:
    """A worker that has subscribed, and what to load it with."""

    pid: int
    broker_pid: int
    folder: Path
    load: Callable[[], dict[str, float]]


@contextmanager
def _at_work(trial: Trial, tools: Toolbox) -> Iterator[_AtWork]:
    with tempfile.TemporaryDirectory(prefix="bench-") as name, broker(Path(name)) as where:
        folder, (port, broker_pid) = Path(name), where
        command = BULK.command(Launch(port, trial.qos, trial.work), folder, tools)
        with worker_ready(command, folder / "worker.log") as worker:
            yield _AtWork(
                worker.pid,
                broker_pid,
                folder,
                lambda: load(tools, port, trial.options(), [], trial.seconds + 60),
            )


def _read(pid: int) -> tuple[int, int, int, int]:
    """Ticks in user mode and in the kernel; switches of all threads, voluntary and not."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    waits = preemptions = 0
    for status in Path(f"/proc/{pid}/task").glob("*/status"):
        text = status.read_text()
        waits += int(re.findall(r"^voluntary_ctxt_switches:\s*(\d+)", text, re.M)[0])
        preemptions += int(re.findall(r"^nonvoluntary_ctxt_switches:\s*(\d+)", text, re.M)[0])
    return int(fields[11]), int(fields[12]), waits, preemptions


def _system_calls(trial: Trial, tools: Toolbox) -> dict[str, float]:
    """By name, by the message."""
    strace = shutil.which("strace")
    if strace is None:
        return {}
    with _at_work(trial, tools) as at_work:
        output = at_work.folder / "calls"
        command = [strace, "-c", "-f", "-U", "name,calls", "-o", str(output)]
        with _watched([*command, "-p", str(at_work.pid)], "attached"):
            said = at_work.load()
        return parse_calls(output.read_text(), said["received"])


def parse_calls(text: str, messages: float) -> dict[str, float]:
    """What strace -c -U name,calls has counted, by the message."""
    rows = re.findall(r"^(\w+)\s+(\d+)$", text, re.M)
    return {name: int(calls) / messages for name, calls in rows if name != "total"}


def _functions(trial: Trial, tools: Toolbox) -> dict[str, float]:
    """By name, their share of the samples in which they were the innermost."""
    place = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    py_spy = shutil.which("py-spy", path=place)
    if py_spy is None:
        return {}
    with _at_work(trial, tools) as at_work:
        output = at_work.folder / "stacks"
        command = [py_spy, "record", "--nonblocking", "--gil", "--function", "--format", "raw"]
        command += ["--rate", str(_SAMPLES_A_SECOND), "--duration", "600", "--output", str(output)]
        with _watched([*command, "--pid", str(at_work.pid)], "Sampling process"):
            at_work.load()
        return parse_stacks(output.read_text())


def parse_stacks(text: str) -> dict[str, float]:
    """Of py-spy's raw output, lines of `frame;…;frame count`, the innermost frame last."""
    own: Counter[str] = Counter()
    for line in text.splitlines():
        stack, _, count = line.rpartition(" ")
        function, _, file = stack.rpartition(";")[2].partition(" (")
        own[f"{Path(file.partition(':')[0]).stem}.{function}"] += int(count)
    return {name: count / own.total() for name, count in own.items()}


@contextmanager
def _watched(command: list[str], begun: str) -> Iterator[None]:
    """While `command` watches, until it is interrupted; without the right to, nothing is seen."""
    with (
        subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as watcher,
        ended(watcher),
    ):
        assert watcher.stdout is not None
        for line in watcher.stdout:
            if begun in line:
                break
        yield
        watcher.send_signal(signal.SIGINT)
        watcher.communicate(timeout=_ATTACH_SECONDS)


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.breakdown")
    parser.add_argument("--build", type=Path, default=Path("build/bench"))
    build = parser.parse_args().build.absolute()
    compile_programs(build, peer=False)
    print(breakdown_page(breakdowns(Toolbox(build, build, build))))


if __name__ == "__main__":
    main()
