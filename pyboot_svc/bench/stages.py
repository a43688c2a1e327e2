"""What each stage of a message's way costs, measured stage by stage in one thread."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from pyboot_svc.bench.ends import PostEnd, PreEnd
from pyboot_svc.bench.failures import CountedFailures
from pyboot_svc.bench.subject import Subject
from pyboot_svc.errors import ModelError
from pyboot_svc.model import Context, Model
from pyboot_svc.model.codec import Codec, PayloadError
from pyboot_svc.model.formats import codec_of
from pyboot_svc.worker.durables import Durables
from pyboot_svc.worker.execution.call import Publishing
from pyboot_svc.worker.execution.model_call import ModelCall
from pyboot_svc.worker.execution.runner import Runner
from pyboot_svc.worker.messages import Chunk

STAGES = ("read", "digest", "decode", "model", "encode", "write")
# Enough for a p99; more would only take memory.
_MOST_CALLS = 200_000
# So many messages a round, unless they last longer than this: the progress is shown in between.
_LONGEST_ROUND = 256
_ROUND_SECONDS = 0.05


@dataclass(frozen=True)
class StageCosts:
    """`cpu_us` is CPU time a message by stage, of all threads of the process; what a model thread
    does around a call is part of `model`. `wall_us` is the model's time a message by the clock.
    `call_us` are the 50th and 99th percentile of one call, by the clock. `disturbed` is the share
    of the time in which others had the processor that this one wanted."""

    messages: int
    calls: int
    cpu_us: dict[str, float]
    wall_us: float
    call_us: tuple[float, float]
    disturbed: float
    failed: dict[str, int]
    first_error: str


def measure_stages(
    subject: Subject, seconds: float, progress: Callable[[float], None]
) -> StageCosts:
    """Raises ModelError when no call at all succeeds."""
    meter = _Meter(subject)
    began = time.perf_counter()
    batch = subject.edge.batch
    at_least = min(batch.max_size, _LONGEST_ROUND) if batch is not None else 1
    meter.round(at_least)  # the first calls load and warm what later ones find
    meter.forget()
    count, passed = at_least, 0.0
    while not meter.calls or (passed < seconds and len(meter.calls) < _MOST_CALLS):
        before = time.perf_counter()
        meter.round(count)
        each = (time.perf_counter() - before) / count
        count = max(at_least, min(_LONGEST_ROUND, int(_ROUND_SECONDS / max(each, 1e-9))))
        passed = time.perf_counter() - began
        progress(min(passed / seconds, 1.0) if seconds else 1.0)
        if meter.all_failed and passed >= seconds:
            break
    if meter.all_failed:
        said = meter.failures.first
        raise ModelError(f"no call succeeded, so there is nothing to measure: {said}")
    return meter.costs()


class _Meter:
    """Takes messages through a worker's stages, a round at a time, and adds up what each takes."""

    def __init__(self, subject: Subject) -> None:
        edge = subject.edge
        self._longest = edge.batch.max_size if edge.batch is not None else _LONGEST_ROUND
        self._payloads = cycle(subject.payloads)
        # What names a result, and lets a message that kills the process be recognised.
        self._named = edge.pre.qos > 0 or (edge.post.qos > 0 and edge.post.broker.protocol == "5")
        self._codec = codec_of(edge)
        self._encoded: list[Any] = []
        self.calls: list[int] = []
        self.failures = CountedFailures()
        # In its own folder: it is no crash of the worker's when this process is killed.
        durables = Durables(subject.config, subject.folder)
        self._pre, self._post = PreEnd(edge, subject.topic), PostEnd(subject.config, durables)
        self._chunks = 0
        codec = _recording(self._codec, self._encoded)
        call = ModelCall.of(edge, subject.model, durables, self.failures)._replace(
            model=_timed(subject.model, self.calls),
            codec=codec,
            publishing=Publishing(edge, codec),
            # A message that fails is to cost its call, and not the pauses between the attempts.
            on_error=edge.on_error._replace(retries=0),
            concurrency=1,
        )
        self._runner = Runner(0, call, subject.context)
        self.forget()

    def forget(self) -> None:
        self.messages = 0
        self.calls.clear()
        self.failures.forget()
        self._cpu = dict.fromkeys(STAGES, 0)
        self._began, self._delayed = time.perf_counter_ns(), _delayed_ns()

    @property
    def all_failed(self) -> bool:
        return self.failures.kinds.total() == self.messages

    def round(self, count: int) -> None:
        self._pre.offer(list(islice(self._payloads, count)))
        with self._stage("read"):
            batch = self._pre.read()
        chunks = []
        for start in range(0, count, self._longest):
            chunk = Chunk(self._chunks, batch.part(start, min(start + self._longest, count)))
            self._chunks += 1
            self._work(chunk)
            chunks.append(chunk)
        with self._stage("write"):
            for chunk in chunks:
                self._post.hand_on(chunk)
        while self._write():
            self._post.answer()
            with self._stage("write"):
                self._post.settle()
        with self._stage("write"):
            self._pre.write()
        self.messages += count

    def _write(self) -> bool:
        with self._stage("write"):
            return self._post.write()

    def costs(self) -> StageCosts:
        each = 1000 * self.messages
        calls = sorted(self.calls)
        delayed, passed = _delayed_ns() - self._delayed, time.perf_counter_ns() - self._began
        return StageCosts(
            messages=self.messages,
            calls=len(calls),
            cpu_us={stage: max(spent, 0) / each for stage, spent in self._cpu.items()},
            wall_us=sum(calls) / each,
            call_us=(calls[len(calls) // 2] / 1000, calls[len(calls) * 99 // 100] / 1000),
            disturbed=min(delayed / passed, 1.0),
            failed=dict(self.failures.kinds),
            first_error=self.failures.first,
        )

    def _work(self, chunk: Chunk) -> None:
        """As a model thread does. It decodes, calls and encodes in one go: decoding and encoding
        are done once more, to tell them from the call."""
        with self._stage("digest"):
            if self._named:
                len(chunk.digests)  # made when first asked for
        with self._stage("model"):
            self._runner.work(chunk)
        codec = self._codec
        with self._stage("decode", apart_from="model"):
            _try_each(codec.decode, chunk.batch.payloads)
        with self._stage("encode", apart_from="model"):
            _try_each(codec.encode, self._encoded)
        self._encoded.clear()

    @contextmanager
    def _stage(self, name: str, apart_from: str | None = None) -> Iterator[None]:
        """Its CPU; what was part of another one's is taken from there."""
        before = time.process_time_ns()
        yield
        spent = time.process_time_ns() - before
        self._cpu[name] += spent
        if apart_from is not None:
            self._cpu[apart_from] -= spent


def _timed(model: Model, calls: list[int]) -> Model:
    """The same, with the time that each call takes in `calls`, in ns."""
    clock, note = time.perf_counter_ns, calls.append

    def call(payload: Any, context: Context) -> Any:
        before = clock()
        try:
            return model(payload, context)
        finally:
            note(clock() - before)

    return model._replace(function=call, wants_context=True)


def _recording(codec: Codec, encoded: list[Any]) -> Codec:
    """The same, with what it has to encode in `encoded`."""

    def encode(result: Any) -> bytes:
        encoded.append(result)
        return codec.encode(result)

    return Codec(codec.decode, encode)


def _try_each(convert: Callable[[Any], Any], values: Sequence[Any]) -> None:
    for value in values:
        try:
            convert(value)
        except PayloadError:
            pass  # it was counted when it was worked on


def _delayed_ns() -> int:
    """How long this thread was ready to run, and did not; 0 where the kernel doesn't count it."""
    try:
        return int(Path("/proc/thread-self/schedstat").read_text(encoding="ascii").split()[1])
    except (OSError, IndexError):
        return 0
