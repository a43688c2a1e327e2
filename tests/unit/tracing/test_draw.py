"""Which messages are drawn, and that batches make no difference."""

from __future__ import annotations

import random

import pytest

from pyboot_svc.tracing.draw import Draw


def drawn(draw: Draw, *sizes: int) -> list[int]:
    found, start = [], 0
    for size in sizes:
        found += draw.of(range(start, start + size))
        start += size
    return found


def test_all_of_them_or_none() -> None:
    assert drawn(Draw(1), 3, 2) == [0, 1, 2, 3, 4]
    assert drawn(Draw(0), 3, 10**9) == []


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_as_many_as_the_rate_says_however_they_come(size: int) -> None:
    found = drawn(Draw(0.1, random.Random(7).random), *[size] * (20_000 // size))
    assert 1800 < len(found) < 2200
    assert found == drawn(Draw(0.1, random.Random(7).random), *[19] * 1100)[: len(found)]


def test_what_others_draw_of_a_generator_that_they_have_seeded_is_not_changed() -> None:
    random.seed(7)
    expected = random.random()
    random.seed(7)
    assert drawn(Draw(0.5), 1000)
    assert random.random() == expected


@pytest.mark.parametrize("chance", [0.0, 1 - 2**-53])
@pytest.mark.parametrize("rate", [1e-300, 0.5, 1 - 2**-53])
def test_the_ends_of_what_chance_gives(rate: float, chance: float) -> None:
    places = drawn(Draw(rate, lambda: chance), 100)
    assert places == sorted(set(places))


def test_parts_of_a_batch_have_places_of_their_own() -> None:
    assert Draw(1).of(range(5, 7)) == [5, 6]
    assert Draw(0.5, lambda: 0.0).of(range(5, 7)) == [5, 6]
