"""The model threads: they take messages, call the model, and hand on what it returned."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

from pyboot_svc.model.context import Context
from pyboot_svc.threads import spawn
from pyboot_svc.worker.graveyard import Graveyard
from pyboot_svc.worker.memory import DurableState, StateSaver
from pyboot_svc.worker.queues import PostQueue, PreQueue
from pyboot_svc.worker.runner import Calling, Job, Runner
from pyboot_svc.worker.settlement import Settlement
from pyboot_svc.worker.store import Store
from pyboot_svc.worker.tally import Tally

# A chunk is as long as the model's work on it lasts about this long: hand-offs then cost little,
# and the first result of a chunk doesn't wait long for its last.
_CHUNK_SECONDS = 0.002
_LONGEST_CHUNK = 256
# Calls that never end are left behind, each in its thread; with more, the process has to go.
_MOST_LEFT_BEHIND = 16
# One that goes on using the processor takes it from the others.
_BURNING_SHARE = 0.5
_CAREFUL_POLL_SECONDS = 0.05


class ModelPool:
    """Runs one model in N threads between the two queues.

    Results go to the post_queue in order of arrival; what has none is settled here. A call that
    lasts longer than it may loses its message to the graveyard, and its thread is replaced.
    """

    def __init__(
        self,
        calling: Calling,
        make_context: Callable[[], Context],
        state: DurableState,
        waiting: PreQueue,
        results: PostQueue,
        settlement: Settlement,
        graveyard: Graveyard,
        store: Store,
        tally: Tally,
    ) -> None:
        self._calling = calling
        self._make_context = make_context
        self._saver = StateSaver(state, store, settlement)
        self._waiting = waiting
        self._results = results
        self._settlement = settlement
        self._graveyard = graveyard
        self._tally = tally
        self._runners: dict[int, Runner] = {}
        self._left_behind: list[tuple[Runner, float]] = []
        self._on_crash: Callable[[], None] = lambda: None

    def start(self, size: int, on_crash: Callable[[], None]) -> None:
        self._on_crash = on_crash
        self._size = size
        for number in range(size):
            self._launch(number, None)

    def expire(self) -> None:
        """Take the messages away from calls that last too long; about once a second."""
        for number, runner in list(self._runners.items()):
            job = runner.give_up()
            if job is not None:
                self._left_behind.append((runner, runner.cpu_seconds() or 0.0))
                self._launch(number, job)

    def stalls(self, elapsed: float) -> list[str]:
        """What only an end of the process can mend; `elapsed` seconds after the last time."""
        still: list[tuple[Runner, float]] = []
        burning = 0
        for runner, before in self._left_behind:
            cpu = runner.cpu_seconds()
            if cpu is not None:
                still.append((runner, cpu))
                burning += cpu - before > _BURNING_SHARE * elapsed
        self._left_behind = still
        found = []
        if burning:
            found.append(
                f"{burning} call(s) of the model exceed model_timeout and use the processor"
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
            began, first = time.perf_counter(), job.next
            if not runner.work(job):
                return
            each = (time.perf_counter() - began) / max(len(job.chunk.messages) - first, 1)
            longest = max(1, min(_LONGEST_CHUNK, int(_CHUNK_SECONDS / max(each, 1e-9))))
            self._finish(job)
            job = None

    def _next_job(self, runner: Runner, longest: int) -> Job | None:
        suspects = self._calling.suspects
        while suspects.careful and runner.number > 0:
            time.sleep(_CAREFUL_POLL_SECONDS)
        room = self._results.wait_for_room()
        # The other threads see the same room, and fill it, too.
        most = 1 if suspects else max(1, min(longest, room // self._size))
        chunk = self._waiting.take(most, self._size)
        return None if chunk is None else Job(chunk)

    def _finish(self, job: Job) -> None:
        chunk = job.chunk
        self._saver.save(chunk.messages)
        failed = {id(message) for message, _ in job.buried}
        results = [message for message in chunk.messages if message.result is not None]
        silent = [m for m in chunk.messages if m.result is None and id(m) not in failed]
        self._results.put(chunk.number, results)
        self._waiting.done(chunk)
        self._tally.add("processed", len(chunk.messages))
        if silent:
            self._tally.add("nothing_to_publish", len(silent))
            self._settlement.settle(silent)
        if job.buried:
            self._tally.add_errors(fault.kind for _, fault in job.buried)
            messages = [message for message, _ in job.buried]
            self._graveyard.bury(job.buried, partial(self._settlement.settle, messages))
