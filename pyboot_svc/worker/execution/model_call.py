"""What it takes to call the model, as the edge says."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from pyboot_svc.config import BatchLimits, Edge, OnError
from pyboot_svc.model.codec import Codec
from pyboot_svc.model.formats import codec_of
from pyboot_svc.model.loader import Model, concurrency_of, exceptions_named
from pyboot_svc.retry import Retry
from pyboot_svc.worker.execution.call import Publishing
from pyboot_svc.worker.execution.crash_journal import CrashJournal
from pyboot_svc.worker.execution.failure_log import FailureLog
from pyboot_svc.worker.execution.poison import PoisonTracker
from pyboot_svc.worker.wall_clock import WallClock


class CrashMemory(Protocol):
    """What is in hand, and what was at a crash."""

    @property
    def journal(self) -> CrashJournal: ...
    @property
    def suspects(self) -> PoisonTracker: ...


class ModelCall(NamedTuple):
    """What it takes to call the model: the same for all threads of an instance.

    With `batch` the model takes a list and returns one.
    """

    model: Model
    codec: Codec
    publishing: Publishing
    on_error: OnError
    timeout: float
    journal: CrashJournal
    suspects: PoisonTracker
    failures: FailureLog
    clock: WallClock
    batch: BatchLimits | None = None
    # What is worth a repetition.
    retried: tuple[type[BaseException], ...] = (OSError, Retry)
    # Of a model that is a coroutine function: so many calls are made at once.
    concurrency: int = 1

    @classmethod
    def of(cls, edge: Edge, model: Model, memory: CrashMemory, failures: FailureLog) -> ModelCall:
        """As the edge says; raises ModelError for what this model can't do."""
        codec = codec_of(edge)
        return cls(
            model,
            codec,
            Publishing(edge, codec),
            edge.on_error,
            edge.model_timeout,
            memory.journal,
            memory.suspects,
            failures,
            WallClock(),
            edge.batch,
            exceptions_named(edge.on_error.retry),
            concurrency_of(model, edge.concurrency),
        )

    def portion(self, threads: int) -> tuple[int | None, int, float]:
        """How many messages are taken at once, None: as the model's speed says; by how many
        threads those that wait are shared; and how many seconds a portion may wait for more."""
        if self.batch is not None:
            return self.batch.max_size, 1, self.batch.max_wait_ms / 1000
        if self.concurrency > 1:
            return self.concurrency, 1, 0.0
        return None, threads, 0.0
