"""Control charts against published tables, and how they learn."""

from __future__ import annotations

import json
import logging
import math
import statistics
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyboot_svc.models.anomaly import cusum_anomaly, ewma_anomaly

CHARTS = [ewma_anomaly, cusum_anomaly]
Chart = type[ewma_anomaly] | type[cusum_anomaly]

# NIST/SEMATECH e-Handbook of Statistical Methods, 6.3.2.4: lambda 0.3, EWMA(0) 50, s 2.0539.
NIST_EWMA_DATA = [
    52.0, 47.0, 53.0, 49.3, 50.1, 47.0, 51.0, 50.1, 51.2, 50.5,
    49.6, 47.6, 49.9, 51.3, 47.8, 51.2, 52.6, 52.4, 53.6, 52.1,
]  # fmt: skip
NIST_EWMA = [
    50.60, 49.52, 50.56, 50.18, 50.16, 49.21, 49.75, 49.85, 50.26, 50.33,
    50.11, 49.36, 49.52, 50.05, 49.38, 49.92, 50.73, 51.23, 51.94, 51.99,
]  # fmt: skip
NIST_UPPER, NIST_LOWER = 52.5884, 47.4115

# The same, 6.3.2.3: target 325, sigma of the sample means 0.635, k 0.3175, h 4.1959.
NIST_CUSUM_DATA = [
    324.925, 324.675, 324.725, 324.350, 325.350, 325.225, 324.125, 324.525, 325.225, 324.600,
    324.625, 325.150, 328.325, 327.250, 327.825, 328.500, 326.675, 327.775, 326.875, 328.350,
]  # fmt: skip
NIST_CUSUM_HIGH = [
    0, 0, 0, 0, 0.03, 0, 0, 0, 0, 0, 0, 0, 3.01, 4.94, 7.45, 10.63, 11.99, 14.44, 16.00, 19.04,
]  # fmt: skip
NIST_CUSUM_LOW = [
    0, 0.01, 0, 0.33, 0, 0, 0.56, 0.72, 0.17, 0.25, 0.31, 0, 0, 0, 0, 0, 0, 0, 0, 0,
]  # fmt: skip


def context(state: Any = None, **options: Any) -> Any:
    state = {} if state is None else state
    return SimpleNamespace(options=options, state=state, logger=logging.getLogger("model.test"))


def reading(value: Any, **more: Any) -> dict[str, Any]:
    return {"device": "pump-7", "value": value, **more}


def run(model: Any, values: list[float]) -> list[Any]:
    return [model(reading(value)) for value in values]


def test_ewma_is_that_of_the_nist_handbook() -> None:
    options = {"target": 50, "sigma": 2.0539, "lambda": 0.3, "publish": "all"}
    results = run(ewma_anomaly(context(**options)), NIST_EWMA_DATA)
    assert [round(result["ewma"], 2) for result in results] == NIST_EWMA
    # The handbook's limits are those for large t, with sqrt(0.3 / 1.7) cut to 0.4201.
    assert results[-1]["upper"] == pytest.approx(NIST_UPPER, abs=1e-3)
    assert results[-1]["lower"] == pytest.approx(NIST_LOWER, abs=1e-3)
    assert {result["state"] for result in results} == {"normal"}


def test_ewma_limits_widen_from_the_first_reading() -> None:
    options = {"target": 10, "sigma": 2, "lambda": 0.5, "width": 3, "publish": "all"}
    results = run(ewma_anomaly(context(**options)), [10, 10, 10])
    # lambda / (2 - lambda) (1 - (1 - lambda)^(2t)): 1/4, 5/16, 21/64
    half_widths = [6 * math.sqrt(factor) for factor in (1 / 4, 5 / 16, 21 / 64)]
    assert [r["upper"] - 10 for r in results] == pytest.approx(half_widths)
    assert [10 - r["lower"] for r in results] == pytest.approx(half_widths)


def test_lambda_one_is_a_shewhart_chart() -> None:
    model = ewma_anomaly(context(**{"target": 0, "sigma": 1, "lambda": 1, "publish": "all"}))
    results = run(model, [2.9, 3.1, 0, -3.1, 3])
    assert [r["state"] for r in results] == ["normal", "high", "normal", "low", "normal"]
    assert results[1]["upper"] == 3


