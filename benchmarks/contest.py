"""One contestant, one work, one trial: its figures."""

from __future__ import annotations

import json
import resource
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.broker import Broker

from benchmarks.contestants import Contestant, Launch
from benchmarks.toolbox import Toolbox

# Nothing is dropped, nothing waits for Nagle, and nobody is held up by a small in-flight window.
BROKER_LINES = """listener {port} 127.0.0.1
allow_anonymous true
max_queued_messages 0
max_inflight_messages 1000
set_tcp_nodelay true
"""
# Of each message; load/payload.c makes them.
PAYLOAD_BYTES = 168
_GRACE_SECONDS = 60
_LOG = "worker.log"


class Invalid(Exception):
    """A trial that says nothing: something was lost or wrong, or a program failed."""


@dataclass(frozen=True)
class Trial:
    """What is asked: `rate` is messages a second, 0 for as fast as it goes.

    A loss makes it invalid, unless it is `lossy`.
    """

    work: str
    qos: int
    stub: bool = False
    seconds: float = 2.0
    warmup: float = 0.7
    rate: float = 0
    window: int = 1000
    topics: int = 1
    lossy: bool = False

    @property
    def limited_by_broker(self) -> bool:
        """Whether what the broker reaches without a worker says something about its rate."""
        return self.work == "identity" and not self.stub and not self.rate

    def options(self) -> list[str]:
        given = {
            "work": self.work,
            "qos": self.qos,
            "seconds": self.seconds,
            "warmup": self.warmup,
            "rate": self.rate,
            "window": self.window,
            "topics": self.topics,
            "lossy": int(self.lossy),
        }
        return [text for name, value in given.items() for text in (f"--{name}", str(value))]


@dataclass(frozen=True)
class Figures:
    """Of the worker: CPU in µs a message, messages a second, MB, µs; of the broker: its CPU.

    `uneven` is the share of the gaps between messages that were half as long again as they should.
    """

    cpu: float
    rate: float
    rss: float
    p50: float
    p99: float
    broker_cpu: float
    early_acks: int = 0
    duplicates: int = 0
    lost: int = 0
    uneven: float = 0


def run(
    contestant: Contestant, trial: Trial, tools: Toolbox, folder: Path | None = None
) -> Figures:
    """Measure; raises Invalid. All that was started is ended.

    What is written goes to `folder`, and is gone without one.
    """
    if folder is None:
        with tempfile.TemporaryDirectory(prefix="bench-") as name:
            return run(contestant, trial, tools, Path(name))
    if trial.stub:
        return _against_stub(contestant, trial, tools, folder)
    return _through_broker(contestant, trial, tools, folder)


def _through_broker(contestant: Contestant, trial: Trial, tools: Toolbox, folder: Path) -> Figures:
    with at_its_broker(contestant, trial, tools, folder) as measure:
        return measure()


@contextmanager
def at_its_broker(
    contestant: Contestant, trial: Trial, tools: Toolbox, folder: Path
) -> Iterator[Callable[[], Figures]]:
    """A worker that has started at a broker of its own, to be measured any number of times."""
    with broker(folder) as port_and_pid:
        port, broker_pid = port_and_pid
        launch = Launch(port, trial.qos, trial.work)
        with worker(contestant, launch, tools, folder) as process:
            pids = [broker_pid, process.pid]

            def measure() -> Figures:
                with explained_by(folder):
                    return figures(load(tools, port, trial.options(), pids, _limit(trial)))

            yield measure


def _against_stub(contestant: Contestant, trial: Trial, tools: Toolbox, folder: Path) -> Figures:
    with ended(
        subprocess.Popen(
            [tools.stub, *trial.options()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
    ) as stub:
        assert stub.stdout is not None
        port = int(stub.stdout.readline())
        launch = Launch(port, trial.qos, trial.work)
        with worker(contestant, launch, tools, folder) as process, explained_by(folder):
            said = _finish(stub, f"{process.pid}\n", _limit(trial))
    return figures({**said, "cpu_us": [0.0, *said["cpu_us"]], "rss_mb": [0.0, *said["rss_mb"]]})


def _limit(trial: Trial) -> float:
    return trial.seconds + trial.warmup + _GRACE_SECONDS


@contextmanager
def broker(folder: Path) -> Iterator[tuple[int, int]]:
    """A mosquitto of its own: its port and its pid."""
    started = Broker(folder / "broker", BROKER_LINES).start()
    try:
        yield started.port, started.pid
    finally:
        started.stop()


@contextmanager
def worker(
    contestant: Contestant, launch: Launch, tools: Toolbox, folder: Path
) -> Iterator[subprocess.Popen[str]]:
    try:
        command = contestant.command(launch, folder, tools)
    except Exception as error:
        raise Invalid(f"{contestant.name} can't be set up: {error}") from error
    with (folder / _LOG).open("w") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            text=True,
            env=contestant.environment(tools),
        )
    with ended(process):
        yield process


@contextmanager
def explained_by(folder: Path) -> Iterator[None]:
    """With the last lines that the worker wrote there."""
    try:
        yield
    except Invalid as error:
        said = (folder / _LOG).read_text(errors="replace").strip().splitlines()[-3:]
        raise Invalid(" | ".join([str(error), *said])) from error


@contextmanager
def ended(process: subprocess.Popen[str]) -> Iterator[subprocess.Popen[str]]:
    """The process is over when this is over."""
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
        process.communicate()


def load(
    tools: Toolbox, port: int, options: Sequence[str], pids: Sequence[int], limit: float
) -> dict[str, Any]:
    """Run the generator and collector to its end: what it printed; raises Invalid."""
    listed = ",".join(map(str, pids))
    command = [tools.load, *options, "--port", str(port), *(["--pids", listed] if pids else [])]
    with ended(
        subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
    ) as process:
        return _finish(process, None, limit)


def _finish(process: subprocess.Popen[str], text: str | None, limit: float) -> dict[str, Any]:
    try:
        out, errors = process.communicate(text, timeout=limit)
    except subprocess.TimeoutExpired:
        process.kill()
        raise Invalid(f"not done within {limit:.0f} s") from None
    lines = out.strip().splitlines()
    if process.returncode == 0 and lines:
        said: dict[str, Any] = json.loads(lines[-1])
        return said
    raise Invalid(errors.strip() or f"{lines[-1:] or 'nothing'} (messages lost or wrong)")


def figures(said: Mapping[str, Any]) -> Figures:
    """Of what the load or the stub printed; the first pid is the broker's."""
    broker_cpu, *cpu = said["cpu_us"]
    measured = max(said["measured"], 1)
    return Figures(
        cpu=sum(cpu) / measured,
        rate=said["rate"],
        rss=sum(said["rss_mb"][1:]) / max(len(cpu), 1),
        p50=said["p50_us"],
        p99=said["p99_us"],
        broker_cpu=broker_cpu / measured,
        early_acks=said["early_acks"],
        duplicates=said["duplicates"],
        lost=said["lost"],
        uneven=said["uneven"],
    )


def rss_mb(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


def run_direct(trial: Trial, tools: Toolbox) -> Figures:
    """Without a worker: the broker passes messages from the generator to the collector, once."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name, broker(Path(name)) as where:
        port, pid = where
        options = [*trial.options(), "--out", "bench/in/#"]
        return figures(load(tools, port, options, [pid], _limit(trial)))


def cpu_seconds(pid: int) -> float:
    """User and system time of the process and its threads, also of those that have ended."""
    # The kernel's number for another process's clock; clock_getcpuclockid(3) gives the same.
    return time.clock_gettime(~pid << 3 | 2)
