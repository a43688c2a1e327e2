"""Temperature conversion and rolling statistics, and what all bundled models do with payloads."""

from __future__ import annotations

import json
import logging
import math
import random
import re
import statistics
import sys
from collections.abc import Iterator, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyboot_svc.models.telemetry import telm_temperature

celsius = st.floats(-273.15, 5000.0)


class JsonState(MutableMapping[str, Any]):
    """Keeps texts, as a durable state would: what isn't assigned, or isn't JSON, is lost."""

    def __init__(self) -> None:
        self._texts: dict[str, str] = {}

    def __getitem__(self, key: str) -> Any:
        return json.loads(self._texts[key])

    def __setitem__(self, key: str, value: Any) -> None:
        self._texts[key] = json.dumps(value, allow_nan=False)
        assert json.loads(self._texts[key]) == value

    def __delitem__(self, key: str) -> None:
        del self._texts[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._texts)

    def __len__(self) -> int:
        return len(self._texts)


def context(state: Any = None, *, topic: str = "", **options: Any) -> Any:
    state = {} if state is None else state
    return SimpleNamespace(
        options=options, state=state, logger=logging.getLogger("model.test"), topic=topic
    )


def reading(value: Any, unit: str = "C", **more: Any) -> dict[str, Any]:
    return {"device": "pump-7", "value": value, "unit": unit, **more}


FIXED_POINTS = [
    # Celsius, Fahrenheit, kelvin, Rankine
    (-273.15, -459.67, 0.0, 0.0),
    (-40.0, -40.0, 233.15, 419.67),
    (0.0, 32.0, 273.15, 491.67),
    (0.01, 32.018, 273.16, 491.688),  # triple point of water, ITS-90
    (100.0, 212.0, 373.15, 671.67),
    (1064.18, 1947.524, 1337.33, 2407.194),  # freezing point of gold, ITS-90
]


@pytest.mark.parametrize("point", FIXED_POINTS)
@pytest.mark.parametrize("source", range(4))
@pytest.mark.parametrize("target", range(4))
def test_fixed_points(point: tuple[float, ...], source: int, target: int) -> None:
    model = telm_temperature(context(unit="CFKR"[target]))
    result = model(reading(point[source], "CFKR"[source]))
    assert result["value"] == pytest.approx(point[target], abs=1e-11)
    assert result["unit"] == "CFKR"[target]


def test_whole_degrees_stay_whole() -> None:
    model = telm_temperature(context())
    assert [model(reading(f, "F"))["value"] for f in (32, 212, -40, 77)] == [0, 100, -40, 25]


@settings(deadline=None)
@given(celsius)
def test_the_own_unit_is_left_as_it_is(value: float) -> None:
    assert telm_temperature(context())(reading(value))["value"] == value


@settings(deadline=None)
@given(st.floats(0, 1e6), st.sampled_from("CFR"))
def test_nothing_comes_out_below_absolute_zero(kelvin: float, unit: str) -> None:
    there = telm_temperature(context(unit=unit))(reading(kelvin, "K"))["value"]
    back = telm_temperature(context(unit="K"))(reading(there, unit))["value"]
    assert back >= 0
    assert back == pytest.approx(kelvin, abs=1e-9)


@pytest.mark.parametrize("spelling", ["F", "f", "°F", "degF", " F ", "Fahrenheit"])
def test_spellings_of_a_unit(spelling: str) -> None:
    assert telm_temperature(context())(reading(212, spelling))["value"] == 100


def test_input_unit_is_for_readings_that_do_not_say_theirs() -> None:
    model = telm_temperature(context(input_unit="F"))
    assert model({"device": "a", "value": 212})["value"] == 100
    assert model({"device": "b", "value": 50, "unit": "C"})["value"] == 50


