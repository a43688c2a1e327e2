from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from pyboot_svc.backoff import Backoff


@given(st.floats(0.001, 10), st.integers(1, 1000))
def test_delays_double_up_to_the_most_with_jitter_on_the_upper_half(
    first: float, factor: int
) -> None:
    most = first * factor
    backoff = Backoff(first, most)
    ceiling = first
    for _ in range(80):
        assert ceiling / 2 <= backoff.next() <= ceiling
        ceiling = min(ceiling * 2, most)
    assert ceiling == most


def test_delays_differ() -> None:
    delays = {Backoff(1.0, 1.0).next() for _ in range(20)}
    assert len(delays) > 1


def test_what_others_draw_of_a_generator_that_they_have_seeded_is_not_changed() -> None:
    random.seed(7)
    expected = random.random()
    random.seed(7)
    delays = [Backoff(1.0, 1.0).next() for _ in range(2)]
    assert random.random() == expected
    random.seed(7)
    assert Backoff(1.0, 1.0).next() not in delays


def test_reset_starts_anew() -> None:
    backoff = Backoff(1.0, 64.0)
    for _ in range(5):
        backoff.next()
    assert backoff.next() >= 16
    backoff.reset()
    assert backoff.next() <= 1


def test_at_first_it_is_eager_and_later_it_is_not() -> None:
    backoff = Backoff(0.5, 30.0, eager=4.0, eager_seconds=300.0)
    waited, longest = 0.0, 0.0
    while waited < 300:
        delay = backoff.next()
        waited, longest = waited + delay, max(longest, delay)
    assert longest <= 4
    assert max(backoff.next() for _ in range(20)) > 15
    backoff.reset()
    assert max(backoff.next() for _ in range(20)) <= 4


def test_without_a_reason_it_is_not_eager() -> None:
    backoff = Backoff(0.5, 30.0, eager=4.0, eager_seconds=300.0)
    assert max(backoff.next(patient=True) for _ in range(8)) > 15
    assert backoff.next() <= 4
