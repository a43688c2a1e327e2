"""Acknowledgements: the settled prefix, in order of arrival, each message once."""

from __future__ import annotations

import random
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import takewhile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyboot_svc.worker.message import Message
from pyboot_svc.worker.settlement import Settlement


def messages(qualities: Sequence[int]) -> list[Message]:
    return [Message("in", b"", qos, mid) for mid, qos in enumerate(qualities)]


@given(st.lists(st.integers(0, 2), max_size=30), st.randoms(use_true_random=False))
def test_exactly_the_settled_prefix_is_acknowledged(
    qualities: list[int], chance: random.Random
) -> None:
    acknowledged: list[Message] = []
    settlement = Settlement(acknowledged.extend)
    arrived = messages(qualities)
    settlement.admit(arrived)
    owed = [message for message in arrived if message.qos > 0]
    pending = arrived.copy()
    chance.shuffle(pending)
    settled: set[int] = set()
    while pending:
        count = chance.randint(1, 4)
        batch, pending = pending[:count], pending[count:]
        settlement.settle(batch)
        settled.update(message.mid for message in batch)
        assert acknowledged == list(takewhile(lambda m: m.mid in settled, owed))
        assert settlement.depth() == len(owed) - len(acknowledged)
    assert acknowledged == owed


def test_settling_twice_acknowledges_once() -> None:
    acknowledged: list[Message] = []
    settlement = Settlement(acknowledged.extend)
    first, second = messages([1, 1])
    settlement.admit([first, second])
    settlement.settle([second, second])
    settlement.settle([first])
    settlement.settle([first, second])
    assert acknowledged == [first, second]


def test_nothing_is_called_when_nothing_can_be_acknowledged() -> None:
    calls: list[list[Message]] = []
    settlement = Settlement(calls.append)
    first, second, free = messages([1, 1, 0])
    settlement.admit([first, second, free])
    settlement.settle([second, free])
    assert calls == []
    settlement.settle([first])
    assert calls == [[first, second]]


def test_what_is_held_waits_for_all_that_it_is_held_for() -> None:
    acknowledged: list[Message] = []
    settlement = Settlement(acknowledged.extend)
    first, second = messages([1, 1])
    settlement.admit([first, second])
    settlement.hold([first])
    settlement.hold([first])
    settlement.settle([second])
    settlement.settle([first])
    settlement.settle([first])
    assert acknowledged == []
    assert settlement.depth() == 2
    settlement.settle([first])
    assert acknowledged == [first, second]


@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3)), max_size=20),
    st.randoms(use_true_random=False),
)
def test_the_last_of_what_a_message_is_held_for_settles_it_in_any_order(
    arriving: list[tuple[int, int]], chance: random.Random
) -> None:
    acknowledged: list[Message] = []
    settlement = Settlement(acknowledged.extend)
    arrived = messages([qos for qos, _ in arriving])
    settlement.admit(arrived)
    pending: list[Message] = []
    for message, (_, holds) in zip(arrived, arriving, strict=True):
        for _ in range(holds):
            settlement.hold([message])
        pending += [message] * (holds + 1)
    chance.shuffle(pending)
    owed = [message for message in arrived if message.qos > 0]
    while pending:
        settlement.settle([pending.pop()])
        assert acknowledged == list(takewhile(lambda m: m not in pending, owed))
    assert acknowledged == owed


def test_a_thread_cannot_overtake_another_that_acknowledges() -> None:
    acknowledged: list[Message] = []
    entered, overtaken = threading.Event(), threading.Event()

    def acknowledge(batch: list[Message]) -> None:
        if batch == [first]:
            entered.set()
            overtaken.wait(0.1)  # time enough for the other one, if it were let in
        else:
            overtaken.set()
        acknowledged.extend(batch)

    settlement = Settlement(acknowledge)
    first, second = messages([1, 1])
    settlement.admit([first, second])
    with ThreadPoolExecutor(1) as pool:
        pool.submit(settlement.settle, [first])
        assert entered.wait(20)
        settlement.settle([second])
    assert acknowledged == [first, second]


@pytest.mark.usefixtures("busy_switching")
def test_many_threads_settle_while_more_arrives() -> None:
    acknowledged: list[Message] = []
    settlement = Settlement(acknowledged.extend)
    arrived = messages([1] * 4_000)

    def settle(part: list[Message]) -> None:
        settlement.admit(part)
        random.Random(len(part)).shuffle(part)
        for message in part:
            pool.submit(settlement.settle, [message])

    with ThreadPoolExecutor(8) as pool:
        for start in range(0, len(arrived), 100):
            settle(arrived[start : start + 100])
    assert acknowledged == arrived
    assert settlement.depth() == 0