@pytest.mark.parametrize(
    "payload",
    [
        {"device": "a", "temperature": 21.5},
        {"device": "a", "temperature": 21.5, "unit": None},
        {"device_id": "a", "temp": 21.5},
        {"sensor": "a", "value": 21.5},
        {"sensor_id": "a", "value": 21.5, "temperature": 99},
        {"device": "a", "sensor": "b", "temperature": 21.5, "humidity": 40, "id": 7},
    ],
)
def test_messages_as_devices_send_them(payload: dict[str, Any]) -> None:
    result = telm_temperature(context())(payload)
    assert (result["device"], result["value"], result["unit"]) == ("a", 21.5, "C")


@pytest.mark.parametrize("payload", [21.5, {"temperature": 21.5}])
def test_without_a_device_the_topic_is_the_device(payload: Any) -> None:
    model = telm_temperature(context(input_unit="F"))
    counts = [
        model(payload, context(topic=topic))["count"] for topic in ("plant/a", "plant/b", "plant/a")
    ]
    assert counts == [1, 1, 2]
    result = model([payload], context(topic="plant/c"))[0]
    assert result["device"] == "plant/c"
    assert result["value"] == pytest.approx(-5.83, abs=0.01)


@pytest.mark.parametrize("key", ["timestamp", "time"])
def test_other_names_of_the_time(key: str) -> None:
    assert (
        telm_temperature(context())({"value": 1, key: 1700000000, "device": "a"})["ts"]
        == 1700000000
    )
    with pytest.raises(ValueError, match=rf"^{key}: must be seconds since 1970 .* not 'x'"):
        telm_temperature(context())({"value": 1, key: "x", "device": "a"})


def test_an_option_names_the_point_and_the_key_of_its_value() -> None:
    state: dict[str, Any] = {}
    model = telm_temperature(context(state, point="outlet"))
    assert model({"device": "a", "outlet": 21.5})["value"] == 21.5
    assert sorted(state) == ["a/outlet"]


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        (
            {"device": "a", "humidity": 4},
            "value: is missing; found device, humidity; accepted `value`, `temperature`, `temp`",
        ),
        ({}, "device: must be text of 1 to 256 printable characters, but is missing"),
        ({"device": "a", "temperature": "hot"}, "temperature: must be a number, not 'hot'"),
        ({"sensor": 7, "temperature": 1}, "sensor: must be text of 1 to 256 printable"),
        ({"device": "a", "temp": 1, "unit": "X"}, "unit: must be one of C, F, K, R, not 'X'"),
        ("21.5", "payload: must be an object or a number, not '21.5'"),
    ],
)
def test_an_error_says_what_was_found_and_what_is_accepted(payload: Any, message: str) -> None:
    with pytest.raises(ValueError, match=rf"^{re.escape(message)}"):
        telm_temperature(context())(payload)


def test_a_window_by_hand() -> None:
    model = telm_temperature(context(window=3))
    results = [model(reading(value)) for value in (2, 4, 9, 5, 4)]
    assert [r["count"] for r in results] == [1, 2, 3, 3, 3]
    assert [r["mean"] for r in results] == pytest.approx([2, 3, 5, 6, 6])
    assert [r["min"] for r in results] == [2, 2, 2, 4, 4]
    assert [r["max"] for r in results] == [2, 4, 9, 9, 9]
    variances = [0, 1, 26 / 3, 14 / 3, 14 / 3]
    assert [r["std"] ** 2 for r in results] == pytest.approx(variances)


@settings(deadline=None)
@given(st.lists(celsius, min_size=1, max_size=60), st.integers(1, 20))
def test_statistics_are_those_of_the_last_readings(values: list[float], window: int) -> None:
    model = telm_temperature(context(window=window))
    for end, value in enumerate(values, 1):
        result = model(reading(value))
        last = values[max(0, end - window) : end]
        assert result["count"] == len(last)
        assert (result["min"], result["max"]) == (min(last), max(last))
        assert result["min"] <= result["mean"] <= result["max"]
        assert result["mean"] == pytest.approx(statistics.fmean(last), abs=1e-9)
        assert result["std"] == pytest.approx(statistics.pstdev(last), rel=1e-9, abs=1e-9)


