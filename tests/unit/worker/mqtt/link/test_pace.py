"""How long a read waits for more: only while messages come fast, and the faster the longer."""

from __future__ import annotations

from itertools import pairwise

import pytest
from support.clock import Clock

from pyboot_svc.worker.mqtt.link.pace import Pace

LONGEST_US = 400


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr("pyboot_svc.worker.mqtt.link.pace.time.monotonic", made.monotonic)
    return made


def lingers(pace: Pace, clock: Clock, *reads: tuple[int, int]) -> list[int]:
    """For reads of (µs since the one before, messages): the wait after each, in µs."""
    found = []
    for passed, count in reads:
        clock.now += passed / 1e6
        pace.note(count)
        found.append(round(pace.seconds() * 1e6))
    return found


def test_it_does_not_wait_at_first_nor_for_what_comes_slowly(clock: Clock) -> None:
    pace = Pace(LONGEST_US)
    assert pace.seconds() == 0
    assert lingers(pace, clock, *[(2000, 1)] * 5) == [0] * 5


def steady(gap_us: float, reads: int = 60) -> list[tuple[int, int]]:
    """Messages that far apart; reads bring now 20 and now 21 of them."""
    return [(round(gap_us * count), count) for _ in range(reads // 2) for count in (20, 21)]


def test_it_waits_while_messages_come_fast(clock: Clock) -> None:
    # A gap of 5 µs counts a quarter, and the 400 µs from before less and less.
    found = lingers(Pace(LONGEST_US), clock, (10_000, 1), *steady(5))
    assert found[:3] == [0] * 3
    assert found == sorted(found)
    assert 0 < min(filter(None, found)) < max(found) == LONGEST_US


def test_a_pause_ends_it_and_it_begins_anew(clock: Clock) -> None:
    pace = Pace(LONGEST_US)
    assert lingers(pace, clock, *steady(5))[-1] == LONGEST_US
    found = lingers(pace, clock, *[(10_000, 1)] * 3)
    assert found[0] < LONGEST_US / 2
    assert found[1:] == [0, 0]
    assert lingers(pace, clock, *steady(5))[-1] == LONGEST_US


@pytest.mark.parametrize("count", [1, 2, 50])
def test_after_a_pause_however_long_it_is_as_brisk_as_before(clock: Clock, count: int) -> None:
    """A pause of an hour counts no more than one that is just too long."""
    found = []
    for passed in (LONGEST_US * count, 3_600_000_000):
        pace = Pace(LONGEST_US)
        lingers(pace, clock, *steady(5))
        found.append(lingers(pace, clock, (passed, count), *steady(5, 10)))
    assert found[0] == found[1]


def test_the_closer_messages_come_the_longer_it_waits(clock: Clock) -> None:
    gaps = [*range(5, 100, 5), 120, 200, 500]
    waits = [lingers(Pace(LONGEST_US), clock, *steady(gap))[-1] for gap in gaps]
    assert waits == sorted(waits, reverse=True)
    assert waits[0] == LONGEST_US
    assert len(set(waits)) > 5
    # As long as there is more than one message to wait for.
    assert all(wait == 0 or wait > gap for wait, gap in zip(waits, gaps, strict=True))
    assert waits[-3:] == [0, 0, 0]


def test_it_waits_for_no_more_than_is_worth_it(clock: Clock) -> None:
    """At 1 µs, 128 of them are enough for a read."""
    assert lingers(Pace(LONGEST_US), clock, *steady(1))[-1] == pytest.approx(128, abs=1)


def test_reads_that_bring_none_end_it_after_a_while(clock: Clock) -> None:
    """They may have brought acknowledgements alone."""
    pace = Pace(LONGEST_US)
    lingers(pace, clock, *steady(5))
    assert lingers(pace, clock, (300, 0), (250, 0), (100, 0)) == [400, 400, 0]
    lingers(pace, clock, *steady(5))
    assert lingers(pace, clock, (400, 0), (10, 20), (590, 0)) == [400, 400, 400]


def test_a_read_that_can_not_take_all_is_followed_by_one_at_once(clock: Clock) -> None:
    pace = Pace(LONGEST_US)
    assert lingers(pace, clock, *steady(5))[-1] == LONGEST_US
    clock.now += 100e-6
    pace.note(19, full=True)
    assert pace.seconds() == 0
    assert lingers(pace, clock, (100, 18)) == [LONGEST_US]


def test_it_waits_shorter_when_reads_bring_the_same_number_again_and_again(clock: Clock) -> None:
    """The broker's window is full: it sends no more until it hears from us."""
    pace = Pace(LONGEST_US)
    lingers(pace, clock, *steady(5))
    found = lingers(pace, clock, (500, 100), *[(500, 100)] * 30)
    assert found[:3] == [400, 400, 200]
    assert sorted(set(found), reverse=True)[-1] == min(found)
    assert found[-1] <= LONGEST_US // 16 * 1.1**2
    # Never less than a sixteenth, which lets it find out whether more would come.
    assert min(found) == LONGEST_US // 16


def test_it_waits_longer_again_when_reads_bring_different_numbers(clock: Clock) -> None:
    pace = Pace(LONGEST_US)
    lingers(pace, clock, *steady(5), *[(500, 100)] * 30)
    shortest = round(pace.seconds() * 1e6)
    found = lingers(pace, clock, *[(500, 99 - number) for number in range(40)])
    assert shortest < found[0]
    assert found[:10] == sorted(set(found[:10]))
    assert all(after <= before * 1.1 + 1 for before, after in pairwise(found))
    assert found[-1] == LONGEST_US


def test_reads_keep_a_distance_while_messages_come_often(clock: Clock) -> None:
    """A ninth of the longest wait; what has passed of it since the last read counts."""
    pace = Pace(9000)
    # By the square of the gap alone it would be a ninth at 180 µs, and less beyond.
    assert lingers(pace, clock, *[(500, 1)] * 100)[-1] == 1000
    clock.now += 300e-6
    assert pace.seconds() == pytest.approx(700e-6)
    clock.now += 600e-6
    assert pace.seconds() == 0
    assert lingers(Pace(9000), clock, *[(1100, 1)] * 100)[-1] == 0


def test_a_few_messages_a_read_are_no_window(clock: Clock) -> None:
    """Single messages come in ones again and again, however many more there could be."""
    for count, waits in ((3, LONGEST_US), (4, LONGEST_US // 16)):
        found = lingers(Pace(LONGEST_US), clock, *[(5 * count, count)] * 100)
        assert min(found[50:]) == waits


def test_with_0_it_never_waits(clock: Clock) -> None:
    assert lingers(Pace(0), clock, *[(1, 100)] * 5) == [0] * 5
    assert lingers(Pace(0), clock, *steady(5)) == [0] * 60
