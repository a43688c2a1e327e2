"""The model threads: they take messages, call the model, and hand on what it returned."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Protocol

from pyboot_svc.config import BatchLimits
from pyboot_svc.model.context import Context
from pyboot_svc.threads import spawn
from pyboot_svc.worker.delivery.dead_letters import DeadLetters, Fault
from pyboot_svc.worker.delivery.model_state import ModelState, StateSaver
from pyboot_svc.worker.delivery.post_queue import PostQueue
from pyboot_svc.worker.delivery.settlement import Settlement
from pyboot_svc.worker.execution.pre_queue import PreQueue
from pyboot_svc.worker.execution.runner import (
    Job,
    ModelCall,
    Runner,
)
from pyboot_svc.worker.messages import ResultBatch
from pyboot_svc.worker.stats import Stats
from pyboot_svc.worker.storage.writer import DatabaseWriter

# A chunk is as long as the model's work on it lasts about this long: hand-offs then cost little,
# and the first result of a chunk doesn't wait long for its last.
CHUNK_SECONDS = 0.002
LONGEST_CHUNK = 256
# Calls that never end are left behind, each in its thread; with more, the process has to go.
_MOST_LEFT_BEHIND = 16
# Of a processor: calls that go on using it, or waiting for it, take it from the others.
_BURNING_SHARE = 0.2
_CAREFUL_POLL_SECONDS = 0.05


class IdleWork(Protocol):
    """What a single model thread does while nothing waits for it."""

    def poll_once(self, busy: Callable[[], bool]) -> bool:
        """Wait for work and take it in; False when there is nothing to wait for."""


class ModelPool:
    """Runs one model in N threads between the two queues.

    Results go to the post_queue in order of arrival; what has none is settled here. A call that
    lasts past its limit loses its message to the graveyard, and its thread is replaced.
    With a `leader`, which takes a single thread, that serves the connections while it is idle.
    """

    def __init__(
        self,
        calling: ModelCall,
        make_context: Callable[[], Context],
        state: ModelState,
        waiting: PreQueue,
        results: PostQueue,
        settlement: Settlement,
        graveyard: DeadLetters,
        store: DatabaseWriter,
        tally: Stats,
        batch: BatchLimits | None = None,
        leader: IdleWork | None = None,
    ) -> None:
        self._calling = calling
        self._make_context = make_context
        self._saver = StateSaver(state, store, settlement)
        self._waiting = waiting
        self._results = results
        self._settlement = settlement
        self._graveyard = graveyard
        self._tally = tally
        self._batch = batch
        self._leader = leader
        self._runners: dict[int, Runner] = {}
        self._left_behind: list[tuple[Runner, float]] = []
        self._on_crash: Callable[[], None] = lambda: None

    def start(self, size: int, on_crash: Callable[[], None]) -> None:
        self._on_crash = on_crash
        self._size = size
        for number in range(size):
            self._launch(number, None)

    def expire(self) -> None:
        """Take the messages away from calls that last too long; about once a second.

        What a stuck chunk has finished doesn't wait for the rest.
        """
        for number, runner in list(self._runners.items()):
            stuck = runner.stuck_job()
            if stuck is None:
                continue
            rest = runner.give_up(stuck)
            if rest is not None:
                self._left_behind.append((runner, runner.busy_seconds() or 0.0))
                self._launch(number, rest)
            else:
                self._hand_on(stuck)

    def stalls(self, elapsed: float) -> list[str]:
        """What only an end of the process can mend; `elapsed` seconds after the last time."""
        still: list[tuple[Runner, float]] = []
        burnt = 0.0
        for runner, before in self._left_behind:
            busy = runner.busy_seconds()
            if busy is not None:
                still.append((runner, busy))
                burnt += busy - before
        self._left_behind = still
        found = []
        if burnt > _BURNING_SHARE * elapsed:  # together: they take it from the same others
            found.append(
                f"{len(still)} call(s) of the model exceed model_timeout and use the processor"
            )
        if len(still) > _MOST_LEFT_BEHIND:
            found.append(f"{len(still)} call(s) of the model exceed model_timeout and never end")
        return found

    def flush_state(self) -> None:
        """Make durable what is not yet; about once a second."""
        self._saver.flush()

    def _launch(self, number: int, job: Job | None) -> None:
        runner = self._runners[number] = Runner(number, self._calling, self._make_context())
        spawn(f"model-{number}", partial(self._run, runner, job), self._on_crash)

    def _run(self, runner: Runner, job: Job | None) -> None:
        longest = 1
        while job is not None or (job := self._next_job(runner, longest)) is not None:
            began, first = time.perf_counter(), len(job.results)
            if not runner.work(job):
                return
            each = (time.perf_counter() - began) / max(len(job.chunk) - first, 1)
            longest = max(1, min(LONGEST_CHUNK, int(CHUNK_SECONDS / max(each, 1e-9))))
            self._hand_on(job, last=True)
            self._waiting.done(job.chunk)
            job = None

    def _next_job(self, runner: Runner, longest: int) -> Job | None:
        suspects = bool(self._calling.suspects)
        while suspects and runner.number > 0 and self._calling.suspects.careful:
            time.sleep(_CAREFUL_POLL_SECONDS)
        room = self._results.wait_for_room()
        if self._leader is not None:
            has_some = self._waiting.has_some
            # When it is crowded the connections know better what to read.
            while not (has_some() or self._waiting.crowded) and self._leader.poll_once(has_some):
                pass
        if suspects:
            chunk = self._waiting.take(1, self._size)
        elif self._batch is not None:
            most = max(1, min(self._batch.max_size, room))
            chunk = self._waiting.take(most, 1, self._batch.max_wait_ms / 1000)
        else:
            # The other threads see the same room, and fill it, too.
            chunk = self._waiting.take(max(1, min(longest, room // self._size)), self._size)
        return None if chunk is None else Job(chunk)

    def _hand_on(self, job: Job, *, last: bool = False) -> None:
        """The outcomes of what is done by now; with `last`, that is the whole chunk."""
        with job.lock:
            first, end = job.handed, len(job.results)
            if first == end and not last:
                return
            job.handed = end
            places = range(first, end)
            # A copy: the thread at work may add another one meanwhile.
            buried = {at: fault for at, fault in dict(job.buried).items() if first <= at < end}
            self._saver.save(job.chunk, places)
            self._settle(job, places, buried, last)

    def _settle(self, job: Job, places: range, buried: dict[int, Fault], last: bool) -> None:
        chunk, batch = job.chunk, job.chunk.batch
        parcel = _results(job, places, last)
        self._tally.add("processed", len(places))
        self._results.put(chunk.number, parcel, last=last)
        if len(buried) + (len(parcel) if parcel is not None else 0) < len(places):
            silent = [
                place for place in places if job.results[place] is None and place not in buried
            ]
            self._tally.add("nothing_to_publish", len(silent))
            self._settlement.settle(chunk, silent)
        if buried:
            self._tally.add_errors(fault.kind for fault in buried.values())
            letters = [(batch.message(at), fault) for at, fault in buried.items()]
            self._graveyard.add(letters, partial(self._settlement.settle, chunk, list(buried)))


def _results(job: Job, places: range, last: bool) -> ResultBatch | None:
    """What there is to publish of these."""
    found = job.results
    if not last or places.start:
        found = found[places.start : places.stop]
    if all(found):  # by far the most frequent, and the cheapest to ask for
        return ResultBatch(job.chunk, places, found) if found else None  # type: ignore[arg-type]
    kept = [place for place in places if job.results[place] is not None]
    results = [result for result in found if result is not None]
    return ResultBatch(job.chunk, kept, results) if kept else None