def test_errors_do_not_add_up() -> None:
    model = telm_temperature(context(window=7, unit="K"))
    random_values = random.Random(1)
    for _ in range(50_000):
        model(reading(random_values.choice([1e-3, 300.0, 1e12]) * random_values.random(), "K"))
    last = [20.0 + random_values.random() for _ in range(7)]
    result = [model(reading(value, "K")) for value in last][-1]
    assert result["mean"] == pytest.approx(statistics.fmean(last), rel=1e-15)
    assert result["std"] == pytest.approx(statistics.pstdev(last), rel=1e-12)


def test_a_constant_has_no_deviation_even_after_a_spike() -> None:
    model = telm_temperature(context(window=10))
    model(reading(1e15))
    result = [model(reading(20.1)) for _ in range(10)][-1]
    assert (result["mean"], result["std"]) == (20.1, 0)


def test_the_largest_numbers_still_give_finite_results() -> None:
    model = telm_temperature(context(window=4))
    results = [model(reading(value)) for value in (1e100, 0, 1e100, -10, 1e100)]
    assert all(math.isfinite(r[name]) for r in results for name in ("mean", "std"))


def test_result_repeats_device_point_and_ts_unchanged() -> None:
    model = telm_temperature(context())
    echo = {"device": "pump-7", "point": "outlet", "ts": "2023-11-14T22:13:20+01:00"}
    statistics_of_one = {"count": 1, "mean": 9.5, "min": 9.5, "max": 9.5, "std": 0}
    expected = {**echo, "value": 9.5, "unit": "C", **statistics_of_one}
    assert model({**echo, "value": 9.5, "unit": "C", "site": "x"}) == expected
    assert {"point", "ts"}.isdisjoint(model({"device": "a", "value": 9.5, "unit": "C"}))


def test_devices_and_points_are_apart() -> None:
    model = telm_temperature(context())
    names = [("a", "b/c"), ("a/b", "c"), ("a~1b", "c"), ("a", "b"), ("b", "b")]
    counts = [model(reading(1, device=d, point=p))["count"] for d, p in names * 2]
    assert counts == [1] * 5 + [2] * 5


def test_a_list_of_readings_gives_a_list_of_results() -> None:
    model = telm_temperature(context())
    assert [r["mean"] for r in model([reading(10), reading(20)])] == [10, 15]
    assert model([]) is None


PAYLOADS = [
    ("payload", True),
    ("device", 7),
    ("payload", None),
    ("payload", b"raw"),
    ("payload", "text" * 100),
    ("device", {"value": 1, "unit": "C"}),
    ("device", reading(1, device=7)),
    ("device", reading(1, device="")),
    ("device", reading(1, device="x" * 257)),
    ("device", reading(1, device="a\nb")),
    ("point", reading(1, point=None)),
    ("point", reading(1, point=[])),
    ("value", {"device": "pump-7", "unit": "C"}),
    ("value", {"device": "pump-7", **{f"{'x' * 99}{number}": 1 for number in range(9)}}),
    ("temperature", {"device": "pump-7", "temperature": "20"}),
    ("value", reading(None)),
    ("value", reading(True)),
    ("value", reading("20")),
    ("value", reading([1])),
    ("value", reading({})),
    ("value", reading(math.nan)),
    ("value", reading(math.inf)),
    ("value", reading(-math.inf)),
    ("value", reading(10**400)),
    ("value", reading(1.1e100)),
    ("value", reading(-273.16)),
    ("value", reading(-459.68, "F")),
    ("value", reading(-0.1, "K")),
    ("ts", reading(1, ts="yesterday")),
    ("ts", reading(1, ts="1712010112345")),
    ("ts", reading(1, ts=True)),
    ("ts", reading(1, ts=math.nan)),
    ("ts", reading(1, ts={})),
    ("unit", reading(1, "X")),
    ("unit", {"device": "pump-7", "value": 1, "unit": 5}),
]


@pytest.mark.parametrize(("field", "payload"), PAYLOADS)
def test_a_bad_payload_is_rejected_and_changes_nothing(field: str, payload: Any) -> None:
    state = JsonState()
    model = telm_temperature(context(state))
    model(reading(20))
    before = dict(state)
    with pytest.raises(ValueError, match=rf"^{field}: ") as caught:
        model(payload)
    assert len(str(caught.value)) < 150
    with pytest.raises(ValueError, match=rf"^reading 1: {field}: "):
        model([reading(30), payload])
    assert dict(state) == before
    assert model(reading(30))["mean"] == 25


