"""Windows of event time: what is in them, when they close, what comes too late."""

from __future__ import annotations

import logging
import statistics
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyboot_svc.models.windows import window_statistics

START = 1_700_000_040.0  # a multiple of 60
YEARS = 10 * 365 * 86_400.0


class Context:
    def __init__(self, state: dict[str, Any] | None = None, **options: Any) -> None:
        self.options = options
        self.logger = logging.getLogger("model.test")
        self.state = {} if state is None else state
        self.topic = "plant/pump-7"
        self.published: list[dict[str, Any]] = []
        # Devices whose results can't be published.
        self.wrong: list[str] = []

    def publish(self, payload: Any) -> None:
        if payload["device"] in self.wrong:
            raise ValueError(f"not {payload['device']!r}")
        self.published.append(payload)


class Windows:
    """A model; `at` is a reading some seconds after the start."""

    def __init__(self, state: dict[str, Any] | None = None, **options: Any) -> None:
        self.context = Context(state, **options)
        self.model = window_statistics(self.context)  # type: ignore[arg-type]

    def at(self, seconds: float, value: float, **more: Any) -> list[tuple[float, int, float]]:
        """What it closes: start, count and mean of each window."""
        payload = {"device": "a", "ts": START + seconds, "value": value, **more}
        self.model(payload, self.context)  # type: ignore[arg-type]
        return self.closed

    def now(self, value: float) -> list[tuple[float, int, float]]:
        """The same for a reading that says no time."""
        self.model({"device": "a", "value": value}, self.context)  # type: ignore[arg-type]
        return self.closed

    def start_of(self, seconds: float) -> float:
        """Of the window of a minute that it is in."""
        return (START + seconds) // 60 * 60 - START

    @property
    def closed(self) -> list[tuple[float, int, float]]:
        found, self.context.published = self.context.published, []
        return [(one["start"] - START, one["count"], one["mean"]) for one in found]


def test_a_tumbling_window_closes_when_the_next_one_begins() -> None:
    windows = Windows(size=60)
    assert windows.at(0, 1) == []
    assert windows.at(59.9, 3) == []
    assert windows.at(60, 10) == [(0, 2, 2.0)]
    assert windows.at(300, 1) == [(60, 1, 10.0)]


def test_a_result() -> None:
    windows = Windows(size=60)
    for seconds, value in ((0, 1), (1, 2), (2, 6), (70, 0)):
        payload = {"device": "a", "point": "flow", "ts": START + seconds, "value": value}
        windows.model(payload, windows.context)  # type: ignore[arg-type]
    assert windows.context.published == [
        {
            "device": "a",
            "point": "flow",
            "start": START,
            "end": START + 60,
            "count": 3,
            "mean": 3.0,
            "min": 1.0,
            "max": 6.0,
            "std": statistics.pstdev([1, 2, 6]),
        }
    ]


def test_readings_may_come_in_any_order_within_the_lateness() -> None:
    windows = Windows(size=60, lateness=30)
    windows.at(50, 1)
    assert windows.at(80, 5) == []
    assert windows.at(10, 3) == []
    assert windows.at(90, 5) == [(0, 2, 2.0)]
    assert windows.at(20, 100) == []
    windows.at(150, 1)
    assert windows.context.published == []


def test_what_comes_too_late_is_counted() -> None:
    windows = Windows(size=60)
    windows.at(0, 1)
    windows.at(60, 1)
    for seconds in (10, 20):
        windows.at(seconds, 7)
    windows.model({"device": "a", "ts": START + 120, "value": 1}, windows.context)  # type: ignore[arg-type]
    [result] = windows.context.published
    assert (result["start"] - START, result["count"], result["late"]) == (60, 1, 2)
    assert windows.at(180, 1) == [(60, 1, 1.0), (120, 1, 1.0)]


def test_hopping_windows_overlap() -> None:
    windows = Windows(size=60, hop=20)
    for seconds in range(0, 60, 10):
        windows.at(seconds, seconds)
    # A second reading would close what ends by then: -40 to 20, -20 to 40, and 0 to 60.
    assert windows.at(60, 0) == [(0, 6, 25.0)]
    assert windows.at(200, 0) == [(20, 5, 28.0), (40, 3, 30.0), (60, 1, 0.0)]


def test_series_have_windows_of_their_own() -> None:
    windows = Windows(size=60)
    windows.at(0, 1)
    assert windows.at(100, 5, device="b") == []
    assert windows.at(60, 1) == [(0, 1, 1.0)]


def test_a_list_of_readings() -> None:
    windows = Windows(size=60)
    readings = [{"device": "a", "ts": START + at, "value": at} for at in (0, 60, 120)]
    windows.model(readings, windows.context)  # type: ignore[arg-type]
    assert windows.closed == [(0, 1, 0.0), (60, 1, 60.0)]


