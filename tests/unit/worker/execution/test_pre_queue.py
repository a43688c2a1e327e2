"""The pre queue against simple lists: exact counts, bounds, order, and nobody left waiting."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import cycle, takewhile
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from support.columns import batch_of, roomy_budget
from support.poll import until
from support.waiters import waiting_threads

from pyboot_svc.worker.execution.pre_queue import PreQueue
from pyboot_svc.worker.messages import TICK, Chunk, MessageBatch, Nowhere, Origin

BROKER, DEAD = Nowhere(), Nowhere()


def numbered(numbers: Iterable[int], qos: int = 0, session: int = 1) -> MessageBatch:
    """Messages that are known by their numbers."""
    payloads = [b"%d" % number for number in numbers]
    packet_ids = [int(payload) + 1 if qos else 0 for payload in payloads]
    return batch_of(payloads, packet_ids=packet_ids, session=session)


def numbers_of(chunk: Chunk | None) -> list[int]:
    assert chunk is not None
    return [int(payload) for payload in chunk.batch.payloads]


class Entry(NamedTuple):
    """All that columns say of one message, each differing from that of any other."""

    topic: str
    payload: bytes
    mid: int
    arrived: int
    session: int
    origin: Origin


def entry(number: int, qos: int, session: int) -> Entry:
    """Those of session 0 are no broker's."""
    origin = BROKER if session else DEAD
    payload = b"%d" % number
    return Entry(f"in/{number}", payload, number if qos else 0, -number, session, origin)


def batch_with(entries: list[Entry]) -> MessageBatch:
    batch = MessageBatch(
        [one.topic for one in entries],
        [one.payload for one in entries],
        [one.mid for one in entries],
        [one.arrived for one in entries],
        entries[0].session,
    )
    batch.origin = entries[0].origin
    return batch


def entries_of(batch: MessageBatch) -> list[Entry]:
    count = len(batch)
    origins = [batch.origin] * count
    sessions = [batch.session] * count
    columns = (batch.topics, batch.payloads, batch.packet_ids, batch.arrived, sessions, origins)
    return [Entry(*values) for values in zip(*columns, strict=True)]


def of_one_connection(entries: list[Entry]) -> list[Entry]:
    """The first ones, up to those that came by another one."""
    return list(takewhile(lambda one: one.session == entries[0].session, entries))