@pytest.mark.parametrize("ts", [None, 0, 1700000000.5, "2023-11-14 22:13", "20231114T2213"])
def test_times_that_are_fine(ts: Any) -> None:
    assert telm_temperature(context())(reading(1, ts=ts))["ts"] == ts


OPTIONS = [
    ({"unit": "X"}, "`unit` must be one of C, F, K, R, not 'X'"),
    ({"unit": 5}, "`unit` must be one of"),
    ({"input_unit": "c"}, "`input_unit` must be one of"),
    ({"window": 0}, "`window` must be a whole number from 1 to 100000, not 0"),
    ({"window": 2.5}, "not 2.5"),
    ({"window": True}, "not true"),
    ({"max_devices": 0}, "`max_devices` must be a whole number"),
    ({"point": ""}, "`point` must be text of 1 to 256 printable characters, not ''"),
    ({"windw": 5}, "unknown option `windw` (did you mean `window`?)"),
    ({"zzz": 5}, "the options are device, devices, input_unit, max_devices"),
    ({"window": [], "unit": {}}, "`unit` must be one of C, F, K, R, not an object; `window` must"),
]


@pytest.mark.parametrize(("options", "message"), OPTIONS)
def test_bad_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=r"^options: ") as caught:
        telm_temperature(context(**options))
    assert message in str(caught.value)


def test_an_option_that_is_null_has_its_default() -> None:
    assert telm_temperature(context(unit=None, window=None))(reading(5))["unit"] == "C"


def test_the_device_not_seen_for_longest_is_forgotten() -> None:
    state: dict[str, Any] = {}
    model = telm_temperature(context(state, max_devices=2))
    counts = [model(reading(1, device=device))["count"] for device in "abacab"]
    assert counts == [1, 1, 2, 1, 3, 1]
    assert sorted(state) == ["a/temperature", "b/temperature"]


def test_a_rejected_reading_is_no_sighting() -> None:
    state: dict[str, Any] = {}
    model = telm_temperature(context(state, max_devices=2))
    model(reading(1, device="a"))
    model(reading(1, device="b"))
    with pytest.raises(ValueError, match=r"^value: "):
        model(reading("x", device="a"))
    model(reading(1, device="c"))
    assert sorted(state) == ["b/temperature", "c/temperature"]


def test_state_that_is_there_is_taken_up() -> None:
    state = JsonState()
    first = telm_temperature(context(state, window=5))
    for value in range(9):
        first(reading(value))
    assert telm_temperature(context(state, window=5))(reading(9))["mean"] == 7
    assert telm_temperature(context(state, window=2))(reading(10))["mean"] == 9.5
    assert telm_temperature(context(state, unit="K"))(reading(10))["count"] == 1


def test_a_smaller_max_devices_forgets_the_rest() -> None:
    state = JsonState()
    for device in "abcd":
        telm_temperature(context(state))(reading(1, device=device))
    telm_temperature(context(state, max_devices=2))(reading(1, device="e"))
    assert sorted(state) == ["d/temperature", "e/temperature"]


def test_a_state_of_texts_gives_the_same_results() -> None:
    plain = telm_temperature(context(window=4))
    durable = telm_temperature(context(JsonState(), window=4))
    for value in (3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5):
        assert plain(reading(value)) == durable(reading(value))


def test_threads_lose_nothing() -> None:
    model = telm_temperature(context(window=10_000))
    values = [float(n % 97) for n in range(4_000)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as pool:
            counts = [result["count"] for result in pool.map(model, map(reading, values))]
    finally:
        sys.setswitchinterval(interval)
    assert sorted(counts) == list(range(1, 4_001))
    result = model(reading(1.0))
    assert result["mean"] == pytest.approx(statistics.fmean([*values, 1.0]))
    assert result["std"] == pytest.approx(statistics.pstdev([*values, 1.0]))