def test_a_tick_closes_what_nobody_adds_to(monkeypatch: pytest.MonkeyPatch) -> None:
    windows = Windows(size=60, idle=90)
    windows.at(0, 1)
    windows.model.tick(windows.context)  # type: ignore[arg-type]
    assert windows.closed == []
    later = time.monotonic() + 91
    monkeypatch.setattr(time, "monotonic", lambda: later)
    windows.model.tick(windows.context)  # type: ignore[arg-type]
    assert windows.closed == [(0, 1, 1.0)]
    windows.model.tick(windows.context)  # type: ignore[arg-type]
    assert windows.closed == []
    # Its windows are closed for good.
    assert windows.at(10, 1) == []
    assert windows.at(70, 1) == []


def test_windows_go_on_after_a_restart() -> None:
    state: dict[str, Any] = {}
    Windows(state, size=60).at(0, 1)
    assert Windows(state, size=60).at(60, 1) == [(0, 1, 1.0)]


def test_without_a_time_it_is_that_of_now() -> None:
    windows = Windows(size=60)
    windows.model(5.0, windows.context)  # type: ignore[arg-type]
    [series] = windows.context.state.values()
    assert abs(series["latest"] - time.time()) < 60


def test_a_clock_that_is_far_ahead_closes_nothing() -> None:
    windows = Windows(size=60)
    windows.at(0, 1)
    with pytest.raises(ValueError, match="ahead of this host's clock; which of the two is wrong"):
        windows.at(1e10, 1)
    assert windows.at(60, 1) == [(0, 1, 1.0)]


@pytest.fixture
def set_clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Has the host's clock tell a time, in seconds after START."""

    def set_it(seconds: float) -> None:
        monkeypatch.setattr(time, "time", lambda: START + seconds)

    # Of the years of the other tests, so that clocks may be right.
    monkeypatch.setattr("pyboot_svc.models.windows.RELEASED", START - YEARS)
    return set_it


def test_a_clock_that_is_surely_wrong_judges_nobody(set_clock: Callable[[float], None]) -> None:
    """A board without a clock chip boots in the past."""
    set_clock(-2 * YEARS)
    windows = Windows(size=60)
    assert windows.at(0, 1) == []
    assert windows.at(60, 1) == [(0, 1, 1.0)]
    set_clock(60)
    assert windows.at(120, 1) == [(60, 1, 1.0)]
    # What was wrong itself, and was let through then, closes nothing for good.
    set_clock(-2 * YEARS)
    assert windows.at(YEARS, 1) == [(120, 1, 1.0)]
    set_clock(180)
    assert windows.at(180, 1) == [(windows.start_of(YEARS), 1, 1.0)]
    assert windows.at(240, 1) == [(180, 1, 1.0)]


@pytest.mark.parametrize("back", [60, 3000, YEARS])
@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize("known", [False, True])
def test_a_clock_that_is_set_back_loses_nothing(
    back: float, restart: bool, known: bool, set_clock: Callable[[float], None]
) -> None:
    state: dict[str, Any] = {}
    windows = Windows(state, size=60)
    set_clock(10)
    assert windows.now(1) == windows.now(3) == []
    if not known:  # as an earlier version has kept it
        [series] = state.values()
        del series["by_clock"]
    if restart:
        windows = Windows(state, size=60)
    set_clock(10 - back)
    assert windows.now(5) == [(0, 2, 2.0)]
    set_clock(11 - back)
    assert windows.now(7) == []
    set_clock(70 - back)
    assert windows.now(0) == [(windows.start_of(10 - back), 2, 6.0)]
    [series] = state.values()
    assert series["late"] == 0


def test_a_clock_that_is_set_back_within_a_window(set_clock: Callable[[float], None]) -> None:
    windows = Windows(size=60)
    set_clock(50)
    windows.now(1)
    set_clock(10)
    assert windows.now(3) == []
    set_clock(60)
    assert windows.now(0) == [(0, 2, 2.0)]


def test_a_clock_that_is_steered_makes_no_window_again(
    set_clock: Callable[[float], None],
) -> None:
    windows = Windows(size=60)
    set_clock(60.1)
    windows.now(1)
    set_clock(59.9)
    assert windows.now(3) == []
    set_clock(120)
    assert windows.now(0) == [(60, 2, 2.0)]


