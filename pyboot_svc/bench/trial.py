"""What a model makes of messages, one after the other, with nothing published."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pyboot_svc.bench.failures import CountedFailures
from pyboot_svc.bench.subject import Subject
from pyboot_svc.config import Edge
from pyboot_svc.worker.durables import Durables
from pyboot_svc.worker.execution.runner import ModelCall, Runner
from pyboot_svc.worker.messages import Chunk, Fault, MessageBatch, payloads_of


@dataclass(frozen=True)
class Tried:
    """What became of one message: the `results` to publish, a `fault`, or neither of them."""

    results: tuple[bytes, ...]
    fault: Fault | None


class Trial:
    """Calls the subject's model as a worker would, without a second attempt.

    `folder` is for what a worker keeps beside the model.
    """

    def __init__(self, subject: Subject, folder: Path) -> None:
        """Raises ModelError for what this model can't do."""
        edge = subject.edge
        durables = Durables(subject.config, folder)
        patient = ModelCall.of(edge, subject.model, durables, CountedFailures())
        call = replace(patient, on_error=replace(edge.on_error, retries=0), concurrency=1)
        self._runner = Runner(0, call, subject.context)

    def call(self, batch: MessageBatch) -> Iterator[Tried]:
        """What becomes of each of its messages; a model of batches gets all of them at once."""
        chunk = Chunk(0, batch)
        self._runner.work(chunk)
        for place, result in enumerate(chunk.results):
            yield Tried(payloads_of(result), chunk.failures.get(place))


def most_at_once(edge: Edge) -> int:
    """How many messages one call of the model may get."""
    return edge.batch.max_size if edge.batch is not None else 1


def try_messages(subject: Subject, topics: Sequence[str | None], folder: Path) -> Iterator[Tried]:
    """As a worker would process the subject's payloads on these topics; `folder` as for `Trial`.

    Without a topic it is no message, but a tick.
    """
    trial, longest = Trial(subject, folder), most_at_once(subject.edge)
    for start, stop in _chunks(topics, longest):
        yield from trial.call(_batch(topics[start:stop], subject.payloads[start:stop]))


def _chunks(topics: Sequence[str | None], longest: int) -> Iterator[tuple[int, int]]:
    """From where to where messages go together; a tick goes alone."""
    start = 0
    while start < len(topics):
        stop = start + 1
        if topics[start] is not None:
            most = min(start + longest, len(topics))
            while stop < most and topics[stop] is not None:
                stop += 1
        yield start, stop
        start = stop


def _batch(topics: Sequence[str | None], payloads: Sequence[bytes]) -> MessageBatch:
    zeros, tick = [0] * len(payloads), topics[0] is None
    names = [topic or "" for topic in topics]
    return MessageBatch(names, list(payloads), zeros, zeros, redeliverable=False, tick=tick)