def test_cusum_is_that_of_the_nist_handbook() -> None:
    options = {"target": 325, "sigma": 0.635, "k": 0.3175 / 0.635, "h": 4.1959 / 0.635}
    model = cusum_anomaly(context(**options, ceiling=1000, publish="all"))
    results = run(model, NIST_CUSUM_DATA)
    assert [r["cusum_high"] for r in results] == pytest.approx(NIST_CUSUM_HIGH, abs=0.0051)
    assert [r["cusum_low"] for r in results] == pytest.approx(NIST_CUSUM_LOW, abs=0.0051)
    assert [r["state"] for r in results] == ["normal"] * 13 + ["high"] * 7
    assert results[0]["limit"] == pytest.approx(4.1959)


def test_cusum_is_that_of_lucas_and_crosier() -> None:
    # Fast Initial Response for CUSUM Quality-Control Schemes (1982), table 5: k 0.5, h 5.
    model = cusum_anomaly(context(target=0, sigma=1, publish="all"))
    results = run(model, [0.8, 1.9, 1.4, 2.0, 1.1, 0.7, 2.6])
    sums = [0.3, 1.7, 2.6, 4.1, 4.7, 4.9, 7.0]
    assert [r["cusum_high"] for r in results] == pytest.approx(sums)
    assert [r["anomaly"] for r in results] == [False] * 6 + [True]


def test_cusum_finds_low_too() -> None:
    model = cusum_anomaly(context(target=0, sigma=1, publish="all"))
    results = run(model, [-3.0, -3.0, -3.0])
    assert [r["cusum_low"] for r in results] == [2.5, 5.0, 7.5]
    assert [r["state"] for r in results] == ["normal", "normal", "low"]


def test_ceiling_ends_the_alarm_soon_after_the_fault() -> None:
    model = cusum_anomaly(context(target=0, sigma=2, h=4, k=0.5))
    run(model, [20.0] * 1000)
    # From 2 h to h at k a reading.
    results = run(model, [0.0] * 9)
    assert [r and r["state"] for r in results] == [None] * 7 + ["normal", None]


def test_after_a_swing_the_larger_sum_says_the_side() -> None:
    model = cusum_anomaly(context(target=0, sigma=1, k=0, h=1, ceiling=100, publish="all"))
    assert [r["state"] for r in run(model, [9.0, -4.0, -3.0])] == ["high", "high", "low"]


@pytest.mark.parametrize("chart", CHARTS)
@settings(deadline=None)
@given(values=st.lists(st.floats(-1e6, 1e6), min_size=5, max_size=5))
def test_the_baseline_is_that_of_the_warm_up(chart: Chart, values: list[float]) -> None:
    model = chart(context(warmup=5, min_sigma=1e-3, publish="all"))
    results = run(model, values)
    assert [r["state"] for r in results] == ["learning"] * 4 + ["normal"]
    assert results[-1]["mean"] == pytest.approx(statistics.fmean(values), abs=1e-8)
    sigma = max(statistics.stdev(values), 1e-3)
    assert results[-1]["sigma"] == pytest.approx(sigma, rel=1e-9, abs=1e-8)
    later = model(reading(values[0]))
    assert (later["mean"], later["sigma"]) == (results[-1]["mean"], results[-1]["sigma"])


@pytest.mark.parametrize("chart", CHARTS)
def test_transitions_of_a_life(chart: Chart) -> None:
    model = chart(context(warmup=4))
    results = run(model, [9, 11, 9, 11, 10, 10, 30, 30, 30, *[10] * 60, -10, -10])
    states = [(r["previous"], r["state"], r["anomaly"]) for r in results if r]
    assert states == [
        ("learning", "normal", False),
        ("normal", "high", True),
        ("high", "normal", False),
        ("normal", "low", True),
    ]


