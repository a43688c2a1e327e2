"""What more model threads bring: the model is really run in 1, 2, 4, … of them."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable
from itertools import cycle
from pathlib import Path
from tempfile import TemporaryDirectory

from pyboot_svc.bench.in_memory import MemoryInbox, MemoryOutbox
from pyboot_svc.bench.subject import Subject
from pyboot_svc.worker.durables import Durables
from pyboot_svc.worker.execution.pool import NoIdleWork
from pyboot_svc.worker.pipeline import Links, Pipeline

_ALWAYS = (1, 2, 4)
_TURNS = 3
_MOST = 32
# A doubling that brought less than this is the last.
_WORTH_DOUBLING = 1.6
_POLL_SECONDS = 0.002
# So much work waits for the threads, as they have been so far: more than they do while the one that
# feeds them waits for the GIL.
_AHEAD_SECONDS = 0.05
_MOST_AHEAD = 9000
_DRAIN_SECONDS = 4.0


def measure_threads(
    subject: Subject, seconds: float, progress: Callable[[float], None]
) -> dict[int, float]:
    """Messages/s that a worker sustains apart from its network, by its threads; `seconds` for each.

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
    """A worker's pipeline with so many threads, which is given what it takes."""
    edge = subject.edge
    # A message that fails is to cost its call, and not the pauses between the attempts.
    on_error = edge.on_error._replace(retries=0, then="drop")
    config = subject.config._replace(edge=edge._replace(threads=threads, on_error=on_error))
    inbox = MemoryInbox(subject.topic, cycle(subject.payloads), redeliverable=edge.pre.qos > 0)
    with TemporaryDirectory(dir=subject.folder) as folder:
        durables = Durables(config, Path(folder))
        links = Links(inbox, MemoryOutbox(), NoIdleWork())
        pipeline = Pipeline(config, subject.model, subject.make_context, durables, links)
        crashed = threading.Event()
        pipeline.start(crashed.set)
        at_once = threads * (edge.batch.max_size if edge.batch is not None else 1)
        try:
            return _rate(pipeline, inbox, at_once, seconds, crashed)
        finally:
            pipeline.drain(_DRAIN_SECONDS)


def _rate(
    pipeline: Pipeline,
    inbox: MemoryInbox,
    at_once: int,
    seconds: float,
    crashed: threading.Event,
) -> float:
    """Messages/s until the last one that was done in `seconds`, or the first `at_once` are.

    Enough wait at any time for all threads to be busy, and not so many that they last.
    """
    began = time.perf_counter()
    fed = done = 0
    passed = 0.0
    while passed < seconds or done < at_once:
        ahead = max(2 * at_once, int(_AHEAD_SECONDS * done / max(passed, _POLL_SECONDS)))
        missing = min(ahead, _MOST_AHEAD) - (fed - done)
        if missing > 0:
            inbox.feed(missing)
            fed += missing
        if crashed.wait(_POLL_SECONDS):
            raise RuntimeError("a thread of the worker crashed")
        now, before = time.perf_counter() - began, done
        done = pipeline.figures().counters.processed
        if done > before or done == 0:
            passed = now
    return done / passed


def silence_worker() -> None:
    """What fails was counted by the stages, and is told by the command."""
    logging.getLogger("pyboot_svc.worker").setLevel(logging.CRITICAL)


def gil_enabled() -> bool:
    """Whether one thread at a time runs Python: not on free-threaded CPython, unless a C extension
    has brought the GIL back."""
    return getattr(sys, "_is_gil_enabled", lambda: True)()
