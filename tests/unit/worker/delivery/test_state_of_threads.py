"""`context.state` of several threads: in whatever order, no crash loses an acknowledged change."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar, cast

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from support.columns import Acknowledged, chunk_of, roomy_budget
from support.store import rows, running, settled

from pyboot_svc.model.state import CallState, ModelState
from pyboot_svc.worker.delivery.completion import Completion
from pyboot_svc.worker.delivery.model_state import StateSaver
from pyboot_svc.worker.delivery.post_queue import PostQueue
from pyboot_svc.worker.delivery.settlement import Settlement
from pyboot_svc.worker.messages import Chunk, ResultBatch
from pyboot_svc.worker.stats import Stats
from pyboot_svc.worker.storage.writer import DATABASE_NAME

MOST_THREADS = 3
NUMBERS = st.integers(0, MOST_THREADS - 1)
RESULTS = st.sampled_from([b"result", b"result", None])
MOSTLY_WELL = st.sampled_from(["well", "well", "well", "failed", "given up"])

T = TypeVar("T")


class Thread:
    """A model's, at a chunk: each of its calls assigns a key of its own, and counts `n`."""

    def __init__(self, chunk: Chunk, state: ModelState) -> None:
        self.chunk = chunk
        self.state = CallState(state)
        self.counted = 0

    @property
    def packet_id(self) -> int:
        return self.chunk.batch.packet_ids[len(self.chunk.results)]

    def assign(self) -> None:
        self.state[f"seen {self.packet_id}"] = True
        self.state["n"] = self.state.get("n", 0) + 1
        self.counted += 1


class SharedState(RuleBasedStateMachine):
    """From the calls to the acknowledgements, on a real store."""

    @initialize()
    def create(self) -> None:
        self.stack = ExitStack()
        self.folder = Path(self.stack.enter_context(TemporaryDirectory()))
        self.store = self.stack.enter_context(running(self.folder / DATABASE_NAME))
        self.state = ModelState({})
        saver = StateSaver(self.state, self.store)
        budget = roomy_budget()
        self.settlement = Settlement(budget, saver)
        self.results = PostQueue(1000, budget)
        self.completion = Completion(self.results, cast(Any, None), saver, self.settlement, Stats())
        self.origin = Acknowledged()
        self.arrived: list[Chunk] = []
        self.threads: list[Thread] = []
        self.sent: list[ResultBatch] = []
        # How often the call for each message has counted, if it has ended well.
        self.counted: dict[int, int] = {}

    @precondition(lambda self: len(self.threads) < MOST_THREADS)
    @rule(qos=st.lists(st.integers(0, 1), min_size=1, max_size=3))
    def take_up(self, qos: list[int]) -> None:
        """A chunk, by a thread that is idle."""
        first = 1 + 3 * len(self.arrived)
        packet_ids = [(first + place) * one for place, one in enumerate(qos)]
        chunk = chunk_of(
            [b""] * len(qos),
            len(self.arrived),
            packet_ids=packet_ids,
            origin=self.origin,
        )
        self.settlement.admit(chunk.batch)
        self.arrived.append(chunk)
        self.threads.append(Thread(chunk, self.state))

    @precondition(lambda self: self.threads)
    @rule(which=NUMBERS)
    def assign(self, which: int) -> None:
        self.one_of(self.threads, which).assign()

    @precondition(lambda self: self.threads)
    @rule(which=NUMBERS, result=RESULTS, how=MOSTLY_WELL)
    def end_call(self, which: int, result: bytes | None, how: str) -> None:
        thread = self.one_of(self.threads, which)
        chunk = thread.chunk
        if how == "well":
            thread.state.commit()
            self.counted[thread.packet_id] = thread.counted
        elif how == "failed":
            thread.state.roll_back()
        else:
            thread.state.give_up(len(self.arrived))  # in a thread that never comes back
        thread.counted = 0
        chunk.results.append(result)
        if len(chunk.results) == len(chunk):
            self.completion.hand_on(chunk, last=True)
            self.threads.remove(thread)

    @precondition(lambda self: self.threads)
    @rule(which=NUMBERS)
    def hand_on_what_is_done(self, which: int) -> None:
        """As of a call that takes long."""
        self.completion.hand_on(self.one_of(self.threads, which).chunk, last=False)

    @precondition(lambda self: self.sent or self.results.ready)
    @rule(which=NUMBERS)
    def publish(self, which: int) -> None:
        """The broker may take its time with some."""
        self.sent += self.results.take(1000)
        results = self.one_of(self.sent, which)
        self.sent.remove(results)
        self.completion.published([results])

    @staticmethod
    def one_of(some: list[T], which: int) -> T:
        return some[which % len(some)]

    @invariant()
    def no_acknowledged_change_is_lost_by_a_crash(self) -> None:
        acknowledged = self.origin.packet_ids
        kept = dict(rows(self.folder, "SELECT key, value FROM state"))
        counted = [self.counted[one] for one in acknowledged if self.counted.get(one)]
        assert int(kept.get("n", "0")) >= sum(counted)
        for packet_id in acknowledged:
            if self.counted.get(packet_id):
                assert f"seen {packet_id}" in kept

    def teardown(self) -> None:
        if not hasattr(self, "stack"):
            return
        with self.stack:
            while self.threads:
                self.end_call(0, b"result", "well")
            self.completion.published([*self.sent, *self.results.take(1000)])
            settled(self.store)
            sent = [mid for chunk in self.arrived for mid in chunk.batch.packet_ids if mid]
            assert self.origin.packet_ids == sent
            self.no_acknowledged_change_is_lost_by_a_crash()


TestSharedState = SharedState.TestCase
TestSharedState.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)