def test_results() -> None:
    echo = {"device": "pump-7", "point": "flow", "ts": 12}
    options: dict[str, Any] = {"target": 10, "sigma": 1}
    common = {"value": 20.0, "state": "high", "previous": "normal", "anomaly": True}
    common |= {"mean": 10.0, "sigma": 1.0}
    ewma = ewma_anomaly(context(**options, **{"lambda": 1}))({**echo, "value": 20, "unit": "m"})
    assert ewma == {**echo, **common, "ewma": 20.0, "lower": 7.0, "upper": 13.0}
    cusum = cusum_anomaly(context(**options))({**echo, "value": 20})
    assert cusum == {**echo, **common, "cusum_high": 9.5, "cusum_low": 0.0, "limit": 5.0}


@pytest.mark.parametrize("chart", CHARTS)
def test_learning_says_so_and_has_no_figures_of_the_chart(chart: Chart) -> None:
    model = chart(context(warmup=2, publish="all"))
    learning = {"previous": "learning", "state": "learning", "mean": 1.0, "sigma": 0.0}
    assert model(reading(1)) == reading(1.0) | learning | {"anomaly": False}
    learned = {"previous": "learning", "state": "normal", "mean": 2.0, "sigma": math.sqrt(2)}
    assert model(reading(3)) == reading(3.0) | learned | {"anomaly": False}


@pytest.mark.parametrize("chart", CHARTS)
def test_a_signal_that_never_moved_is_learned_from_again(chart: Chart) -> None:
    model = chart(context(warmup=3, publish="all"))
    results = run(model, [5, 5, 5, 5, 5, 8])
    assert [r["state"] for r in results] == ["learning"] * 5 + ["normal"]
    assert (results[-1]["mean"], results[-1]["sigma"]) == (6, pytest.approx(math.sqrt(3)))


@pytest.mark.parametrize("chart", CHARTS)
def test_min_sigma_is_for_signals_that_hardly_move(chart: Chart) -> None:
    model = chart(context(warmup=2, min_sigma=0.5, publish="all"))
    results = run(model, [5, 5, 5, 5, 5.5, 5])
    assert [r["state"] for r in results] == ["learning", *["normal"] * 5]
    assert results[-1]["sigma"] == 0.5
    assert chart(context(target=5, sigma=0.1, min_sigma=0.5))(reading(50))["sigma"] == 0.5


@pytest.mark.parametrize("chart", CHARTS)
def test_relearns_after_a_lasting_shift(chart: Chart) -> None:
    model = chart(context(warmup=2, relearn_after=3))
    results = run(model, [9, 11, 90, 90, 90, 89, 91, 90])
    states = [r and r["state"] for r in results]
    assert states == [None, "normal", "high", None, None, "learning", "normal", None]
    assert results[6]["mean"] == 90


@pytest.mark.parametrize("chart", CHARTS)
def test_devices_and_points_are_apart(chart: Chart) -> None:
    model = chart(context(target=0, sigma=1))
    payloads = [reading(90), reading(0, point="flow"), reading(0, device="pump-8"), reading(90)]
    assert [bool(model(payload)) for payload in payloads] == [True, False, False, False]


@pytest.mark.parametrize("chart", CHARTS)
def test_a_list_gives_its_transitions(chart: Chart) -> None:
    model = chart(context(warmup=2))
    results = model([reading(value) for value in (9, 11, 10, 90, 90)])
    assert [result["state"] for result in results] == ["normal", "high"]


@pytest.mark.parametrize("chart", CHARTS)
@pytest.mark.parametrize(
    ("field", "payload"),
    [
        ("payload", "90"),
        ("device", 90),
        ("device", {"value": 90}),
        ("point", reading(90, point="")),
        ("value", reading(math.nan)),
        ("value", reading(False)),
        ("value", reading("90")),
        ("ts", reading(90, ts="soon")),
    ],
)
def test_a_bad_payload_is_rejected_and_changes_nothing(
    chart: Chart, field: str, payload: Any
) -> None:
    state: dict[str, Any] = {}
    model = chart(context(state))
    model(reading(1))
    before = json.dumps(state)
    with pytest.raises(ValueError, match=rf"^{field}: "):
        model(payload)
    with pytest.raises(ValueError, match=rf"^reading 1: {field}: "):
        model([reading(1), payload])
    assert json.dumps(state) == before


@pytest.mark.parametrize("chart", CHARTS)
def test_the_largest_numbers_still_give_finite_results(chart: Chart) -> None:
    model = chart(context(warmup=2, publish="all"))
    for result in run(model, [1e100, -1e100, 1e100, 1e100, -1e100]):
        json.dumps(result, allow_nan=False)


