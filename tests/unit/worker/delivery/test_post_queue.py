"""The post queue against simple lists: exact counts, order, and nobody left waiting."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import accumulate, takewhile
from typing import NamedTuple

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from support.columns import batch_of, chunk_of, payloads_of, result_batch_of, roomy_budget
from support.poll import until
from support.waiters import waiting_threads

from pyboot_svc.worker.delivery.post_queue import PostQueue
from pyboot_svc.worker.execution.pre_queue import PreQueue
from pyboot_svc.worker.memory_budget import MemoryBudget
from pyboot_svc.worker.messages import Chunk, ResultBatch


def behind(result_batches: list[ResultBatch], count: int) -> list[ResultBatch]:
    """Without the first `count` results."""
    found = []
    for results in result_batches:
        if count < len(results):
            found.append(results.part(count, len(results)))
        count = max(count - len(results), 0)
    return found


class Result(NamedTuple):
    """One that is to be published, and the message that it is for."""

    number: int
    place: int
    payload: bytes


def results_of(result_batches: list[ResultBatch]) -> list[Result]:
    return [
        Result(results.chunk.number, place, payload)
        for results in result_batches
        for place, payload in zip(results.places, results.payloads, strict=True)
    ]


class PostQueueMachine(RuleBasedStateMachine):
    """Chunks finished in any order, taken, and partly given back, beside lists that do the same."""

    @initialize()
    def create(self) -> None:
        self.complete: set[int] = set()
        self.queue = PostQueue(5, roomy_budget())
        self.chunks: list[Chunk] = []
        self.places: list[int] = []
        self.unfinished: list[int] = []
        self.early: dict[int, list[Result]] = {}
        self.ready: list[Result] = []
        self.next_number = 0

    @rule()
    def begin_chunk(self) -> None:
        number = len(self.chunks)
        self.unfinished.append(number)
        self.chunks.append(chunk_of([b""] * 1000, number))
        self.places.append(0)

    @precondition(lambda self: self.unfinished)
    @rule(
        data=st.data(),
        sizes=st.lists(st.integers(0, 5), max_size=4),
        silent=st.integers(0, 1),
        last=st.booleans(),
    )
    def finish_some_of_a_chunk(
        self, data: st.DataObject, sizes: list[int], silent: int, last: bool
    ) -> None:
        number = data.draw(st.sampled_from(self.unfinished))
        first = self.places[number]
        step = 1 + silent  # with one between that has nothing to publish
        places = range(first, first + step * len(sizes), step)
        self.places[number] = places.stop
        payloads = [b"x" * size for size in sizes]
        results = ResultBatch(self.chunks[number], list(places) if silent else places, payloads)
        self.early.setdefault(number, []).extend(results_of([results]))
        if last:
            self._complete(number)
        self.ready += self.early.pop(self.next_number, [])
        self._release()
        self.queue.put(number, results if payloads else None, last=last)

    @precondition(lambda self: self.unfinished)
    @rule(data=st.data())
    def one_has_no_need_to_wait(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(self.unfinished))
        is_next = number == self.next_number and not self.ready
        assert self.queue.is_next(number) == is_next
        if is_next and not self.places[number]:
            self._complete(number)
            self._release()
            self.queue.skip(number, 1)

    def _complete(self, number: int) -> None:
        self.unfinished.remove(number)
        self.complete.add(number)

    def _release(self) -> None:
        while self.next_number in self.complete:
            self.next_number += 1
            self.ready += self.early.pop(self.next_number, [])

    @rule(most=st.integers(0, 10), sent=st.integers(0, 10))
    def take_and_give_back_what_was_not_sent(self, most: int, sent: int) -> None:
        taken = self.queue.take(most)
        assert results_of(taken) == self.ready[:most]
        count = sum(map(len, taken))
        assert self.queue.ready == len(self.ready) - count
        self.queue.put_back(behind(taken, sent))
        del self.ready[: min(sent, count)]

    @rule(most=st.integers(0, 10), room=st.integers(0, 20))
    def see_how_many_fit(self, most: int, room: int) -> None:
        sizes = accumulate(len(result.payload) for result in self.ready[:most])
        fitting = list(takewhile(lambda size: size <= room, sizes))
        assert self.queue.fitting(most, room, int) == (len(fitting), fitting[-1] if fitting else 0)

    @invariant()
    def counts_are_exact(self) -> None:
        assert self.queue.ready == len(self.ready)
        early = sum(len(results) for results in self.early.values())
        assert self.queue.depth() == len(self.ready) + early


TestPostQueueAgainstLists = PostQueueMachine.TestCase
TestPostQueueAgainstLists.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None
)


def result_batches(*counts: int) -> list[ResultBatch]:
    """Of consecutive chunks, with so many results each; no two are the same."""
    return [
        result_batch_of([b"%d/%d" % (number, place) for place in range(count)], number)
        for number, count in enumerate(counts)
    ]


def test_results_come_out_in_order_whatever_the_order_of_completion() -> None:
    queue = PostQueue(100, roomy_budget())
    first, second, third = result_batches(2, 3, 1)
    queue.put(2, third)
    queue.put(1, second)
    assert (queue.take(10), queue.ready, queue.depth()) == ([], 0, 4)
    queue.put(0, first)
    assert queue.take(10) == [first, second, third]


def test_results_of_a_chunk_that_is_not_complete() -> None:
    queue = PostQueue(100, roomy_budget())
    whole, third = result_batches(5, 1)
    first, second = whole.part(0, 2), whole.part(2, 5)
    queue.put(1, third)
    queue.put(0, first, last=False)
    assert queue.take(10) == [first]
    queue.put(0, second, last=False)
    assert queue.take(10) == [second]
    queue.put(0, None)
    assert queue.take(10) == [third]


def test_a_chunk_without_results_does_not_hold_up_the_next() -> None:
    queue = PostQueue(100, roomy_budget())
    _, result = result_batches(1, 1)
    queue.put(1, result)
    queue.put(0, None)
    assert queue.take(10) == [result]


def test_put_never_blocks_even_far_above_the_capacity() -> None:
    queue = PostQueue(2, roomy_budget())
    for number, results in reversed(list(enumerate(result_batches(*[2] * 50)))):
        queue.put(number, results)
    assert queue.depth() == 100


def test_the_room_that_is_left_is_told() -> None:
    queue = PostQueue(5, roomy_budget())
    assert queue.room() == queue.wait_for_room() == 5
    queue.put(1, result_batches(1, 3)[1])  # early ones count, too
    assert queue.room() == queue.wait_for_room() == 2
    queue.put(0, *result_batches(4))
    assert queue.room() < 0


def test_of_large_results_there_is_room_for_fewer() -> None:
    """What is made of one chunk is seen when all of it is: it should be no large part of all."""
    budget = MemoryBudget(4000)
    queue = PostQueue(100, budget)
    (small,) = result_batches(3)
    queue.put(0, small)
    assert queue.room() == 97
    queue.put(1, result_batch_of([b"x" * 200] * 2, 1))
    assert queue.room() == queue.wait_for_room() == 5
    queue.put(2, result_batch_of([b"x" * 2000], 2))
    assert queue.room() == queue.wait_for_room() == 1
    queue.skip(3, 500)
    assert queue.room() == 2
    queue.skip(4, 250, held=250)
    assert (queue.room(), budget.made) == (4, 2659)
    queue.put(5, result_batch_of([b"x" * 1500], 5))
    assert (budget.crowded, queue.room()) == (True, 0)


def test_take_wakes_everybody_who_waits_for_room() -> None:
    queue = PostQueue(2, roomy_budget())
    queue.put(0, *result_batches(3))
    returned, join = waiting_threads(4, queue.wait_for_room)
    queue.take(2)
    join()
    assert returned == [1] * 4


def test_close_lets_everybody_go_who_waits_for_room() -> None:
    queue = PostQueue(1, roomy_budget())
    queue.put(0, *result_batches(1))
    returned, join = waiting_threads(4, queue.wait_for_room)
    queue.close()
    join()
    assert len(returned) == 4


def test_a_batch_is_cut_where_no_more_is_wanted() -> None:
    queue = PostQueue(10, roomy_budget())
    queue.put(0, *result_batches(3))
    queue.put(1, result_batches(3, 4)[1])
    taken = queue.take(5)
    assert [list(results.places) for results in taken] == [[0, 1, 2], [0, 1]]
    assert payloads_of(taken) == [b"0/0", b"0/1", b"0/2", b"1/0", b"1/1"]
    assert (queue.ready, queue.depth()) == (2, 2)
    [rest] = queue.take(10)
    assert (list(rest.places), rest.payloads) == ([2, 3], [b"1/2", b"1/3"])
    assert rest.chunk is taken[1].chunk


def test_what_was_not_sent_goes_back_to_the_head_in_its_order() -> None:
    queue = PostQueue(10, roomy_budget())
    [results] = result_batches(5)
    queue.put(0, results)
    taken = queue.take(3)
    queue.put_back(behind(taken, 1))
    assert queue.depth() == 4
    assert payloads_of(queue.take(10)) == results.payloads[1:]


@pytest.mark.usefixtures("busy_switching")
def test_results_of_many_threads_come_out_in_order() -> None:
    waiting, queue = PreQueue(10_000, roomy_budget()), PostQueue(10_000, roomy_budget())
    sent = [b"%d" % number for number in range(2_000)]
    waiting.put(batch_of(sent))

    def work() -> None:
        while chunk := waiting.take(3, sharers=8):
            queue.put(chunk.number, ResultBatch(chunk, range(len(chunk)), chunk.batch.payloads))

    received: list[bytes] = []

    def all_came() -> bool:
        received.extend(payloads_of(queue.take(500)))
        return len(received) == len(sent)

    with ThreadPoolExecutor(8) as pool, closing(waiting):
        for _ in range(8):
            pool.submit(work)
        until(all_came, "all results")
    assert received == sent
    assert queue.depth() == 0
