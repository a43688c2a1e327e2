"""How cost and rate go with instances, threads, devices, and a backlog."""

from __future__ import annotations

import json
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from support.poll import until

from benchmarks.contest import (
    PAYLOAD_BYTES,
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
from benchmarks.peers.work import compute
from benchmarks.rounds import in_turns, ratio
from benchmarks.toolbox import Toolbox, pyboot
from benchmarks.window import example_payload, message_bytes
from pyboot_svc.config.settings import QueueLimits
from pyboot_svc.worker.messages import Chunk, MessageBatch
from pyboot_svc.worker.mqtt.wire.decoder import Decoder
from pyboot_svc.worker.mqtt.wire.encoder import PublishEncoder

_READY_SECONDS = 120
_SAMPLE_SECONDS = 0.2
# Far below what one core serves.
_DEVICES_RATE = 5_000
_REPEATS = 5


@dataclass(frozen=True)
class Row:
    """One line of the page's table."""

    what: str
    figure: str


def scaling(tools: Toolbox, rounds: int, seconds: float) -> tuple[list[Row], list[Goal]]:
    """Two instances with a model of 1 ms CPU; eight threads with one that waits 10 ms."""
    busy = Pyboot("busy", "", model="slow.busy")
    busily = Trial("identity", 1, seconds=seconds)
    patiently = Trial("identity", 1, seconds=seconds, window=64)
    waits = {
        threads: Pyboot("waits", "", {"threads": threads}, model="slow.waits") for threads in (1, 8)
    }
    found = in_turns(
        {
            **{f"{count} busy": partial(many, busy, count, busily, tools) for count in (1, 2)},
            **{f"{n} waits": partial(run, one, patiently, tools) for n, one in waits.items()},
        },
        rounds,
    )
    rates = {name: [one.rate for one in figures] for name, figures in found.items()}
    middle = {name: statistics.median(values) for name, values in rates.items()}
    return [
        Row(
            "a model of 1 ms CPU, 1 and 2 instances",
            f"{middle['1 busy']:.0f} and {middle['2 busy']:.0f}/s",
        ),
        Row(
            "a model that waits 10 ms, 1 and 8 threads",
            f"{middle['1 waits']:.0f} and {middle['8 waits']:.0f}/s",
        ),
    ], [
        at_least(
            "two instances, a model of 1 ms: rate, of one's",
            1.9,
            ratio(rates["2 busy"], rates["1 busy"]),
        ),
        at_least(
            "8 threads, a model that waits 10 ms: rate, of one's",
            7.5,
            ratio(rates["8 waits"], rates["1 waits"]),
        ),
    ]


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


def devices(tools: Toolbox, rounds: int, seconds: float) -> tuple[list[Row], list[Goal]]:
    """CPU a message when each comes from another device than the one before.

    Through mosquitto they come at one rate, so that batches are the same; against the stub broker
    at full rate, where a worker's own part is not hidden behind its system calls.
    """
    most = 10_000
    trials = {
        f"compute, QoS 1, {_DEVICES_RATE:,}/s": Trial(
            "compute", 1, seconds=seconds, rate=_DEVICES_RATE
        ),
        "stub, compute, QoS 1, full rate": Trial("compute", 1, stub=True, seconds=seconds),
    }
    measures = {
        (name, count): partial(run, BULK, replace(trial, topics=count), tools)
        for name, trial in trials.items()
        for count in (1, most)
    }
    found = in_turns(measures, rounds)
    cpu = {key: [one.cpu for one in figures] for key, figures in found.items()}
    rows, goals = [], []
    for name in trials:
        one, many_ = (statistics.median(cpu[name, count]) for count in (1, most))
        rates = (statistics.median(f.rate for f in found[name, count]) for count in (1, most))
        at = " and ".join(f"{rate:,.0f}/s" for rate in rates)
        rows.append(
            Row(
                f"{name}: CPU a message, 1 and {most:,} devices",
                f"{one:.1f} and {many_:.1f} µs ({at})",
            )
        )
        what = f"{name}: CPU a message with {most:,} devices, of one's"
        goals.append(at_most(what, 1.15, ratio(cpu[name, most], cpu[name, 1])))
    own = [topic_costs(count) for count in (1, most)]
    rows.append(
        Row(
            f"of that cutting packets and digests, 1 and {most:,} devices",
            " and ".join(f"{read:.2f} + {digest:.2f} µs" for read, digest in own),
        )
    )
    return rows, goals


def compute_alone() -> tuple[list[Row], list[Goal]]:
    """What `compute` takes without any messaging: decoding, the model, encoding, in µs."""
    payload, count = example_payload(), 20_000
    each = []
    for _ in range(_REPEATS):
        started = time.process_time()
        for _ in range(count):
            compute(payload)
        each.append((time.process_time() - started) / count * 1e6)
    what = "compute, its JSON (orjson) and its model alone, without any messaging"
    return [Row(what, f"{statistics.median(each):.1f} µs")], []


def topic_costs(topics: int) -> tuple[float, float]:
    """What depends on the topic, in µs of CPU a message: parsing, and digests.

    The least of several times, since it is the same work each time.
    """
    count, chunk = 10_000, 256
    payload = b"x" * PAYLOAD_BYTES
    packets = [
        PublishEncoder(f"bench/in/{number % topics:05}", 1, b"\0").encode([payload], [number + 1])
        for number in range(count)
    ]
    reads = [
        b"".join(part for packet in packets[at : at + chunk] for part in packet)
        for at in range(0, count, chunk)
    ]
    parsing, digesting = [], []
    for _ in range(_REPEATS):
        parser = Decoder(v5=True)
        started = time.process_time()
        arrivals = [parser.feed(read) for read in reads]
        parsed = time.process_time()
        for one in arrivals:
            times = [0] * len(one.packet_ids)
            assert Chunk(0, MessageBatch(one.topics, one.payloads, one.packet_ids, times)).digests
        parsing.append(parsed - started)
        digesting.append(time.process_time() - parsed)
    return min(parsing) / count * 1e6, min(digesting) / count * 1e6


def backlog(tools: Toolbox, count: int) -> tuple[list[Row], list[Goal]]:
    """So many messages wait in the broker while the worker is away; then it works them off."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name, broker(Path(name)) as where:
        folder, port = Path(name), where[0]
        command = BULK.command(Launch(port, 1, "compute"), folder, tools)
        with worker_ready(command, folder / "first.log") as worker:  # now its session is known
            load(tools, port, Trial("compute", 1, seconds=1, rate=1000).options(), [], 60)
            usual = rss_mb(worker.pid)
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
    window = QueueLimits().pre
    each = message_bytes(example_payload())
    wanted = window * each / 1e6
    rise = max(samples) - usual
    return [
        Row(
            f"RSS of the worker, {count:,} messages wait in the broker",
            f"{usual:.1f} MB at 1,000/s without a backlog, at most {max(samples):.1f} MB with it, "
            f"{samples[-1]:.1f} MB at the end; {rate:,.0f}/s",
        ),
        Row(
            "the in-flight window",
            f"{window:,} messages of {each:,} bytes, with payload, result and digest: "
            f"{wanted:.1f} MB",
        ),
    ], [at_most("a backlog in the broker: RSS rises by, of the window", wanted, rise, "MB")]


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