@pytest.mark.parametrize("chart", CHARTS)
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"warmup": 1}, "`warmup` must be a whole number from 2"),
        ({"target": 5}, "set both `target` and `sigma`, or neither"),
        ({"sigma": 5}, "set both `target` and `sigma`, or neither"),
        ({"target": 5, "sigma": 0}, "`sigma` must be a number above 0, not 0"),
        ({"target": "x", "sigma": 1}, "`target` must be a number, not 'x'"),
        ({"target": 5, "sigma": 1, "relearn_after": 9}, "`relearn_after` doesn't go with"),
        ({"min_sigma": -1}, "`min_sigma` must be a number of at least 0, not -1"),
        ({"relearn_after": -1}, "`relearn_after` must be a whole number from 0"),
        ({"publish": "some"}, "`publish` must be one of transitions, all"),
        ({"warm_up": 5}, "unknown option `warm_up` (did you mean `warmup`?)"),
    ],
)
def test_bad_options(chart: Chart, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=r"^options: ") as caught:
        chart(context(**options))
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("chart", "options", "message"),
    [
        (ewma_anomaly, {"lambda": 0}, "`lambda` must be a number above 0 and up to 1, not 0"),
        (ewma_anomaly, {"lambda": 1.1}, "`lambda` must be"),
        (ewma_anomaly, {"width": 0}, "`width` must be a number above 0"),
        (
            ewma_anomaly,
            {"k": 1},
            "unknown option `k`; the options are device, devices, lambda, max_devices",
        ),
        (cusum_anomaly, {"k": -0.1}, "`k` must be a number of at least 0"),
        (cusum_anomaly, {"h": 0}, "`h` must be a number above 0"),
        (cusum_anomaly, {"h": 4, "ceiling": 4}, "`ceiling` must be more than `h`"),
        (cusum_anomaly, {"lambda": 1}, "unknown option `lambda`"),
    ],
)
def test_bad_options_of_a_chart(chart: Chart, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=r"^options: ") as caught:
        chart(context(**options))
    assert message in str(caught.value)


@pytest.mark.parametrize("chart", CHARTS)
def test_the_device_not_seen_for_longest_is_forgotten(chart: Chart) -> None:
    state: dict[str, Any] = {}
    model = chart(context(state, target=0, sigma=1, max_devices=2))
    found = [bool(model(reading(90, device=device))) for device in "abacab"]
    assert found == [True, True, False, True, False, True]
    assert sorted(state) == ["a/value", "b/value"]


@pytest.mark.parametrize("chart", CHARTS)
def test_state_is_json_and_is_taken_up(chart: Chart) -> None:
    values = [9.0, 11.0, 10.0, 12.0, 10.0, 14.0, 13.0, 9.0]
    whole = run(chart(context(warmup=3, publish="all")), values)
    state: dict[str, Any] = {}
    parts = []
    for value in values:
        parts += run(chart(context(state, warmup=3, publish="all")), [value])
        assert json.loads(json.dumps(state)) == state
        state = json.loads(json.dumps(state))
    assert parts == whole


@pytest.mark.parametrize("chart", CHARTS)
def test_a_given_target_replaces_what_was_learned(chart: Chart) -> None:
    state: dict[str, Any] = {}
    run(chart(context(state, warmup=2)), [9, 11, 90])
    result = chart(context(state, target=90, sigma=1))(reading(90))
    assert (result["previous"], result["state"], result["mean"]) == ("high", "normal", 90)


@pytest.mark.parametrize("chart", CHARTS)
def test_threads_lose_nothing(chart: Chart) -> None:
    model = chart(context(warmup=4_001, publish="all"))
    values = [float(n % 97) for n in range(4_000)]
    with ThreadPoolExecutor(8) as pool:
        states = {result["state"] for result in pool.map(model, map(reading, values))}
    assert states == {"learning"}
    result = model(reading(1.0))
    assert result["state"] == "normal"
    assert result["mean"] == pytest.approx(statistics.fmean([*values, 1.0]))
    assert result["sigma"] == pytest.approx(statistics.stdev([*values, 1.0]))
