"""What a model makes of messages, one after the other, with nothing published."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pyboot_svc.bench.failures import CountedFailures
from pyboot_svc.bench.subject import Subject
from pyboot_svc.config import Edge
from pyboot_svc.worker.durables import Durables
from pyboot_svc.worker.execution.model_call import ModelCall
from pyboot_svc.worker.execution.runner import Runner
from pyboot_svc.worker.messages import (
    NOTHING_PARTICULAR,
    TICK,
    Chunk,
    Fault,
    MessageBatch,
    payloads_of,
)


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
        call = patient._replace(on_error=edge.on_error._replace(retries=0), concurrency=1)
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


# A topic, or none for what is no message but a tick; and a payload.
Given = tuple[str | None, bytes]


def try_messages(subject: Subject, messages: Iterable[Given], folder: Path) -> Iterator[Tried]:
    """As a worker would process them, each as soon as it is there; `folder` as for `Trial`."""
    trial, longest = Trial(subject, folder), most_at_once(subject.edge)
    for some in _together(messages, longest):
        yield from trial.call(_batch(some))


def _together(messages: Iterable[Given], longest: int) -> Iterator[list[Given]]:
    """Those that go together; a tick goes alone."""
    waiting: list[Given] = []
    for message in messages:
        tick = message[0] is None
        if tick and waiting:
            yield waiting
            waiting = []
        waiting.append(message)
        if tick or len(waiting) == longest:
            yield waiting
            waiting = []
    if waiting:
        yield waiting


def _batch(messages: Sequence[Given]) -> MessageBatch:
    topics, payloads = zip(*messages, strict=True)
    zeros = [0] * len(messages)
    particulars = TICK if topics[0] is None else NOTHING_PARTICULAR
    names = [topic or "" for topic in topics]
    return MessageBatch(names, list(payloads), zeros, zeros, particulars=particulars)
