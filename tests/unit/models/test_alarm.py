"""Limits, deadband, delays, and what is published of them."""

from __future__ import annotations

import json
import logging
import math
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyboot_svc.models.alarm import threshold_alarm


def context(state: Any = None, **options: Any) -> Any:
    state = {} if state is None else state
    return SimpleNamespace(options=options, state=state, logger=logging.getLogger("model.test"))


def reading(value: Any, **more: Any) -> dict[str, Any]:
    return {"device": "pump-7", "value": value, **more}


def states(model: threshold_alarm, *values: float) -> list[str | None]:
    """The new state for each value, None where there was no transition."""
    results = [model(reading(value)) for value in values]
    return [result and result["state"] for result in results]


def timed(model: threshold_alarm, *readings: tuple[float, float]) -> list[str | None]:
    results = [model(reading(value, ts=ts)) for ts, value in readings]
    return [result and result["state"] for result in results]


def test_high_alarm_and_return_to_normal() -> None:
    model = threshold_alarm(context(high=80))
    assert states(model, 70, 80, 80.1, 90, 80, 70) == [None, None, "high", None, "normal", None]


def test_low_alarm_and_return_to_normal() -> None:
    model = threshold_alarm(context(low=10))
    assert states(model, 11, 10, 9.9, 5, 10) == [None, None, "low", None, "normal"]


def test_results() -> None:
    model = threshold_alarm(context(high=80))
    echo = {"device": "pump-7", "point": "bearing", "ts": "2023-11-14T22:13:20Z"}
    raised = {"value": 90.0, "state": "high", "previous": "normal", "limit": 80.0}
    assert model({**echo, "value": 90, "unit": "C"}) == {**echo, **raised}
    returned = {"value": 70.0, "state": "normal", "previous": "high", "limit": None}
    assert model({**echo, "value": 70}) == {**echo, **returned}
    assert model({**echo, "value": 70}) is None


def test_publish_all() -> None:
    model = threshold_alarm(context(high=80, publish="all"))
    results = [model(reading(value)) for value in (70, 90, 91)]
    assert [(r["previous"], r["state"]) for r in results] == [
        ("normal", "normal"),
        ("normal", "high"),
        ("high", "high"),
    ]


def test_deadband_holds_the_alarm() -> None:
    model = threshold_alarm(context(high=80, low=20, deadband=5))
    assert states(model, 81, 79, 75.1, 75, 79) == ["high", None, None, "normal", None]
    assert states(model, 19, 21, 24.9, 25, 21) == ["low", None, None, "normal", None]


def test_from_one_alarm_straight_to_the_other() -> None:
    model = threshold_alarm(context(high=80, low=20, deadband=5))
    assert states(model, 90, 10, 90) == ["high", "low", "high"]


def test_a_deadband_as_wide_as_the_limits_are_apart() -> None:
    model = threshold_alarm(context(high=80, low=20, deadband=60))
    assert states(model, 81, 21, 20, 19, 79, 80, 81) == [
        "high", None, "normal", "low", None, "normal", "high",
    ]  # fmt: skip


def test_on_delay_needs_the_condition_without_a_break() -> None:
    model = threshold_alarm(context(high=80, on_delay=10))
    assert timed(model, (0, 90), (9, 90), (9.5, 70), (10, 90), (19, 90)) == [None] * 5
    assert timed(model, (20, 90), (21, 70)) == ["high", "normal"]


def test_off_delay_needs_normal_without_a_break() -> None:
    model = threshold_alarm(context(high=80, off_delay=10))
    assert timed(model, (0, 90), (1, 70), (9, 81), (10, 70), (19, 70)) == ["high", *[None] * 4]
    assert timed(model, (20, 70)) == ["normal"]


