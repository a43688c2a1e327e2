"""What each stage of a message's way costs, measured stage by stage in one thread."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from pyboot_svc.bench.subject import Subject
from pyboot_svc.errors import ModelError
from pyboot_svc.model.codec import PayloadError, codec_named
from pyboot_svc.worker.execution.runner import one_each
from pyboot_svc.worker.messages import Chunk, MessageBatch
from pyboot_svc.worker.mqtt.wire.decoder import Decoder
from pyboot_svc.worker.mqtt.wire.encoder import ID_LEAD, PublishEncoder, encode_ids, encode_pubacks

# A value, and which message's it is.
Placed = tuple[int, Any]

STAGES = ("read", "digest", "decode", "model", "encode", "write")
# Enough for a p99; more would only take memory.
_MOST_CALLS = 200_000
# So many messages a round, unless they last longer than this: the progress is shown in between.
_LONGEST_ROUND = 256
_ROUND_SECONDS = 0.05


@dataclass(frozen=True)
class StageCosts:
    """`cpu_us` is CPU time a message by stage, of all threads of the process; `wall_us` that of
    the model by the clock. `call_us` are the 50th and 99th percentile of one call, by the clock.
    `disturbed` is the share of the time in which others had the processor that this one wanted."""

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
        if meter.failed.total() == meter.messages and passed >= seconds:
            break
    if meter.failed.total() == meter.messages:
        raise ModelError(f"no call succeeded, so there is nothing to measure: {meter.first_error}")
    return meter.costs()


class _Meter:
    """Takes messages through all stages, a round at a time, and adds up what each takes."""

    def __init__(self, subject: Subject) -> None:
        edge = subject.edge
        self._subject = subject
        self._batch = edge.batch.max_size if edge.batch is not None else 0
        self._context = subject.make_context()
        self._codec = codec_named(edge.codec)
        self._payloads = cycle(subject.payloads)
        self._v5 = edge.post.broker.protocol == "5"
        in_v5 = edge.pre.broker.protocol == "5"
        self._acknowledges = edge.pre.qos > 0
        self._post_qos = min(edge.post.qos, 1)
        self._parser = Decoder(in_v5)
        self._sender = PublishEncoder(subject.topic, min(edge.pre.qos, 1), b"\0" if in_v5 else b"")
        self._named = self._v5 and (edge.pre.qos > 0 or edge.post.qos > 0)
        lead = ID_LEAD if self._named else b"\0" if self._v5 else b""
        self._writer = PublishEncoder(edge.post.topic, self._post_qos, lead)
        self.forget()

    def forget(self) -> None:
        self.messages = 0
        self.calls: list[int] = []
        self.failed: Counter[str] = Counter()
        self.first_error = ""
        self._cpu = dict.fromkeys(STAGES, 0)
        self._began, self._delayed = time.perf_counter_ns(), _delayed_ns()

    def round(self, count: int) -> None:
        payloads = list(islice(self._payloads, count))
        packet_ids = range(1, count + 1)
        stream = b"".join(self._sender.encode(payloads, packet_ids))
        with self._stage("read"):
            arrivals = self._parser.feed(stream)
        times = [0] * count
        batch = MessageBatch(arrivals.topics, arrivals.payloads, arrivals.packet_ids, times)
        chunk = Chunk(0, batch)
        with self._stage("digest"):
            digests = chunk.digests if self._named or self._acknowledges else []
        with self._stage("decode"):
            values = self._decode(batch.payloads)
        with self._stage("model"):
            call = self._call_batches if self._batch else self._call_each
            results = call(values, batch.topics)
        with self._stage("encode"):
            done = self._encode(results)
        with self._stage("write"):
            self._write(done, digests, batch.packet_ids)
        self.messages += count

    def costs(self) -> StageCosts:
        each = 1000 * self.messages
        calls = sorted(self.calls)
        delayed, passed = _delayed_ns() - self._delayed, time.perf_counter_ns() - self._began
        return StageCosts(
            messages=self.messages,
            calls=len(calls),
            cpu_us={stage: spent / each for stage, spent in self._cpu.items()},
            wall_us=sum(calls) / each,
            call_us=(calls[len(calls) // 2] / 1000, calls[len(calls) * 99 // 100] / 1000),
            disturbed=min(delayed / passed, 1.0),
            failed=dict(self.failed),
            first_error=self.first_error,
        )

    @contextmanager
    def _stage(self, name: str) -> Iterator[None]:
        before = time.process_time_ns()
        yield
        self._cpu[name] += time.process_time_ns() - before

    def _decode(self, payloads: Sequence[bytes]) -> list[Placed]:
        decode = self._codec.decode
        found: list[Placed] = []
        for place, payload in enumerate(payloads):
            try:
                found.append((place, decode(payload)))
            except PayloadError as error:
                self._fail(error.fault, str(error))
        return found

    def _call_each(self, values: Sequence[Placed], topics: Sequence[str]) -> list[Placed]:
        model, context, clock = self._subject.model, self._context, time.perf_counter_ns
        note = self.calls.append
        results: list[Placed] = []
        for place, value in values:
            context.topic = topics[place]
            before = clock()
            try:
                result = model(value, context)
                note(clock() - before)
                results.append((place, result))
            except (Exception, SystemExit) as error:  # Ctrl-C is for the command
                note(clock() - before)
                self._fail("model", _say(error))
        return results

    def _call_batches(self, values: Sequence[Placed], topics: Sequence[str]) -> list[Placed]:
        context = self._context
        results: list[Placed] = []
        for start in range(0, len(values), self._batch):
            part = values[start : start + self._batch]
            places = [place for place, _ in part]
            context.topics = tuple(topics[place] for place in places)
            context.topic = context.topics[0]
            before = time.perf_counter_ns()
            try:
                outcome = self._subject.model([value for _, value in part], context)
                self.calls.append(time.perf_counter_ns() - before)
                results += zip(places, one_each(outcome, len(part)), strict=True)
            except (Exception, SystemExit) as error:
                self.calls.append(time.perf_counter_ns() - before)
                self._fail("model", _say(error), len(part))
        return results

    def _encode(self, results: Sequence[Placed]) -> list[tuple[int, bytes]]:
        encode = self._codec.encode
        done = []
        for place, result in results:
            if result is not None:
                try:
                    done.append((place, encode(result)))
                except PayloadError as error:
                    self._fail(error.fault, str(error))
        return done

    def _write(
        self, done: Sequence[tuple[int, bytes]], digests: Sequence[bytes], inputs: Sequence[int]
    ) -> None:
        ids = encode_ids([digests[place] for place, _ in done]) if self._named else ()
        packet_ids = range(1, len(done) + 1) if self._post_qos else ()
        parts = self._writer.encode([payload for _, payload in done], packet_ids, ids)
        if self._acknowledges:
            parts.append(encode_pubacks(inputs))
        b"".join(parts)

    def _fail(self, kind: str, text: str, count: int = 1) -> None:
        self.failed[str(kind)] += count
        self.first_error = self.first_error or text


def _delayed_ns() -> int:
    """How long this thread was ready to run, and did not; 0 where the kernel doesn't count it."""
    try:
        return int(Path("/proc/thread-self/schedstat").read_text(encoding="ascii").split()[1])
    except (OSError, IndexError):
        return 0


def _say(error: BaseException) -> str:
    try:
        text = str(error)
    except Exception:  # its own __str__ is the user's code, too
        text = "(it can't be shown)"
    return f"the model raised {type(error).__name__}: {text}"
