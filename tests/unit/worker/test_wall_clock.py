"""Moments keep their order in the time of day, and follow it when it is set."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator

import pytest

from pyboot_svc.worker.wall_clock import WallClock

SECOND = 1_000_000_000


@pytest.fixture
def other_threads() -> Iterator[None]:
    """Others have the interpreter in turn, so that two clocks are read at different times."""
    usual = sys.getswitchinterval()
    over = threading.Event()

    def turn() -> None:
        while not over.is_set():
            pass

    threads = [threading.Thread(target=turn) for _ in range(2)]
    try:
        sys.setswitchinterval(1e-5)
        for thread in threads:
            thread.start()
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()
        sys.setswitchinterval(usual)


@pytest.mark.usefixtures("other_threads")
def test_moments_keep_their_order() -> None:
    clock = WallClock()
    told = [clock.unix_ns(time.monotonic_ns()) for _ in range(20_000)]
    assert told == sorted(told)


@pytest.mark.usefixtures("other_threads")
def test_one_moment_is_told_as_one() -> None:
    clock, moment = WallClock(), time.monotonic_ns()
    # The clocks may be steered apart meanwhile, which is no more than some ms.
    told = [clock.unix_ns(moment) for _ in range(20_000)]
    assert max(told) - min(told) < SECOND // 100
    assert len(set(told)) < 20


def test_it_is_the_time_of_day() -> None:
    before = time.time_ns()
    told = WallClock().unix_ns(time.monotonic_ns())
    assert before - SECOND <= told <= time.time_ns() + SECOND


@pytest.mark.parametrize("step", [1000 * SECOND, -1000 * SECOND, 10**8 * SECOND])
def test_it_follows_when_the_time_of_day_is_set(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    clock, moment, real = WallClock(), time.monotonic_ns(), time.time_ns
    before = clock.unix_ns(moment)
    monkeypatch.setattr(time, "time_ns", lambda: real() + step)
    assert abs(clock.unix_ns(moment) - before - step) < 100 * SECOND