class PreQueueMachine(RuleBasedStateMachine):
    """Any order of arrivals, takes and model calls, beside lists that do the same."""

    @initialize(capacity=st.integers(1, 12), drop_oldest=st.booleans())
    def create(self, capacity: int, drop_oldest: bool) -> None:
        self.capacity = capacity
        self.drop_oldest = drop_oldest
        self.queue = PreQueue(capacity, roomy_budget(), drop_oldest=drop_oldest)
        self.waiting: list[Entry] = []
        self.in_hand: list[Chunk] = []
        self.arrived = 0
        self.taken = 0

    def expected_depth(self) -> int:
        begun = (min(len(c.results) + 1, len(c)) for c in self.in_hand)
        return len(self.waiting) + self.in_all_hands() - sum(begun)

    def in_all_hands(self) -> int:
        return sum(len(chunk.batch.payloads) for chunk in self.in_hand)

    @rule(
        qualities=st.lists(st.integers(0, 1), min_size=1, max_size=20),
        session=st.integers(0, 2),
    )
    def put(self, qualities: list[int], session: int) -> None:
        first = self.arrived + 1
        self.arrived += len(qualities)
        batch = [entry(number, qos, session) for number, qos in enumerate(qualities, first)]
        excess = max(self.expected_depth() + len(batch) - self.capacity, 0)
        droppable = [one for one in batch if one.mid == 0]
        if self.drop_oldest:
            # Nothing overtakes a message of QoS 1 that waits at the head.
            head = list(takewhile(lambda one: one.mid == 0, self.waiting))
            dropped = [*head, *droppable][:excess]
        else:
            dropped = droppable[::-1][:excess]
        self.waiting = [one for one in [*self.waiting, *batch] if one not in dropped]
        assert self.queue.put(batch_with(batch)) == len(dropped)

    @precondition(lambda self: self.waiting)
    @rule(most=st.integers(1, 20), sharers=st.integers(1, 5))
    def take(self, most: int, sharers: int) -> None:
        chunk = self.queue.take(most, sharers)
        assert chunk is not None
        count = max(1, min(most, len(self.waiting) // sharers))
        expected = of_one_connection(self.waiting[:count])
        assert entries_of(chunk.batch) == expected
        assert chunk.number == self.taken
        del self.waiting[: len(expected)]
        self.in_hand.append(chunk)
        self.taken += 1

    @precondition(lambda self: self.in_hand)
    @rule(data=st.data())
    def finish_a_call(self, data: st.DataObject) -> None:
        chunk = data.draw(st.sampled_from(self.in_hand))
        if len(chunk.results) < len(chunk):
            chunk.results.append(None)
        else:
            self.queue.done(chunk)
            self.in_hand.remove(chunk)

    @invariant()
    def counts_are_exact(self) -> None:
        assert self.queue.depth() == self.expected_depth()
        assert self.queue.taken() == self.in_all_hands()
        assert self.queue.unfinished() == len(self.waiting) + self.in_all_hands()
        assert bool(self.queue.waiting) == bool(self.waiting)


TestPreQueueAgainstLists = PreQueueMachine.TestCase
TestPreQueueAgainstLists.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def test_a_burst_is_shared_among_the_threads() -> None:
    queue = PreQueue(100, roomy_budget())
    queue.put(numbered(range(40)))
    chunks = [queue.take(256, sharers=4) for _ in range(4)]
    assert [len(chunk) for chunk in chunks if chunk] == [10, 7, 5, 4]


def test_part_of_a_batch_is_taken_and_the_rest_waits() -> None:
    queue = PreQueue(100, roomy_budget())
    queue.put(numbered(range(5), qos=1))
    first, second = queue.take(2, sharers=1), queue.take(1, sharers=1)
    assert (numbers_of(first), numbers_of(second)) == ([0, 1], [2])
    assert (queue.depth(), queue.taken(), queue.unfinished()) == (3, 3, 5)
    third = queue.take(10, sharers=1)
    assert numbers_of(third) == [3, 4]
    assert third is not None
    assert (third.number, third.batch.packet_ids, third.batch.session) == (2, [4, 5], 1)
    assert not queue.waiting


def test_small_batches_are_taken_as_one() -> None:
    queue = PreQueue(100, roomy_budget())
    for number in range(5):
        queue.put(numbered([2 * number, 2 * number + 1]))
    assert numbers_of(queue.take(7, sharers=1)) == list(range(7))
    assert numbers_of(queue.take(7, sharers=1)) == [7, 8, 9]


def test_messages_of_two_connections_are_never_taken_as_one() -> None:
    queue = PreQueue(100, roomy_budget())
    queue.put(numbered(range(3), qos=1, session=1))
    queue.put(numbered(range(3, 5), qos=1, session=2))
    queue.put(numbered(range(5, 6), qos=1, session=1))
    chunks = [queue.take(10, sharers=1) for _ in range(3)]
    assert [numbers_of(chunk) for chunk in chunks] == [[0, 1, 2], [3, 4], [5]]
    assert [chunk.batch.session for chunk in chunks if chunk] == [1, 2, 1]


def test_messages_of_two_origins_are_never_taken_as_one() -> None:
    queue = PreQueue(100, roomy_budget())
    queue.put(batch_of([b"0", b"1", b"2"], origin=DEAD))
    queue.put(batch_of([b"3"], origin=DEAD))
    queue.put(batch_of([b"4"], origin=BROKER))
    chunks = [queue.take(2, sharers=1) for _ in range(3)]
    assert [numbers_of(chunk) for chunk in chunks] == [[0, 1], [2, 3], [4]]
    assert [chunk.batch.origin for chunk in chunks if chunk] == [DEAD, DEAD, BROKER]


def test_the_oldest_part_of_a_batch_is_dropped_also_when_some_of_it_is_taken() -> None:
    queue = PreQueue(4, roomy_budget())
    queue.put(numbered(range(4)))
    chunk = queue.take(1, sharers=1)
    assert numbers_of(chunk) == [0]
    assert chunk is not None
    chunk.results.append(None)
    queue.done(chunk)
    assert queue.put(numbered([4, 5, 6])) == 2
    assert (queue.depth(), queue.unfinished()) == (4, 4)
    assert numbers_of(queue.take(10, sharers=1)) == [3, 4, 5, 6]


def test_more_than_one_batch_is_dropped_for_one_that_arrives() -> None:
    queue = PreQueue(5, roomy_budget())
    queue.put(numbered([0, 1]))
    queue.put(numbered([2, 3]))
    queue.put(numbered([4]))
    assert queue.put(numbered([5, 6, 7])) == 3
    assert numbers_of(queue.take(10, sharers=1)) == [3, 4, 5, 6, 7]


def test_of_a_batch_that_arrives_only_qos_0_is_dropped() -> None:
    payloads, packet_ids = [b"%d" % number for number in range(6)], [0, 1, 0, 2, 0, 3]
    oldest, newest = PreQueue(5, roomy_budget()), PreQueue(5, roomy_budget(), drop_oldest=False)
    for queue in (oldest, newest):
        assert queue.put(batch_of(payloads, packet_ids=packet_ids)) == 1
    first, second = oldest.take(10, sharers=1), newest.take(10, sharers=1)
    assert (numbers_of(first), numbers_of(second)) == ([1, 2, 3, 4, 5], [0, 1, 2, 3, 5])
    assert first is not None
    assert second is not None
    assert first.batch.packet_ids == [1, 0, 2, 0, 3]
    assert second.batch.packet_ids == [0, 1, 0, 2, 3]


def test_a_batch_that_is_dropped_whole_leaves_nothing() -> None:
    queue = PreQueue(2, roomy_budget(), drop_oldest=False)
    queue.put(numbered(range(2)))
    assert queue.put(numbered(range(2, 5))) == 3
    assert queue.unfinished() == 2
    assert numbers_of(queue.take(10, sharers=1)) == [0, 1]
    assert not queue.waiting


@given(
    arriving=st.lists(
        st.tuples(st.integers(1, 9), st.integers(0, 2), st.booleans()), min_size=1, max_size=12
    ),
    wanted=st.lists(st.integers(1, 12), min_size=1, max_size=12),
)
def test_all_that_arrived_is_taken_in_order_whatever_the_sizes(
    arriving: list[tuple[int, int, bool]], wanted: list[int]
) -> None:
    queue = PreQueue(1000, roomy_budget())
    sent: list[Entry] = []
    recurring: list[bool] = []
    for size, session, redeliverable in arriving:
        qos = int(redeliverable)
        batch = [entry(len(sent) + number, qos, session) for number in range(1, size + 1)]
        sent += batch
        recurring += [redeliverable] * size
        assert queue.put(batch_with(batch)) == 0
    came: list[Entry] = []
    for most in cycle(wanted):
        if not queue.waiting:
            break
        chunk = queue.take(most, sharers=1)
        assert chunk is not None
        rest = sent[len(came) :]
        expected = of_one_connection(rest[:most])
        assert entries_of(chunk.batch) == expected
        assert chunk.batch.redeliverable == any(recurring[len(came) :][: len(expected)])
        assert (queue.depth(), queue.unfinished()) == (len(rest) - 1, len(rest))
        came += expected
        queue.done(chunk)
    assert came == sent


@pytest.mark.parametrize("drop_oldest", [True, False])
def test_a_full_pre_queue_drops_qos_0_and_never_the_others(drop_oldest: bool) -> None:
    queue = PreQueue(3, roomy_budget(), drop_oldest=drop_oldest)
    assert queue.put(numbered(range(3))) == 0
    assert queue.put(numbered(range(2))) == 2
    assert queue.depth() == 3
    assert queue.put(numbered(range(50), qos=1)) == (3 if drop_oldest else 0)
    assert queue.put(numbered(range(50), qos=1)) == 0
    assert queue.put(numbered(range(1))) == 1
    assert queue.depth() == (100 if drop_oldest else 103)


@pytest.mark.parametrize(("drop_oldest", "kept"), [(True, range(4, 7)), (False, range(3))])
def test_what_a_full_pre_queue_drops(drop_oldest: bool, kept: range) -> None:
    queue = PreQueue(3, roomy_budget(), drop_oldest=drop_oldest)
    assert queue.put(numbered(range(2))) + queue.put(numbered(range(2, 7))) == 4
    assert numbers_of(queue.take(10, sharers=1)) == list(kept)


def test_the_oldest_are_dropped_up_to_the_first_that_must_not_be() -> None:
    queue = PreQueue(3, roomy_budget())
    queue.put(batch_of([b"0", b"1", b"2"], packet_ids=[0, 1, 0], session=1))
    assert queue.put(numbered([3, 4])) == 2
    assert numbers_of(queue.take(10, sharers=1)) == [1, 2, 4]


def test_what_the_model_was_called_for_makes_room() -> None:
    queue = PreQueue(2, roomy_budget())
    queue.put(numbered(range(3), qos=1))
    chunk = queue.take(3, sharers=1)
    assert chunk is not None
    assert queue.put(numbered(range(1))) == 1  # one is in its call, two wait for theirs
    chunk.results.append(None)
    assert queue.put(numbered(range(1))) == 0


def test_what_a_batch_was_called_for_waits_no_longer() -> None:
    queue = PreQueue(3, roomy_budget())
    queue.put(numbered(range(3)))
    chunk = queue.take(3, sharers=1)
    assert chunk is not None
    assert queue.depth() == 2
    chunk.as_one_call = True
    assert (queue.depth(), queue.unfinished()) == (0, 3)


def test_a_patient_taker_waits_for_as_many_as_it_wants() -> None:
    queue = PreQueue(100, roomy_budget())
    returned, join = waiting_threads(1, lambda: queue.take(5, 1, patience=60))
    for _ in range(5):
        assert returned == []
        queue.put(numbered(range(1)))
    join()
    assert [len(chunk) for chunk in returned] == [5]


def test_a_patient_taker_is_content_with_less_in_the_end() -> None:
    queue = PreQueue(100, roomy_budget())
    queue.put(numbered(range(3)))
    chunk = queue.take(5, 1, patience=0.01)
    assert chunk is not None
    assert len(chunk) == 3


def test_close_lets_a_patient_taker_go() -> None:
    queue = PreQueue(100, roomy_budget())
    queue.put(numbered(range(1)))
    returned, join = waiting_threads(1, lambda: queue.take(5, 1, patience=60))
    queue.close()
    join()
    assert returned == [None]


def test_put_wakes_as_many_takers_as_there_are_messages() -> None:
    queue = PreQueue(100, roomy_budget())
    returned, join = waiting_threads(4, lambda: queue.take(256, sharers=4))
    queue.put(numbered(range(4)))
    join()
    assert sorted(chunk.number for chunk in returned) == [0, 1, 2, 3]


def test_close_lets_every_taker_go() -> None:
    queue = PreQueue(100, roomy_budget())
    returned, join = waiting_threads(4, lambda: queue.take(1, sharers=4))
    queue.close()
    join()
    assert returned == [None] * 4


def test_after_close_nothing_is_taken_and_what_waits_is_still_counted() -> None:
    queue = PreQueue(100, roomy_budget())
    queue.put(numbered(range(3)))
    queue.close()
    assert queue.take(1, sharers=1) is None
    assert (queue.depth(), queue.unfinished()) == (3, 3)


@pytest.mark.usefixtures("busy_switching")
def test_takers_in_many_threads_lose_nothing_and_repeat_nothing() -> None:
    queue, total = PreQueue(10, roomy_budget()), 3_000
    chunks: list[Chunk] = []

    def work() -> None:
        while chunk := queue.take(7, sharers=4):
            for _ in chunk.batch.payloads:
                chunk.results.append(None)
            chunks.append(chunk)
            queue.done(chunk)

    with ThreadPoolExecutor(4) as pool, closing(queue):
        workers = [pool.submit(work) for _ in range(4)]
        for start in range(0, total, 10):
            assert queue.put(numbered(range(start, start + 10), qos=1)) == 0
            assert 0 <= queue.depth() <= start + 10
        until(lambda: queue.unfinished() == 0, "all were taken")
    assert [worker.result() for worker in workers] == [None] * 4
    chunks.sort(key=lambda chunk: chunk.number)
    assert [chunk.number for chunk in chunks] == list(range(len(chunks)))
    assert [number for chunk in chunks for number in numbers_of(chunk)] == list(range(total))
    assert queue.depth() == 0


@pytest.mark.parametrize("lossy", [True, False])
def test_a_call_that_is_due_is_one_also_when_it_comes_to_a_full_queue(lossy: bool) -> None:
    queue = PreQueue(2, roomy_budget(), lossy=lossy)
    for payload in (b"1", b"2", b"3"):
        queue.put(batch_of([payload], packet_ids=[0 if lossy else 1]))
    queue.put(MessageBatch([""], [b"now"], [1], [0], particulars=TICK))
    ticks = []
    while queue.waiting:
        chunk = queue.take(1, 1)
        assert chunk is not None
        ticks.append((chunk.batch.payloads, chunk.batch.particulars.tick))
        queue.done(chunk)
    assert ticks[-1] == ([b"now"], True)
    assert not any(tick for _, tick in ticks[:-1])
