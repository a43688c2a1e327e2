"""The queues against simple lists: exact counts, bounds, order, and nobody left waiting."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import takewhile
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from support.poll import until

from pyboot_svc.worker.message import Chunk, Message
from pyboot_svc.worker.queues import PostQueue, PreQueue


def messages(count: int, qos: int = 0) -> list[Message]:
    return [Message("in", str(number).encode(), qos) for number in range(count)]


def waiting_threads(count: int, wait: Callable[[], Any]) -> tuple[list[Any], Callable[[], None]]:
    """Start threads that call `wait`; what they came back with, and a function that joins them."""
    returned: list[Any] = []
    threads = [
        threading.Thread(target=lambda: returned.append(wait()), daemon=True) for _ in range(count)
    ]
    for thread in threads:
        thread.start()

    def join() -> None:
        for thread in threads:
            thread.join(20)
            assert not thread.is_alive(), "still waits"

    threads[0].join(0.1)
    assert returned == [], "didn't wait"
    return returned, join


class PreQueueMachine(RuleBasedStateMachine):
    """Any order of arrivals, takes and model calls, beside lists that do the same."""

    @initialize(capacity=st.integers(1, 12), drop_oldest=st.booleans())
    def create(self, capacity: int, drop_oldest: bool) -> None:
        self.capacity = capacity
        self.drop_oldest = drop_oldest
        self.queue = PreQueue(capacity, drop_oldest=drop_oldest)
        self.waiting: list[Message] = []
        self.in_hand: list[Chunk] = []
        self.taken = 0

    def expected_depth(self) -> int:
        begun = (min(len(c.results) + 1, len(c.messages)) for c in self.in_hand)
        return len(self.waiting) + self.in_all_hands() - sum(begun)

    def in_all_hands(self) -> int:
        return sum(len(chunk.messages) for chunk in self.in_hand)

    @rule(qualities=st.lists(st.integers(0, 2), max_size=20))
    def put(self, qualities: list[int]) -> None:
        batch = [Message("in", b"", qos) for qos in qualities]
        excess = max(self.expected_depth() + len(batch) - self.capacity, 0)
        droppable = [message for message in batch if message.qos == 0]
        if self.drop_oldest:
            # Nothing overtakes a message of QoS 1 or 2 that waits at the head.
            head = list(takewhile(lambda message: message.qos == 0, self.waiting))
            dropped = [*head, *droppable][:excess]
        else:
            dropped = droppable[::-1][:excess]
        self.waiting = [m for m in [*self.waiting, *batch] if m not in dropped]
        assert self.queue.put(batch) == len(dropped)

    @precondition(lambda self: self.waiting)
    @rule(most=st.integers(1, 20), sharers=st.integers(1, 5))
    def take(self, most: int, sharers: int) -> None:
        chunk = self.queue.take(most, sharers)
        assert chunk is not None
        count = len(chunk.messages)
        assert 1 <= count <= max(1, min(most, len(self.waiting) // sharers))
        assert chunk.messages == self.waiting[:count]
        assert chunk.number == self.taken
        del self.waiting[:count]
        self.in_hand.append(chunk)
        self.taken += 1

    @precondition(lambda self: self.in_hand)
    @rule(data=st.data())
    def finish_a_call(self, data: st.DataObject) -> None:
        chunk = data.draw(st.sampled_from(self.in_hand))
        if len(chunk.results) < len(chunk.messages):
            chunk.results.append(None)
        else:
            self.queue.done(chunk)
            self.in_hand.remove(chunk)

    @invariant()
    def counts_are_exact(self) -> None:
        assert self.queue.depth() == self.expected_depth()
        assert self.queue.taken() == self.in_all_hands()
        assert self.queue.unfinished() == len(self.waiting) + self.in_all_hands()


class PostQueueMachine(RuleBasedStateMachine):
    """Chunks finished in any order, taken, and partly given back, beside lists that do the same."""

    @initialize()
    def create(self) -> None:
        self.calls = 0
        self.complete: set[int] = set()
        self.queue = PostQueue(5, self.note_ready)
        self.begun = 0
        self.unfinished: list[int] = []
        self.early: dict[int, list[Message]] = {}
        self.ready: list[Message] = []
        self.next_number = 0

    def note_ready(self) -> None:
        self.calls += 1

    @rule()
    def begin_chunk(self) -> None:
        self.unfinished.append(self.begun)
        self.begun += 1

    @precondition(lambda self: self.unfinished)
    @rule(data=st.data(), count=st.integers(0, 4), last=st.booleans())
    def finish_some_of_a_chunk(self, data: st.DataObject, count: int, last: bool) -> None:
        number = data.draw(st.sampled_from(self.unfinished))
        results = messages(count)
        self.early.setdefault(number, []).extend(results)
        if last:
            self.unfinished.remove(number)
            self.complete.add(number)
        before, calls = len(self.ready), self.calls
        self.ready += self.early.pop(self.next_number, [])
        while self.next_number in self.complete:
            self.next_number += 1
            self.ready += self.early.pop(self.next_number, [])
        self.queue.put(number, results, last=last)
        assert self.calls - calls == (len(self.ready) > before)

    @rule(most=st.integers(0, 10), sent=st.integers(0, 10))
    def take_and_give_back_what_was_not_sent(self, most: int, sent: int) -> None:
        taken = self.queue.take(most)
        assert taken == self.ready[:most]
        assert self.queue.ready == len(self.ready) - len(taken)
        self.queue.put_back(taken[sent:])
        del self.ready[: min(sent, len(taken))]

    @invariant()
    def counts_are_exact(self) -> None:
        assert self.queue.ready == len(self.ready)
        early = sum(len(results) for results in self.early.values())
        assert self.queue.depth() == len(self.ready) + early


_machines = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestPreQueueAgainstLists = PreQueueMachine.TestCase
TestPreQueueAgainstLists.settings = _machines
TestPostQueueAgainstLists = PostQueueMachine.TestCase
TestPostQueueAgainstLists.settings = _machines


def test_a_burst_is_shared_among_the_threads() -> None:
    queue = PreQueue(100)
    queue.put(messages(40))
    chunks = [queue.take(256, sharers=4) for _ in range(4)]
    assert [len(chunk.messages) for chunk in chunks if chunk] == [10, 7, 5, 4]


@pytest.mark.parametrize("drop_oldest", [True, False])
def test_a_full_pre_queue_drops_qos_0_and_never_the_others(drop_oldest: bool) -> None:
    queue = PreQueue(3, drop_oldest=drop_oldest)
    assert queue.put(messages(3)) == 0
    assert queue.put(messages(2)) == 2
    assert queue.depth() == 3
    assert queue.put(messages(50, qos=1)) == (3 if drop_oldest else 0)
    assert queue.put(messages(50, qos=2)) == 0
    assert queue.put(messages(1)) == 1
    assert queue.depth() == (100 if drop_oldest else 103)


@pytest.mark.parametrize(("drop_oldest", "kept"), [(True, range(4, 7)), (False, range(3))])
def test_what_a_full_pre_queue_drops(drop_oldest: bool, kept: range) -> None:
    queue = PreQueue(3, drop_oldest=drop_oldest)
    arrived = messages(7)
    assert queue.put(arrived[:2]) + queue.put(arrived[2:]) == 4
    chunk = queue.take(10, sharers=1)
    assert chunk is not None
    assert chunk.messages == [arrived[number] for number in kept]


def test_the_oldest_are_dropped_up_to_the_first_that_must_not_be() -> None:
    queue = PreQueue(3)
    old, owed, newer = messages(1), messages(1, qos=1), messages(1)
    queue.put([*old, *owed, *newer])
    late = messages(2)
    assert queue.put(late) == 2
    chunk = queue.take(10, sharers=1)
    assert chunk is not None
    assert chunk.messages == [*owed, *newer, late[1]]


def test_what_the_model_was_called_for_makes_room() -> None:
    queue = PreQueue(2)
    queue.put(messages(3, qos=1))
    chunk = queue.take(3, sharers=1)
    assert chunk is not None
    assert queue.put(messages(1)) == 1  # one is in its call, two wait for theirs
    chunk.results.append(None)
    assert queue.put(messages(1)) == 0


def test_what_a_batch_was_called_for_waits_no_longer() -> None:
    queue = PreQueue(3)
    queue.put(messages(3))
    chunk = queue.take(3, sharers=1)
    assert chunk is not None
    assert queue.depth() == 2
    chunk.together = True
    assert (queue.depth(), queue.unfinished()) == (0, 3)


def test_a_patient_taker_waits_for_as_many_as_it_wants() -> None:
    queue = PreQueue(100)
    returned, join = waiting_threads(1, lambda: queue.take(5, 1, patience=60))
    for _ in range(5):
        assert returned == []
        queue.put(messages(1))
    join()
    assert [len(chunk.messages) for chunk in returned] == [5]


def test_a_patient_taker_is_content_with_less_in_the_end() -> None:
    queue = PreQueue(100)
    queue.put(messages(3))
    chunk = queue.take(5, 1, patience=0.01)
    assert chunk is not None
    assert len(chunk.messages) == 3


def test_close_lets_a_patient_taker_go() -> None:
    queue = PreQueue(100)
    queue.put(messages(1))
    returned, join = waiting_threads(1, lambda: queue.take(5, 1, patience=60))
    queue.close()
    join()
    assert returned == [None]


def test_put_wakes_as_many_takers_as_there_are_messages() -> None:
    queue = PreQueue(100)
    returned, join = waiting_threads(4, lambda: queue.take(256, sharers=4))
    queue.put(messages(4))
    join()
    assert sorted(chunk.number for chunk in returned) == [0, 1, 2, 3]


def test_close_lets_every_taker_go() -> None:
    queue = PreQueue(100)
    returned, join = waiting_threads(4, lambda: queue.take(1, sharers=4))
    queue.close()
    join()
    assert returned == [None] * 4


def test_after_close_nothing_is_taken_and_what_waits_is_still_counted() -> None:
    queue = PreQueue(100)
    queue.put(messages(3))
    queue.close()
    assert queue.take(1, sharers=1) is None
    assert (queue.depth(), queue.unfinished()) == (3, 3)


@pytest.mark.usefixtures("busy_switching")
def test_takers_in_many_threads_lose_nothing_and_repeat_nothing() -> None:
    queue, total = PreQueue(10), 3_000
    chunks: list[Chunk] = []

    def work() -> None:
        while chunk := queue.take(7, sharers=4):
            for _ in chunk.messages:
                chunk.results.append(None)
            chunks.append(chunk)
            queue.done(chunk)

    sent = messages(total, qos=1)
    with ThreadPoolExecutor(4) as pool, closing(queue):
        workers = [pool.submit(work) for _ in range(4)]
        for start in range(0, total, 10):
            assert queue.put(sent[start : start + 10]) == 0
            assert 0 <= queue.depth() <= start + 10
        until(lambda: queue.unfinished() == 0, "all were taken")
    assert [worker.result() for worker in workers] == [None] * 4
    chunks.sort(key=lambda chunk: chunk.number)
    assert [chunk.number for chunk in chunks] == list(range(len(chunks)))
    assert [message for chunk in chunks for message in chunk.messages] == sent
    assert queue.depth() == 0


def test_results_come_out_in_order_whatever_the_order_of_completion() -> None:
    queue = PostQueue(100, lambda: None)
    first, second, third = messages(2), messages(3), messages(1)
    queue.put(2, third)
    queue.put(1, second)
    assert (queue.take(10), queue.ready, queue.depth()) == ([], 0, 4)
    queue.put(0, first)
    assert queue.take(10) == first + second + third


def test_results_of_a_chunk_that_is_not_complete() -> None:
    queue = PostQueue(100, lambda: None)
    first, second, third = messages(2), messages(3), messages(1)
    queue.put(1, third)
    queue.put(0, first, last=False)
    assert queue.take(10) == first
    queue.put(0, second, last=False)
    assert queue.take(10) == second
    queue.put(0, [])
    assert queue.take(10) == third


def test_a_chunk_without_results_does_not_hold_up_the_next() -> None:
    queue = PostQueue(100, lambda: None)
    result = messages(1)
    queue.put(1, result)
    queue.put(0, [])
    assert queue.take(10) == result


def test_put_never_blocks_even_far_above_the_capacity() -> None:
    queue = PostQueue(2, lambda: None)
    for number in reversed(range(50)):
        queue.put(number, messages(2))
    assert queue.depth() == 100


def test_the_room_that_is_left_is_told() -> None:
    queue = PostQueue(5, lambda: None)
    assert queue.wait_for_room() == 5
    queue.put(1, messages(3))  # early ones count, too
    assert queue.wait_for_room() == 2


def test_take_wakes_everybody_who_waits_for_room() -> None:
    queue = PostQueue(2, lambda: None)
    queue.put(0, messages(3))
    returned, join = waiting_threads(4, queue.wait_for_room)
    queue.take(2)
    join()
    assert returned == [1] * 4


def test_close_lets_everybody_go_who_waits_for_room() -> None:
    queue = PostQueue(1, lambda: None)
    queue.put(0, messages(1))
    returned, join = waiting_threads(4, queue.wait_for_room)
    queue.close()
    join()
    assert len(returned) == 4


def test_what_was_not_sent_goes_back_to_the_head_in_its_order() -> None:
    queue = PostQueue(10, lambda: None)
    results = messages(5)
    queue.put(0, results)
    taken = queue.take(3)
    queue.put_back(taken[1:])
    assert queue.depth() == 4
    assert queue.take(10) == results[1:]


@pytest.mark.usefixtures("busy_switching")
def test_results_of_many_threads_come_out_in_order() -> None:
    waiting, queue = PreQueue(10_000), PostQueue(10_000, lambda: None)
    sent = messages(2_000)
    waiting.put(sent)

    def work() -> None:
        while chunk := waiting.take(3, sharers=8):
            queue.put(chunk.number, chunk.messages)

    received: list[Message] = []

    def all_came() -> bool:
        received.extend(queue.take(500))
        return len(received) == len(sent)

    with ThreadPoolExecutor(8) as pool, closing(waiting):
        for _ in range(8):
            pool.submit(work)
        until(all_came, "all results")
    assert received == sent
    assert queue.depth() == 0
