"""A runner with real parts, and what has become of its chunks."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from pyboot_svc.config import OnError
from pyboot_svc.model.context import Context
from pyboot_svc.model.loader import Model
from pyboot_svc.worker.execution.crash_journal import CrashJournal
from pyboot_svc.worker.execution.failure_log import FailureLog
from pyboot_svc.worker.execution.model_call import ModelCall
from pyboot_svc.worker.execution.poison import PoisonTracker
from pyboot_svc.worker.execution.runner import Runner
from pyboot_svc.worker.messages import Chunk, Result
from pyboot_svc.worker.storage.writer import DATABASE_NAME, DatabaseWriter
from support.columns import chunk_of
from support.store import configured

Function = Callable[..., Any]

ONCE = OnError(retries=0)
CHUNK = 16


class Workshop:
    """`work` has its runner process payloads."""

    def __init__(
        self, folder: Path, model: Function, on_error: OnError, timeout: float, **settings: Any
    ) -> None:
        self.store = DatabaseWriter(folder / DATABASE_NAME)
        self.journal_file = folder / "in-hand"
        journal = CrashJournal(self.journal_file, 1, CHUNK)
        self.suspects = PoisonTracker(self.store)
        self.suspects.load(journal)
        self.call = ModelCall.of(
            configured(on_error=on_error, model_timeout=timeout, **settings).edge,
            Model(model),
            SimpleNamespace(journal=journal, suspects=self.suspects),
            FailureLog(),
        )
        self.context = Context("test-1", folder, logging.getLogger("model"))
        self.journal = journal
        self.runner = Runner(0, self.call, self.context)

    def work(self, *payloads: bytes) -> Chunk:
        chunk = chunk_of(payloads)
        assert self.runner.work(chunk)
        return chunk

    def left_in_hand(self) -> list[str]:
        """What the next process would find, if this one died now."""
        copy = self.journal_file.with_name("copy")
        copy.write_bytes(self.journal_file.read_bytes())
        return CrashJournal(copy, 1, CHUNK).left_in_hand


def faults(chunk: Chunk) -> list[tuple[bytes, str, int]]:
    return [
        (chunk.batch.payloads[place], fault.kind, fault.attempts)
        for place, fault in chunk.failures.items()
    ]


def results(chunk: Chunk) -> list[Result]:
    return chunk.results


def given_up(runner: Runner) -> Chunk | None:
    """As a pool does it: asks for a stuck chunk, and then takes it away."""
    chunk = runner.stuck_chunk()
    return runner.give_up(chunk) if chunk is not None else None
