"""Reads wait for more only while their thread has little time to spare."""

from __future__ import annotations

import pytest
from support.clock import Clock

from pyboot_svc.worker.mqtt.link.linger import Linger

LONGEST_US = 3000


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr("pyboot_svc.worker.mqtt.link.pace.time.monotonic", made.monotonic)
    return made


def note(linger: Linger, clock: Clock, count: int, waited: float) -> None:
    linger.arrivals += count
    linger.waited += waited
    if clock.now >= linger.due:
        linger.note(clock.now, count, False)


def lingered(linger: Linger, clock: Clock, seconds: float, gap: float, each: float) -> float:
    """The share of reads that waited, of a time in which messages come `gap` seconds apart.

    A read takes what has come, and `each` for that; while it doesn't linger it waits for one.
    """
    ends = clock.now + seconds
    reads = waits = 0
    come = clock.now
    while clock.now < ends:
        reads += 1
        wait = linger.seconds() if linger.active else 0.0
        waits += wait > 0
        clock.now += wait
        waited = max(come - clock.now, 0.0)
        clock.now += waited
        count = int((clock.now - come) / gap) + 1
        come += count * gap
        clock.now += each
        note(linger, clock, count, waited)
    return waits / reads


def test_a_thread_that_mostly_waits_reads_each_message_as_it_comes(clock: Clock) -> None:
    """8,000 a second, of which each takes 30 µs by itself."""
    assert lingered(Linger(LONGEST_US), clock, 10.0, 1 / 8000, 30e-6) == 0


def test_a_thread_that_never_waits_reads_many_at_once(clock: Clock) -> None:
    linger = Linger(LONGEST_US)
    lingered(linger, clock, 0.1, 1 / 80_000, 50e-6)
    assert lingered(linger, clock, 10.0, 1 / 80_000, 50e-6) > 0.5


def test_it_ends_soon_when_messages_come_slower_again(clock: Clock) -> None:
    linger = Linger(LONGEST_US)
    lingered(linger, clock, 5.0, 1 / 80_000, 50e-6)
    lingered(linger, clock, 1.1, 1 / 8000, 30e-6)
    assert lingered(linger, clock, 10.0, 1 / 8000, 30e-6) == 0


@pytest.mark.parametrize(
    ("busy", "each", "active"),
    [
        *((0.2, 1, False), (0.9, 1, False), (0.97, 1, True), (1, 1, True)),
        *((0.2, 30, False), (0.6, 30, False), (0.7, 30, True), (1, 30, True)),
    ],
)
def test_the_share_of_its_time_that_a_thread_works(
    busy: float, each: int, active: bool, clock: Clock
) -> None:
    """Each millisecond so many messages come."""
    linger = Linger(LONGEST_US)
    for _ in range(100):
        clock.now += 0.001
        note(linger, clock, each, (1 - busy) * 0.001)
    assert linger.active == active


def test_a_moment_without_a_core_is_no_lack_of_time(clock: Clock) -> None:
    linger = Linger(LONGEST_US)
    for number in range(1000):
        clock.now += 0.001
        note(linger, clock, 1, 0.0 if number % 100 < 50 else 0.0005)
        assert not linger.active


def test_one_that_lingers_goes_on_while_it_is_as_busy_and_no_longer(clock: Clock) -> None:
    linger = Linger(LONGEST_US)
    for _ in range(100):
        clock.now += 0.001
        note(linger, clock, 1, 0.0)
    assert linger.active
    measured = 0
    for _ in range(2500):
        clock.now += 0.001
        note(linger, clock, 1, 0.0)
        measured += not linger.active
    assert measured < 100
    for _ in range(1100):
        clock.now += 0.001
        note(linger, clock, 1, 0.0005)
    assert not linger.active


def test_what_was_before_the_first_read_is_no_work(clock: Clock) -> None:
    linger = Linger(LONGEST_US)
    clock.now += 100.0
    note(linger, clock, 1, 0.0)
    assert not linger.active


def test_with_0_it_never_waits(clock: Clock) -> None:
    assert lingered(Linger(0), clock, 3.0, 1 / 80_000, 50e-6) == 0