def test_what_a_tick_has_closed_before_the_clock_is_set_back(
    set_clock: Callable[[float], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    windows = Windows(size=60)
    set_clock(YEARS)
    windows.now(1)
    monkeypatch.setattr(time, "monotonic", lambda: float("inf"))
    windows.model.tick(windows.context)  # type: ignore[arg-type]
    assert len(windows.closed) == 1
    set_clock(0)
    assert windows.now(2) == []
    set_clock(60)
    assert windows.now(0) == [(0, 1, 2.0)]


def test_a_device_that_is_ahead_makes_no_windows_again(set_clock: Callable[[float], None]) -> None:
    """Readings with a time of their own, and without, of one series."""
    windows = Windows(size=60)
    set_clock(0)
    windows.at(600, 1)
    assert windows.now(3) == []
    assert windows.at(660, 1) == [(600, 1, 1.0)]


def test_more_windows_than_a_call_may_close_when_the_clock_is_set_back(
    set_clock: Callable[[float], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pyboot_svc.models.windows.MOST_RESULTS", 10)
    windows = Windows(size=1, lateness=25)
    for at in range(25):
        set_clock(YEARS + at)
        windows.now(at)
    set_clock(0)
    found = windows.now(100)
    monkeypatch.setattr(time, "monotonic", lambda: float("inf"))
    for _ in range(3):
        windows.model.tick(windows.context)  # type: ignore[arg-type]
        found += windows.closed
    assert sorted(value for _, _, value in found) == [*range(25), 100]
    set_clock(1)
    windows.now(7)
    windows.model.tick(windows.context)  # type: ignore[arg-type]
    assert windows.closed == [(1, 1, 7.0)]


def test_nothing_is_kept_of_a_series_that_was_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    windows = Windows(size=60, max_devices=2)
    for device in "abc":
        windows.at(0, 1, device=device)
    monkeypatch.setattr(time, "monotonic", lambda: float("inf"))
    windows.model.tick(windows.context)  # type: ignore[arg-type]
    assert [one["device"] for one in windows.context.published] == ["b", "c"]


def test_one_that_can_not_be_published_keeps_no_others_back(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    windows = Windows(size=60)
    windows.context.wrong = ["a"]
    for device in "abc":
        windows.at(0, 1, device=device)
    monkeypatch.setattr(time, "monotonic", lambda: float("inf"))
    windows.model.tick(windows.context)  # type: ignore[arg-type]
    assert [one["device"] for one in windows.context.published] == ["b", "c"]
    assert "'a': a result is left out: not 'a'" in caplog.text


def test_more_windows_close_at_once_than_a_call_may_publish(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pyboot_svc.models.windows.MOST_RESULTS", 10)
    windows = Windows(size=1, lateness=25)
    for at in range(25):
        assert windows.at(at, at) == []
    found = windows.at(100, 0)
    assert len(found) == 10
    monkeypatch.setattr(time, "monotonic", lambda: float("inf"))
    for count in (10, 6, 0):
        windows.model.tick(windows.context)  # type: ignore[arg-type]
        closed = windows.closed
        assert len(closed) == count
        found += closed
    assert [value for _, _, value in found] == [*range(25), 0]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({}, "set `size`"),
        ({"size": 0}, "`size` must be a number above 0"),
        ({"size": 60, "hop": 61}, "`hop` must not be more than `size`"),
        ({"size": 60, "hop": 0.01}, "`size` must not be more than 1000 times `hop`"),
        ({"size": 60, "lateness": -1}, "`lateness` must be a number of at least 0"),
    ],
)
def test_options_that_are_wrong(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Windows(**options)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 400), st.integers(-50, 50)), min_size=1, max_size=40),
    st.sampled_from([(60, 60), (60, 20), (50, 20)]),
)
def test_each_reading_is_in_all_its_windows_once(
    readings: list[tuple[int, int]], shape: tuple[int, int]
) -> None:
    size, hop = shape
    windows = Windows(size=size, hop=hop, lateness=1000)
    for seconds, value in readings:
        assert windows.at(seconds, value) == []
    expected: dict[float, list[int]] = defaultdict(list)
    for seconds, value in readings:
        for start in (n * hop - START % hop for n in range(-10, 500 // hop)):
            if start <= seconds < start + size:
                expected[start].append(value)
    found = windows.at(10_000, 0)
    wanted = [(start, len(v), statistics.fmean(v)) for start, v in sorted(expected.items())]
    assert [one[:2] for one in found] == [one[:2] for one in wanted]
    assert [one[2] for one in found] == pytest.approx([one[2] for one in wanted], abs=1e-9)


def test_what_is_too_late_makes_no_window_of_its_own() -> None:
    windows = Windows(size=60, lateness=10)
    windows.at(1000, 1)
    assert windows.at(500, 2) == windows.at(501, 4) == []
    assert windows.at(2000, 1) == [(960, 1, 1.0)]
