from __future__ import annotations

import logging
import re
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from support.clock import Clock

from pyboot_svc.logs import RateLimit, configure_logging


@pytest.fixture
def clock() -> Clock:
    return Clock(100.0)


def test_a_few_a_period_and_then_how_many_were_kept_silent(clock: Clock) -> None:
    limit = RateLimit(3, 10.0, clock)
    assert [limit.admit("a") for _ in range(7)] == [0, 0, 0, None, None, None, None]
    clock.now += 9.9
    assert limit.admit("a") is None
    clock.now += 0.1
    assert [limit.admit("a") for _ in range(4)] == [5, 0, 0, None]


def test_the_period_begins_with_its_first_event(clock: Clock) -> None:
    limit = RateLimit(1, 10.0, clock)
    clock.now += 1_000
    assert limit.admit("a") == 0
    clock.now += 9
    assert limit.admit("a") is None
    clock.now += 1
    assert limit.admit("a") == 1


def test_kinds_are_apart(clock: Clock) -> None:
    limit = RateLimit(1, 10.0, clock)
    assert [limit.admit(kind) for kind in ("a", "b", "a", "c")] == [0, 0, None, 0]


def test_threads_get_no_more_than_the_limit_and_lose_no_count(clock: Clock) -> None:
    limit = RateLimit(10_000, 10.0, clock)

    def admitted() -> int:
        return sum(limit.admit("a") is not None for _ in range(5_000))

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(4) as pool:
            passed = [future.result() for future in [pool.submit(admitted) for _ in range(4)]]
    finally:
        sys.setswitchinterval(interval)
    assert sum(passed) == 10_000
    clock.now += 10
    assert limit.admit("a") == 10_000


def test_lines_for_people_on_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        configure_logging()
        configure_logging()  # a second time adds no second line
        logging.getLogger("anywhere").info("it is %d degrees", 21)
        logging.getLogger("anywhere").debug("hidden")
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert re.fullmatch(r"[-0-9T:]+ INFO it is 21 degrees\n", captured.err)
