"""The account of bytes that are held, by those who keep it: queues and settlement."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from support.columns import batch_of, without_state

from pyboot_svc.worker.delivery.post_queue import PostQueue
from pyboot_svc.worker.delivery.settlement import Settlement
from pyboot_svc.worker.execution.pre_queue import PreQueue
from pyboot_svc.worker.memory_budget import MemoryBudget
from pyboot_svc.worker.messages import Chunk, ResultBatch

MOST = 1000


class Line:
    """Everything that holds bytes; the model gives `result` bytes for each message."""

    def __init__(self, result: int = 0) -> None:
        self.budget = MemoryBudget(MOST)
        self.inputs = PreQueue(10_000, self.budget)
        self.results = PostQueue(10_000, self.budget)
        self.settlement = Settlement(self.budget, without_state())
        self._result = bytes(result)

    def arrive(self, size: int) -> None:
        """A message of so many bytes, its topic included."""
        self.inputs.put(batch_of([bytes(size - 2)], "in"))

    def compute(self) -> Chunk:
        chunk = self.inputs.take(1, 1)
        assert chunk is not None
        results = ResultBatch(chunk, range(len(chunk)), [self._result] * len(chunk))
        self.results.put(chunk.number, results)
        self.inputs.done(chunk)
        return chunk

    def publish(self) -> None:
        for results in self.results.take(1):
            self.settlement.settle(results.chunk, results.places)
            self.results.left(results.size)


def test_it_is_full_at_its_bound_and_no_longer_when_something_has_left() -> None:
    line = Line()
    line.arrive(MOST - 1)
    assert (line.budget.size, line.budget.full) == (MOST - 1, False)
    line.arrive(500)
    assert line.budget.full
    assert line.budget.excess == 499
    line.compute()
    line.publish()
    assert (line.budget.size, line.budget.full, line.budget.excess) == (500, False, 0)


def test_it_can_be_full_again_and_again() -> None:
    """What has left by then doesn't count, however much it was."""
    line = Line(result=100)
    for _ in range(20):
        line.arrive(MOST - 100)
        assert not line.budget.full
        line.compute()
        assert line.budget.full
        line.publish()
        assert (line.budget.size, line.budget.full) == (0, False)
        held = line.budget.arrived + line.budget.made
        assert line.budget.look_at > held, "it is not judged at each message"


@pytest.mark.parametrize(("result", "crowded"), [(200, False), (300, True)])
def test_it_is_crowded_when_results_are_a_good_part_of_it(result: int, crowded: bool) -> None:
    line = Line(result)
    line.arrive(MOST)
    line.compute()
    assert line.budget.full
    assert line.budget.crowded == crowded
    line.publish()
    assert not line.budget.crowded


def test_what_is_dropped_is_as_if_it_had_not_come() -> None:
    budget = MemoryBudget(MOST)
    queue = PreQueue(10_000, budget, lossy=True)
    for _ in range(10):
        queue.put(batch_of([bytes(298)], "in", packet_ids=[0]))
    assert budget.size < MOST + 300
    assert queue.depth() == budget.size // 300


def test_what_leaves_while_somebody_looks_is_seen() -> None:
    """Who lets go of it finds it not full yet, and has nobody look."""

    class Interrupted(MemoryBudget):
        leaving = 0

        @property
        def size(self) -> int:
            found = super().size
            self.settled, self.leaving = self.settled + self.leaving, 0
            return found

    budget = Interrupted(MOST)
    budget.arrived, budget.leaving = MOST, 600
    budget.judge()
    assert not budget.full


@pytest.mark.usefixtures("busy_switching")
def test_many_threads_lose_no_byte_of_the_account() -> None:
    line = Line(result=200)
    together = threading.Barrier(4)

    def work() -> None:
        together.wait(20)
        for _ in range(3000):
            line.arrive(300)
            line.compute()
            line.publish()

    with ThreadPoolExecutor(4) as threads:
        for done in [threads.submit(work) for _ in range(4)]:
            done.result(60)
    while line.results.ready:
        line.publish()
    assert line.budget.size == 0
    assert not line.budget.full
    assert not line.budget.crowded
