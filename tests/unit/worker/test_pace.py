"""Whether a read waits for more: only while messages come closer together than it would wait."""

from __future__ import annotations

import pytest

from pyboot_svc.worker.pace import Pace

LONGEST_US = 400


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr("pyboot_svc.worker.pace.time.monotonic", made.monotonic)
    return made


def lingers(pace: Pace, clock: Clock, *reads: tuple[int, int]) -> list[int]:
    """For reads of (µs since the one before, messages): the wait after each, in µs."""
    found = []
    for passed, count in reads:
        clock.now += passed / 1e6
        pace.note(count)
        found.append(round(pace.linger_seconds * 1e6))
    return found


def test_it_does_not_wait_at_first_nor_for_what_comes_slowly(clock: Clock) -> None:
    pace = Pace(LONGEST_US)
    assert pace.linger_seconds == 0
    assert lingers(pace, clock, *[(2000, 1)] * 5) == [0] * 5


def test_it_waits_while_messages_come_fast(clock: Clock) -> None:
    reads = [(10_000, 1), (100, 1), (500, 20), (500, 20), (10_000, 1), (10_000, 1)]
    assert lingers(Pace(LONGEST_US), clock, *reads) == [0, 400, 400, 400, 0, 0]


def test_reads_that_bring_none_end_it_after_a_while(clock: Clock) -> None:
    reads = [(10, 1), (10, 1), (400, 0), (400, 0), (400, 0)]
    assert lingers(Pace(LONGEST_US), clock, *reads) == [0, 400, 400, 400, 0]


def test_with_0_it_never_waits(clock: Clock) -> None:
    assert lingers(Pace(0), clock, *[(1, 100)] * 5) == [0] * 5
