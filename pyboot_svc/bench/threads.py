"""What more model threads bring: the model is really run in 1, 2, 4, … of them."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import cycle, islice

from pyboot_svc.bench.subject import Subject
from pyboot_svc.model.codec import codec_named
from pyboot_svc.threads import spawn
from pyboot_svc.worker.execution.crash_journal import CrashJournal
from pyboot_svc.worker.execution.failure_log import FailureLog
from pyboot_svc.worker.execution.poison import PoisonTracker
from pyboot_svc.worker.execution.pool import CHUNK_SECONDS, LONGEST_CHUNK
from pyboot_svc.worker.execution.runner import (
    Job,
    ModelCall,
    Runner,
)
from pyboot_svc.worker.messages import Chunk, MessageBatch
from pyboot_svc.worker.storage.writer import DatabaseWriter

_ALWAYS = (1, 2, 4)
_TURNS = 3
_MOST = 32
# A doubling that brought less than this is the last.
_WORTH_DOUBLING = 1.6


def measure_threads(
    subject: Subject, seconds: float, progress: Callable[[float], None]
) -> dict[int, float]:
    """Messages/s that the model threads alone sustain, by their number; `seconds` for each.

    Beside 1, 2, 4 and what is configured, more are tried as long as they bring something. They
    take turns, and each one's best counts: what disturbs one turn is then not taken for a law.
    """
    wanted = sorted({*_ALWAYS, subject.edge.threads})
    rates = dict.fromkeys(wanted, 0.0)
    for turn in range(_TURNS):
        for done, threads in enumerate(wanted):
            rates[threads] = max(rates[threads], _run(subject, threads, seconds / _TURNS))
            progress((turn * len(wanted) + done + 1) / (_TURNS * len(wanted)))
    more = wanted[-1] * 2
    while more <= _MOST and rates[wanted[-1]] > _WORTH_DOUBLING * rates[wanted[-2]]:
        rates[more] = _run(subject, more, seconds)
        wanted.append(more)
        more *= 2
    return rates


def _run(subject: Subject, threads: int, seconds: float) -> float:
    edge = subject.edge
    longest = edge.batch.max_size if edge.batch is not None else LONGEST_CHUNK
    folder = subject.folder
    ledger = CrashJournal(folder / f"in-hand-{threads}", threads, longest)
    failures = FailureLog()
    # A message that fails is to cost its call, and not the pauses between the attempts.
    on_error = replace(edge.on_error, retries=0)
    calling = ModelCall(
        subject.model,
        codec_named(edge.codec),
        on_error,
        edge.model_timeout,
        ledger,
        PoisonTracker(DatabaseWriter(folder / "no-suspects")),
        failures,
        batches=edge.batch is not None,
    )
    turns: list[tuple[float, float, int]] = []
    deadline = time.perf_counter() + seconds
    workers = [
        spawn(
            f"model-{number}",
            partial(
                _work, subject, Runner(number, calling, subject.make_context()), deadline, turns
            ),
        )
        for number in range(threads)
    ]
    for worker in workers:
        worker.join()
    ledger.close()
    passed = max(ended for _, ended, _ in turns) - min(began for began, _, _ in turns)
    return sum(done for _, _, done in turns) / passed


def _work(
    subject: Subject, runner: Runner, deadline: float, turns: list[tuple[float, float, int]]
) -> None:
    """One thread's part: chunks as long as those of a worker under load.

    Notes when it began and ended, and how many messages it has done.
    """
    batch = subject.edge.batch
    payloads, topic = cycle(subject.payloads), subject.topic
    count, done, number = (batch.max_size if batch is not None else 1), 0, 0
    began = now = time.perf_counter()
    while not done or now < deadline:
        columns = [topic] * count, list(islice(payloads, count)), [0] * count, [0] * count
        runner.work(
            Job(Chunk(number, MessageBatch(*columns, redeliverable=subject.edge.pre.qos > 0)))
        )
        before, now = now, time.perf_counter()
        done += count
        number += 1
        if batch is None:
            each = (now - before) / count
            count = max(1, min(LONGEST_CHUNK, int(CHUNK_SECONDS / max(each, 1e-9))))
    turns.append((began, now, done))


def silence_failures() -> None:
    """The stages have counted and told them."""
    logging.getLogger("pyboot_svc.worker.execution.failure_log").setLevel(logging.CRITICAL)


def gil_enabled() -> bool:
    """Whether one thread at a time runs Python: not on free-threaded CPython, unless a C extension
    has brought the GIL back."""
    return getattr(sys, "_is_gil_enabled", lambda: True)()
