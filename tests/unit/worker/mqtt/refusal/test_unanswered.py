"""Which message of QoS 0 is named when the connection is lost after it."""

from __future__ import annotations

import pytest
from support.clock import Clock
from support.columns import result_batch_of

from pyboot_svc.worker.messages import DEAD_LETTERS, RESULTS, Sendable, StoredMessage
from pyboot_svc.worker.mqtt.refusal.unanswered import Unanswered


def results(*sizes: int) -> list[Sendable]:
    return [result_batch_of([b"x" * size for size in sizes])]


def test_at_qos_0_results_of_the_spool_count_and_dead_letters_do_not() -> None:
    clock = Clock()
    unanswered = Unanswered(clock)
    for size, lane in ((100, RESULTS), (9000, DEAD_LETTERS), (3000, RESULTS)):
        unanswered.written([StoredMessage("out", b"x" * size, 0, {}, lane=lane)])
    assert unanswered.lost() == (3000, False)


def test_at_qos_0_a_message_of_unusual_size_is_named_and_then_taken_for_too_large() -> None:
    clock = Clock()
    unanswered = Unanswered(clock)
    found = []
    for size in (3000, 5000, 4000):
        for _ in range(10):
            unanswered.written(results(100, 120))
            clock.now += 0.3
        unanswered.written(results(size, 100))
        clock.now += 0.2
        found.append(unanswered.lost())
    assert found == [(3000, False), (5000, False), (3000, True)]


@pytest.mark.parametrize("place", [0, 1, 10, 19])
def test_at_qos_0_the_one_of_unusual_size_is_found_in_any_place(place: int) -> None:
    sizes = [100] * 20
    sizes[place] = 3000
    clock = Clock()
    at_once, one_by_one = Unanswered(clock), Unanswered(clock)
    at_once.written(results(*sizes))
    one_by_one.written([one for size in sizes for one in results(size)])
    assert at_once.lost() == one_by_one.lost() == (3000, False)


def test_at_qos_0_a_message_that_comes_alone_is_judged_as_others_are() -> None:
    clock = Clock()
    one_by_one, together = Unanswered(clock), Unanswered(clock)
    for round_ in range(3):
        for size in (*[100, 120] * 10, 3000 + 500 * round_, 110):
            one_by_one.written_one(size)
            together.written(results(size))
            clock.now += 0.03
        assert (
            one_by_one.lost()
            == together.lost()
            == (3000 if round_ == 2 else 3000 + 500 * round_, round_ == 2)
        )


@pytest.mark.parametrize("sizes", [[100], [100, 150], [3000]])
def test_at_qos_0_messages_of_usual_size_are_not_named(sizes: list[int]) -> None:
    clock = Clock()
    unanswered = Unanswered(clock)
    for _ in range(10):
        unanswered.written(results(*sizes))
        clock.now += 0.1
        assert unanswered.lost() == (None, False)
    assert unanswered.lost() == (None, False)


def test_at_qos_0_what_was_long_before_a_loss_did_no_harm() -> None:
    clock = Clock()
    unanswered = Unanswered(clock)
    unanswered.written(results(3000, 100))
    clock.now += 1.1
    unanswered.written(results(100))
    assert unanswered.lost() == (None, False)
    unanswered.written(results(3000))
    assert unanswered.lost() == (None, False)
