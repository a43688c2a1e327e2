"""Acknowledgements: the settled prefix, in order of arrival, each message once."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, takewhile

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.columns import Acknowledged, batch_of, chunk_of, roomy_budget, without_state

from pyboot_svc.worker.delivery.settlement import Settlement
from pyboot_svc.worker.messages import Chunk, MessageBatch

# A message: its chunk, and its place there.
Spot = tuple[Chunk, int]


class Spots(Acknowledged):
    """What a settlement has acknowledged, message by message."""

    @property
    def spots(self) -> list[tuple[MessageBatch, int]]:
        return [(batch, place) for batch, start, stop in self.calls for place in range(start, stop)]


def chunks_of(qualities: Sequence[Sequence[int]]) -> list[Chunk]:
    """Consecutive chunks of messages of these qualities; their packet numbers count from 1."""
    chunks: list[Chunk] = []
    sent = 0
    for number, some in enumerate(qualities):
        packet_ids = [at if qos else 0 for at, qos in enumerate(some, sent + 1)]
        sent += len(some)
        chunks.append(chunk_of([b""] * len(some), number, packet_ids=packet_ids))
    return chunks


def all_of(chunks: list[Chunk]) -> list[Spot]:
    return [(chunk, place) for chunk in chunks for place in range(len(chunk))]


def mid(spot: Spot) -> int:
    chunk, place = spot
    return chunk.batch.packet_ids[place]


def begun(chunks: list[Chunk]) -> tuple[Settlement, Spots]:
    """A settlement to which all these have been admitted."""
    acknowledged = Spots()
    settlement = Settlement(roomy_budget(), without_state())
    for chunk in chunks:
        chunk.batch.origin = acknowledged
        settlement.admit(chunk.batch)
    return settlement, acknowledged


def pieces(places: Sequence[int], chance: random.Random) -> Iterator[Sequence[int]]:
    """All the places, once each, a few at a time and in any order: ranges and lists."""
    rest = list(places)
    if chance.random() < 0.5:
        chance.shuffle(rest)
    cuts: list[Sequence[int]] = []
    while rest:
        count = chance.randint(1, 4)
        some, rest = rest[:count], rest[count:]
        run = range(some[0], some[0] + len(some))
        cuts.append(run if some == list(run) else some)
    if chance.random() < 0.5:
        chance.shuffle(cuts)
    yield from cuts


QUALITIES = st.lists(
    st.lists(st.integers(0, 1), min_size=1, max_size=8) | st.just([0, 0]), max_size=8
)


@given(QUALITIES, st.randoms(use_true_random=False))
def test_exactly_the_settled_prefix_is_acknowledged(
    qualities: list[list[int]], chance: random.Random
) -> None:
    chunks = chunks_of(qualities)
    settlement, acknowledged = begun(chunks)
    arrived = all_of(chunks)
    owed = [mid(spot) for spot in arrived if mid(spot)]
    pending = [(chunk, places) for chunk in chunks for places in pieces(range(len(chunk)), chance)]
    if chance.random() < 0.7:
        chance.shuffle(pending)
    settled: set[Spot] = set()
    for chunk, places in pending:
        settlement.settle(chunk, places)
        settled.update((chunk, place) for place in places)
        prefix = list(takewhile(lambda spot: spot in settled, arrived))
        assert acknowledged.packet_ids == [mid(spot) for spot in prefix if mid(spot)]
        assert acknowledged.spots == [(c.batch, at) for c, at in prefix if c.batch.redeliverable]
        assert settlement.unacknowledged == len(owed) - len(acknowledged.packet_ids)
    assert acknowledged.packet_ids == owed


def test_settling_twice_acknowledges_once() -> None:
    chunks = chunks_of([[1, 1], [1]])
    settlement, acknowledged = begun(chunks)
    first, second = chunks
    settlement.settle(first, [1, 1])
    settlement.settle(first, [0])
    settlement.settle(first, [0, 1])
    assert acknowledged.packet_ids == [1, 2]
    settlement.settle(first, range(2))
    settlement.settle(second, range(1))
    settlement.settle(second, range(1))
    assert acknowledged.packet_ids == [1, 2, 3]
    assert settlement.unacknowledged == 0


@pytest.mark.parametrize("again", [range(2), [0, 1], [1], range(1, 2)])
def test_settling_the_beginning_twice_does_not_settle_the_rest(again: Sequence[int]) -> None:
    [chunk] = chunks_of([[1, 1, 1, 1]])
    settlement, acknowledged = begun([chunk])
    settlement.settle(chunk, range(2))
    settlement.settle(chunk, again)
    assert (acknowledged.packet_ids, settlement.unacknowledged) == ([1, 2], 2)
    settlement.settle(chunk, range(2, 4))
    assert (acknowledged.packet_ids, settlement.unacknowledged) == ([1, 2, 3, 4], 0)


def test_a_chunk_that_is_at_its_end_can_not_settle_the_next_one() -> None:
    chunks = chunks_of([[1, 1], [1, 1], [1]])
    settlement, acknowledged = begun(chunks)
    first, second, third = chunks
    settlement.settle(first, range(2))
    settlement.settle(first, range(2))
    settlement.settle(third, range(1))
    assert acknowledged.packet_ids == [1, 2]
    settlement.settle(second, range(2))
    assert acknowledged.packet_ids == [1, 2, 3, 4, 5]


def test_nothing_is_called_when_nothing_can_be_acknowledged() -> None:
    [chunk] = chunks_of([[1, 1, 0]])
    settlement, acknowledged = begun([chunk])
    settlement.settle(chunk, [1, 2])
    settlement.settle(chunk, [])
    settlement.settle(chunk, range(0))
    assert acknowledged.calls == []
    settlement.settle(chunk, [0])
    assert acknowledged.calls == [(chunk.batch, 0, 3)]


def test_nobody_is_told_of_what_can_not_come_again() -> None:
    chunks = chunks_of([[0, 0], [1], [0]])
    settlement, acknowledged = begun(chunks)
    assert settlement.unacknowledged == 1
    for chunk in chunks:
        settlement.settle(chunk, range(len(chunk)))
    assert acknowledged.calls == [(chunks[1].batch, 0, 1)]


def test_a_range_is_acknowledged_by_one_call_and_the_next_goes_on_from_there() -> None:
    [chunk] = chunks_of([[1] * 6])
    settlement, acknowledged = begun([chunk])
    settlement.settle(chunk, range(4))
    settlement.settle(chunk, range(4, 5))
    settlement.settle(chunk, [5])
    assert acknowledged.calls == [(chunk.batch, 0, 4), (chunk.batch, 4, 5), (chunk.batch, 5, 6)]


def test_a_range_that_is_not_the_next_waits_for_those_before_it() -> None:
    [chunk] = chunks_of([[1] * 6])
    settlement, acknowledged = begun([chunk])
    settlement.settle(chunk, range(2, 4))
    settlement.settle(chunk, range(1))
    assert acknowledged.packet_ids == [1]
    settlement.settle(chunk, range(4, 6))
    settlement.settle(chunk, range(1, 2))
    assert acknowledged.packet_ids == [1, 2, 3, 4, 5, 6]


def test_chunks_that_are_done_early_wait_for_a_late_one() -> None:
    chunks = chunks_of([[1, 1], [1, 1], [1, 1], [1]])
    settlement, acknowledged = begun(chunks)
    settlement.settle(chunks[3], range(1))
    settlement.settle(chunks[1], range(2))
    settlement.settle(chunks[2], [1])
    assert (acknowledged.calls, settlement.unacknowledged) == ([], 7)
    settlement.settle(chunks[0], range(1))
    assert acknowledged.packet_ids == [1]
    settlement.settle(chunks[0], [1])
    assert (acknowledged.packet_ids, settlement.unacknowledged) == ([1, 2, 3, 4], 3)
    settlement.settle(chunks[2], [0])
    assert (acknowledged.packet_ids, settlement.unacknowledged) == ([1, 2, 3, 4, 5, 6, 7], 0)


def test_the_beginning_of_an_early_chunk_goes_with_the_end_of_the_one_before() -> None:
    chunks = chunks_of([[1], [1, 1, 1]])
    settlement, acknowledged = begun(chunks)
    first, second = chunks
    settlement.settle(second, range(2))
    settlement.settle(first, range(1))
    assert acknowledged.calls == [(first.batch, 0, 1), (second.batch, 0, 2)]
    settlement.settle(second, range(2, 3))
    assert acknowledged.calls[2:] == [(second.batch, 2, 3)]


def test_what_is_held_waits_for_all_that_it_is_held_for() -> None:
    [chunk] = chunks_of([[1, 1]])
    settlement, acknowledged = begun([chunk])
    settlement.hold(chunk, [0, 0, 0])
    settlement.settle(chunk, [1])
    settlement.settle(chunk, [0])
    settlement.settle(chunk, [0])
    assert acknowledged.calls == []
    assert settlement.unacknowledged == 2
    settlement.settle(chunk, [0])
    assert acknowledged.packet_ids == [1, 2]


def test_some_of_a_range_are_held() -> None:
    [chunk] = chunks_of([[1] * 4])
    settlement, acknowledged = begun([chunk])
    settlement.settle(chunk, range(1))
    settlement.hold(chunk, [2, 2])
    settlement.settle(chunk, range(1, 4))
    assert (acknowledged.packet_ids, settlement.unacknowledged) == ([1, 2], 2)
    settlement.settle(chunk, [2])
    assert (acknowledged.packet_ids, settlement.unacknowledged) == ([1, 2, 3, 4], 0)


def test_what_is_held_in_an_early_chunk() -> None:
    chunks = chunks_of([[1], [1, 1]])
    settlement, acknowledged = begun(chunks)
    first, second = chunks
    settlement.hold(second, [0, 0, 1, 1])
    settlement.settle(second, range(2))
    settlement.settle(first, range(1))
    assert acknowledged.packet_ids == [1]
    settlement.settle(second, range(2))
    assert acknowledged.packet_ids == [1, 2, 3]


@given(
    st.lists(
        st.lists(st.tuples(st.integers(0, 1), st.integers(0, 3)), min_size=1, max_size=6),
        max_size=5,
    ),
    st.randoms(use_true_random=False),
)
def test_the_last_of_what_a_message_is_held_for_settles_it_in_any_order(
    arriving: list[list[tuple[int, int]]], chance: random.Random
) -> None:
    chunks = chunks_of([[qos for qos, _ in some] for some in arriving])
    settlement, acknowledged = begun(chunks)
    arrived = all_of(chunks)
    pending: list[Spot] = []
    for (chunk, place), (_, holds) in zip(arrived, chain(*arriving), strict=True):
        settlement.hold(chunk, [place] * (holds + 1))
        pending += [(chunk, place)] * (holds + 1)
    chance.shuffle(pending)
    while pending:
        chunk, place = pending.pop()
        settlement.settle(chunk, [place])
        prefix = takewhile(lambda spot: spot not in pending, arrived)
        assert acknowledged.packet_ids == [mid(spot) for spot in prefix if mid(spot)]
    assert acknowledged.packet_ids == [mid(spot) for spot in arrived if mid(spot)]


@given(
    st.lists(st.integers(1, 3), min_size=1, max_size=8),
    st.integers(0, 8),
    st.booleans(),
    st.randoms(use_true_random=False),
)
def test_what_is_held_together_is_settled_by_and_by(
    times: list[int], first: int, in_order: bool, chance: random.Random
) -> None:
    """As the broker has the results: mostly in order, a few at a time. Some messages before them
    have none."""
    [chunk] = chunks_of([[1] * (first + len(times))])
    settlement, acknowledged = begun([chunk])
    if first:
        settlement.settle(chunk, range(first))
    places = [place for place, count in enumerate(times, first) for _ in range(count)]
    settlement.hold(chunk, places)
    cuts = list(pieces(places, chance)) if not in_order else []
    rest = places if in_order else []
    while rest:
        count = chance.randint(1, 4)
        cuts.append(rest[:count])
        rest = rest[count:]
    open_ = list(places)
    for some in cuts:
        settlement.settle(chunk, some)
        for place in some:
            open_.remove(place)
        assert acknowledged.packet_ids == list(range(1, min(open_, default=len(chunk)) + 1))


def test_a_thread_cannot_overtake_another_that_acknowledges() -> None:
    acknowledged: list[int] = []
    entered, overtaken = threading.Event(), threading.Event()

    class Slow:
        def acknowledge(self, batch: MessageBatch, start: int, stop: int) -> None:
            if start == 0:
                entered.set()
                overtaken.wait(0.1)  # time enough for the other one, if it were let in
            else:
                overtaken.set()
            acknowledged.extend(batch.packet_ids[start:stop])

    settlement = Settlement(roomy_budget(), without_state())
    [chunk] = chunks_of([[1, 1]])
    chunk.batch.origin = Slow()
    settlement.admit(chunk.batch)
    with ThreadPoolExecutor(1) as pool:
        pool.submit(settlement.settle, chunk, [0])
        assert entered.wait(20)
        settlement.settle(chunk, [1])
    assert acknowledged == [1, 2]


@pytest.mark.usefixtures("busy_switching")
def test_many_threads_settle_while_more_arrives() -> None:
    acknowledged = Acknowledged()
    settlement = Settlement(roomy_budget(), without_state())
    chunks = chunks_of([[1] * 100] * 40)
    with ThreadPoolExecutor(8) as pool:
        for chunk in chunks:
            chunk.batch.origin = acknowledged
            settlement.admit(chunk.batch)
            places = list(range(100))
            random.Random(chunk.number).shuffle(places)
            for place in places:
                pool.submit(settlement.settle, chunk, [place])
    assert acknowledged.packet_ids == list(range(1, 4_001))
    assert settlement.unacknowledged == 0


def test_only_what_a_broker_waits_for_is_open() -> None:
    settlement = Settlement(roomy_budget(), without_state())
    settlement.admit(batch_of([b""] * 3, packet_ids=[0, 4, 0]))
    assert settlement.unacknowledged == 1
    settlement.admit(batch_of([b""] * 3, packet_ids=[0, 0, 0]))
    assert settlement.unacknowledged == 1