def test_deadband_and_delays_together() -> None:
    model = threshold_alarm(context(high=80, deadband=5, on_delay=2, off_delay=2))
    assert timed(model, (0, 81), (1, 79), (2, 81), (4, 81)) == [None, None, None, "high"]
    assert timed(model, (5, 76), (8, 76), (9, 75), (11, 74)) == [None, None, None, "normal"]


def test_delays_by_count() -> None:
    model = threshold_alarm(context(high=80, on_count=3, off_count=2))
    assert states(model, 90, 90, 70, 90, 90, 90) == [None] * 5 + ["high"]
    assert states(model, 70, 90, 70, 70) == [None, None, None, "normal"]


def test_delay_and_count_must_both_be_met() -> None:
    model = threshold_alarm(context(high=80, on_delay=10, on_count=3))
    assert timed(model, (0, 90), (10, 90), (11, 90)) == [None, None, "high"]
    other = threshold_alarm(context(high=80, on_delay=10, on_count=2))
    assert timed(other, (0, 90), (5, 90), (10, 90)) == [None, None, "high"]


def test_each_alarm_has_its_own_delays_on_the_way_from_high_to_low() -> None:
    model = threshold_alarm(context(high=80, low=20, on_delay=5, off_delay=3))
    assert timed(model, (0, 90), (5, 90)) == [None, "high"]
    # High is over from 6 on, whether normal or low; low lasts from 9 on.
    assert timed(model, (6, 10), (7, 50), (9, 10), (14, 10)) == [None, None, "normal", "low"]


def test_a_pending_high_does_not_count_for_low() -> None:
    model = threshold_alarm(context(high=80, low=20, on_count=2))
    assert states(model, 90, 10, 90, 10, 10) == [None, None, None, None, "low"]


def test_iso_times_and_seconds_may_be_mixed() -> None:
    model = threshold_alarm(context(high=80, on_delay=10))
    start = datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC).timestamp()
    assert model(reading(90, ts="2023-11-14T23:13:20+01:00")) is None
    assert model(reading(90, ts=start + 5)) is None
    raised = model(reading(90, ts="2023-11-14T22:13:30"))
    assert (raised["state"], raised["ts"]) == ("high", "2023-11-14T22:13:30")


def test_a_delay_is_over_in_time_although_floats_are_coarse() -> None:
    start = 1700000000.1
    assert (start + 0.3) - start < 0.3
    model = threshold_alarm(context(high=80, on_delay=0.3))
    assert timed(model, (start, 90), (start + 0.3, 90)) == [None, "high"]


def test_a_clock_set_back_cannot_hold_an_alarm_up() -> None:
    model = threshold_alarm(context(high=80, on_delay=10))
    assert timed(model, (1_000_000, 90), (5, 90), (15, 90)) == [None, None, "high"]


def test_devices_and_points_are_apart() -> None:
    model = threshold_alarm(context(high=80, on_count=2))
    payloads = [reading(90), reading(90, point="flow"), reading(90, device="pump-8"), reading(90)]
    assert [bool(model(payload)) for payload in payloads] == [False, False, False, True]


def test_a_list_gives_its_transitions() -> None:
    model = threshold_alarm(context(high=80))
    results = model([reading(70), reading(90), reading(91), reading(60)])
    assert [result["state"] for result in results] == ["high", "normal"]
    assert model([reading(70)]) is None


@settings(deadline=None)
@given(st.lists(st.integers(0, 100), max_size=50), st.integers(0, 60))
def test_state_always_says_what_the_last_value_allows(values: list[int], deadband: int) -> None:
    model = threshold_alarm(context(high=80, low=20, deadband=deadband, publish="all"))
    for value in values:
        result = model(reading(value))
        if value > 80 or value < 20:
            assert result["state"] == ("high" if value > 80 else "low")
        elif 20 + deadband <= value <= 80 - deadband:
            assert result["state"] == "normal"
        else:
            assert result["state"] in ("normal", result["previous"])


