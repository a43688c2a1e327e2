"""The model threads: they take messages, call the model, and hand on what it returned."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextvars import copy_context
from functools import partial
from typing import Protocol

from pyboot_svc.model.context import Context
from pyboot_svc.threads import spawn
from pyboot_svc.worker.delivery.completion import Completion
from pyboot_svc.worker.execution.model_call import ModelCall
from pyboot_svc.worker.execution.pre_queue import PreQueue
from pyboot_svc.worker.execution.runner import Runner
from pyboot_svc.worker.messages import Chunk

# A chunk is as long as the model's work on it lasts about this long: hand-offs then cost little,
# and the first result of a chunk doesn't wait long for its last.
CHUNK_SECONDS = 0.002
LONGEST_CHUNK = 256
# Calls that never end are left behind, each in its thread; with more, the process has to go.
_MOST_LEFT_BEHIND = 16
# Of a processor: calls that go on using it, or waiting for it, take it from the others.
_BURNING_SHARE = 0.2
_CAREFUL_POLL_SECONDS = 0.05
# A thread with such work behind it, and more waiting, is away from what it does when idle.
_AWAY_SECONDS = 0.05
_LONG_CALL_SECONDS = 10.0


class Forwarder(Protocol):
    """Who sends the results on."""

    # Whether it is of any use to ask it to `send_lone`.
    sends_lone: bool

    def room(self) -> int:
        """How many more results it takes."""

    def wait_for_room(self) -> int:
        """The same, when it takes any."""

    def try_send(self) -> None:
        """There may be results to send."""

    def send_lone(self, chunk: Chunk) -> bool:
        """Publish the one result of this chunk at once, if nothing is in the way."""


class IdleWork(Protocol):
    """What a single model thread does while nothing waits for it; `wake` calls it back."""

    # Whether it waits for work now, or is about to.
    waiting: bool

    def poll_once(self, busy: Callable[[], bool]) -> bool:
        """Wait for work and take it in; False when there is nothing to wait for, or no time to.

        There is none when `busy`, which is asked after the point from which on it can be woken.
        """

    def wake(self) -> None: ...

    def step_aside(self) -> None:
        """Others have to do it: who does is about to wait for something else."""


class NoIdleWork:
    """Of several model threads none is simply idle: the connections have threads of their own."""

    waiting = False

    def poll_once(self, busy: Callable[[], bool]) -> bool:
        return False

    def wake(self) -> None: ...
    def step_aside(self) -> None: ...


class ModelPool:
    """Runs one model in N threads, from the pre_queue to the completion of each message.

    A call that lasts past its limit loses its message to the dead letters, and its thread is
    replaced. A single thread does `idle_work` while nothing waits. Each thread has a copy of the
    context variables of the one that starts the pool, which has loaded the model.
    """

    def __init__(
        self,
        call: ModelCall,
        make_context: Callable[[], Context],
        pre_queue: PreQueue,
        completion: Completion,
        forwarder: Forwarder,
        idle_work: IdleWork,
    ) -> None:
        self._call = call
        self._make_context = make_context
        self._pre_queue = pre_queue
        self._completion = completion
        self._forwarder = forwarder
        self._idle_work = idle_work
        self._runners: dict[int, Runner] = {}
        self._left_behind: list[tuple[Runner, float]] = []
        self._on_crash: Callable[[], None] = lambda: None
        self._size = 0
        # Those whose threads have come to the end of the pre_queue.
        self._done: set[int] = set()
        self._ended = threading.Event()

    def start(self, size: int, on_crash: Callable[[], None], *, here: bool = False) -> None:
        """With `here`, a single thread is that which calls `work`."""
        self._on_crash = on_crash
        self._size = size
        # Before any thread: what the model has set in them is its own in each.
        self._context_variables = copy_context()
        self._here = here and size == 1
        self._portion = self._call.portion(size)
        for number in range(size):
            runner = self._make(number)
            if not self._here:
                self._launch(runner, None)

    def work(self) -> None:
        """Until the pre_queue is closed and all of it is done."""
        if self._here:
            self._run(self._runners[0], None)
        self._ended.wait()

    def expire(self) -> None:
        """Take the messages away from calls that last too long; about once a second.

        What a stuck chunk has finished doesn't wait for the rest.
        """
        for number, runner in list(self._runners.items()):
            stuck = runner.stuck_chunk()
            if stuck is None:
                continue
            rest = runner.give_up(stuck)
            if rest is not None:
                self._pre_queue.resume(rest)
                self._left_behind.append((runner, runner.busy_seconds() or 0.0))
                self._launch(self._make(number), rest)
            else:
                self._hand_on_what_is_done(runner, stuck)

    def long_calls(self) -> list[str]:
        """What somebody who waits for results wants to know."""
        seconds = (runner.call_seconds for runner in list(self._runners.values()))
        return [f"in a call for {s:.0f} s" for s in seconds if s >= _LONG_CALL_SECONDS]

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

    def _make(self, number: int) -> Runner:
        runner = self._runners[number] = Runner(number, self._call, self._make_context())
        return runner

    def _launch(self, runner: Runner, chunk: Chunk | None) -> None:
        run = partial(self._context_variables.copy().run, self._run, runner, chunk)
        spawn(f"model-{runner.number}", run, self._on_crash)

    def _run(self, runner: Runner, chunk: Chunk | None) -> None:
        try:
            self._run_to_the_end(runner, chunk)
        except BaseException:
            self._call.journal.die(runner.number)
            raise

    def _run_to_the_end(self, runner: Runner, chunk: Chunk | None) -> None:
        hand_on, worked = self._hand_on, self._completion.worked
        try_send, done = self._forwarder.try_send, self._pre_queue.done
        # How long the model was at the last chunk, and how many messages that were: the first is
        # alone.
        took, count = CHUNK_SECONDS, 1
        while chunk is not None or (chunk := self._next_chunk(runner, took, count)) is not None:
            first = len(chunk.results)
            if not runner.work(chunk, hand_on):
                return
            took, count = chunk.took, len(chunk.results) - first
            if count:
                worked((took, count))
            try_send()
            done(chunk)
            chunk = None
        self._done.add(runner.number)
        if len(self._done) == self._size:
            self._ended.set()

    def _hand_on(self, chunk: Chunk) -> None:
        """All that there is of a chunk, by the shortest way."""
        completion, forwarder = self._completion, self._forwarder
        plain = forwarder.sends_lone and completion.is_plain(chunk)
        if not plain or not forwarder.send_lone(chunk):
            completion.hand_on(chunk, last=True)

    def _next_chunk(self, runner: Runner, took: float, count: int) -> Chunk | None:
        """As many messages as the model, which `took` so many seconds for `count`, is at for a
        while."""
        suspects = self._call.suspects
        alone = bool(suspects.counts)
        while alone and runner.number > 0 and suspects.careful:
            time.sleep(_CAREFUL_POLL_SECONDS)
        queue, poll_once = self._pre_queue, self._idle_work.poll_once
        room = self._forwarder.room()
        if room <= 0 or (took > _AWAY_SECONDS and queue.waiting):
            self._idle_work.step_aside()
        if room <= 0:
            room = self._forwarder.wait_for_room()
        while not queue.waiting and poll_once(queue.busy):
            pass
        if alone:
            return queue.take(1, self._size)
        most, sharers, patience = self._portion
        if queue.waiting == 1 and not patience:
            return queue.take(1, sharers)
        # The other threads see the same room, and fill it, too.
        return queue.take(min(most or _at_once(took, count), room // sharers), sharers, patience)

    def _hand_on_what_is_done(self, runner: Runner, chunk: Chunk) -> None:
        with runner.lock:
            if chunk.handed_on == len(chunk.results):
                return
            self._completion.hand_on(chunk, last=False)
        self._forwarder.try_send()


def _at_once(took: float, count: int) -> int:
    """So many messages a model that `took` so many seconds for `count` is to have at once."""
    if took * LONGEST_CHUNK <= CHUNK_SECONDS * count:
        return LONGEST_CHUNK
    return max(1, int(CHUNK_SECONDS * count / took))