@pytest.mark.parametrize(
    ("field", "payload"),
    [
        ("payload", "90"),
        ("device", {"value": 90, "ts": 1}),
        ("value", reading(math.nan, ts=1)),
        ("value", reading(True, ts=1)),
        ("point", reading(90, ts=1, point=3)),
        ("ts", reading(90)),
        ("ts", reading(90, ts=None)),
        ("ts", reading(90, ts="soon")),
    ],
)
def test_a_bad_payload_is_rejected_and_changes_nothing(field: str, payload: Any) -> None:
    state: dict[str, Any] = {}
    model = threshold_alarm(context(state, high=80, on_delay=10))
    model(reading(90, ts=0))
    before = json.dumps(state)
    with pytest.raises(ValueError, match=rf"^{field}: "):
        model(payload)
    with pytest.raises(ValueError, match=rf"^reading 1: {field}: "):
        model([reading(50, ts=1), payload])
    assert json.dumps(state) == before


@pytest.mark.parametrize("delay", ["on_delay", "off_delay"])
def test_either_delay_needs_ts(delay: str) -> None:
    with pytest.raises(ValueError, match=r"^ts: is missing, and `on_delay` and `off_delay`"):
        threshold_alarm(context(high=80, **{delay: 1}))(reading(1))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "set `high`, `low` or both"),
        ({"high": "80"}, "`high` must be a number, not '80'"),
        ({"high": math.inf}, "`high` must be a number, not inf"),
        ({"low": True}, "`low` must be a number, not true"),
        ({"high": 10, "low": 10}, "`low` must be less than `high`"),
        ({"high": 10, "low": 5, "deadband": 5.1}, "`deadband` must not be more than `high` - "),
        ({"high": 10, "deadband": -1}, "`deadband` must be a number of at least 0, not -1"),
        ({"high": 10, "on_delay": -1}, "`on_delay` must be"),
        ({"high": 10, "off_delay": "1s"}, "`off_delay` must be"),
        ({"high": 10, "on_count": 0}, "`on_count` must be a whole number from 1"),
        ({"high": 10, "off_count": 1.5}, "`off_count` must be"),
        ({"high": 10, "publish": "changes"}, "`publish` must be one of transitions, all"),
        ({"hi": 10, "low": 1}, "unknown option `hi`"),
    ],
)
def test_bad_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=r"^options: ") as caught:
        threshold_alarm(context(**options))
    assert message in str(caught.value)


def test_the_device_not_seen_for_longest_is_forgotten() -> None:
    state: dict[str, Any] = {}
    model = threshold_alarm(context(state, high=80, max_devices=2))
    raised = [bool(model(reading(90, device=device))) for device in "abacab"]
    assert raised == [True, True, False, True, False, True]
    assert sorted(state) == ["a/value", "b/value"]


def test_a_pending_alarm_outlives_the_process() -> None:
    state: dict[str, Any] = {}
    threshold_alarm(context(state, high=80, on_delay=10))(reading(90, ts=0))
    kept = json.loads(json.dumps(state))
    assert kept == state
    assert timed(threshold_alarm(context(kept, high=80, on_delay=10)), (10, 90)) == ["high"]


def test_threads_raise_each_alarm_once() -> None:
    model = threshold_alarm(context(high=80, on_count=500))
    payloads = [reading(90, device=f"pump-{n % 4}") for n in range(4_000)]
    with ThreadPoolExecutor(8) as pool:
        raised = [result for result in pool.map(model, payloads) if result]
    assert sorted(result["device"] for result in raised) == [f"pump-{n}" for n in range(4)]


@pytest.mark.parametrize("payload", [{"device": "a", "temperature": 90}, {"temperature": 90}, 90])
def test_messages_as_devices_send_them(payload: Any) -> None:
    model = threshold_alarm(context(point="temperature", high=85))
    message: Any = SimpleNamespace(topic="a")
    result = model(payload, message)
    assert (result["device"], result["value"], result["state"]) == ("a", 90, "high")
