"""Statistics of whole batches: what each payload would have alone, or an error for a bad one."""

from __future__ import annotations

import logging
import random
import statistics
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyboot_svc.model import Context, load_model
from pyboot_svc.model.loader import ImportFailed

numbers = st.floats(-1e100, 1e100) | st.integers(-(2**70), 2**70)
values = st.lists(numbers, min_size=1, max_size=40)


def load() -> Any:
    context = Context("test-1", Path(), logging.getLogger("model"))
    return load_model("pyboot_svc.models.samples.sample_statistics", [], context)


def computed(payloads: Any) -> Any:
    pytest.importorskip("numpy")
    return load()(payloads, None)


def expected(samples: list[float]) -> dict[str, Any]:
    """By the standard library, which is exact; rounding is relative to the largest sample.

    Squares of deviations below 1e-150 would be less than any float.
    """
    tolerance = 1e-12 * max(map(abs, samples)) + 1e-150
    return {
        "count": len(samples),
        "mean": pytest.approx(float(statistics.mean(samples)), abs=tolerance),
        "std": pytest.approx(float(statistics.pstdev(samples)), rel=1e-9, abs=tolerance),
        "min": float(min(samples)),
        "max": float(max(samples)),
    }


def test_by_hand() -> None:
    assert computed([{"device": "pump-7", "ts": 1.5, "values": [2, 4, 4, 4, 5, 5, 7, 9]}]) == [
        {"device": "pump-7", "ts": 1.5, "count": 8, "mean": 5, "std": 2, "min": 2, "max": 9}
    ]


def test_what_a_payload_does_not_say_of_itself_is_not_repeated() -> None:
    payloads = [
        {"values": [1], "unit": "C"},
        {"values": [1], "point": "inlet", "ts": "2026-01-01T00:00:00Z", "device": None},
    ]
    figures = {"count": 1, "mean": 1, "std": 0, "min": 1, "max": 1}
    named = {"point": "inlet", "ts": "2026-01-01T00:00:00Z", "device": None}
    assert computed(payloads) == [figures, {**named, **figures}]


@settings(deadline=None)
@given(st.lists(values, min_size=1, max_size=20))
def test_ragged_batches_have_the_statistics_of_the_standard_library(
    batch: list[list[float]],
) -> None:
    found = computed([{"values": samples} for samples in batch])
    assert found == [expected(samples) for samples in batch]


def test_batches_of_equal_lengths_have_the_statistics_of_the_standard_library() -> None:
    chance = random.Random(1)
    batch = [[chance.gauss(20, 3) for _ in range(50)] for _ in range(256)]
    found = computed([{"device": str(at), "values": v} for at, v in enumerate(batch)])
    assert found == [{"device": str(at), **expected(v)} for at, v in enumerate(batch)]


@settings(deadline=None)
@given(st.lists(values, min_size=2, max_size=10))
def test_the_company_of_others_changes_no_result(batch: list[list[float]]) -> None:
    payloads = [{"values": samples} for samples in batch]
    assert computed(payloads) == [computed([payload])[0] for payload in payloads]


@settings(deadline=None)
@given(st.floats(-1e100, 1e100), st.integers(1, 50))
def test_equal_samples_do_not_deviate(value: float, count: int) -> None:
    figures = {"count": count, "mean": value, "std": 0, "min": value, "max": value}
    assert computed([{"values": [value] * count}, {"values": [1.0, 2.0]}])[0] == figures


def test_a_small_deviation_far_from_zero_is_not_lost() -> None:
    found = computed([{"values": [1e9 + 0.25, 1e9 - 0.25] * 500}])[0]
    assert (found["mean"], found["std"]) == (1e9, 0.25)


def test_results_are_what_json_can_say() -> None:
    [found] = computed([{"values": [1, 2]}])
    assert [type(value) for value in found.values()] == [int, float, float, float, float]


@pytest.mark.parametrize(
    ("payload", "said"),
    [
        (7, "payload: must be an object, not 7"),
        (None, "payload: must be an object, not null"),
        ({}, "values: must be a list of numbers, but is missing"),
        ({"values": 7}, "values: must be a list of numbers, not 7"),
        ({"values": "12"}, "values: must be a list of numbers, not '12'"),
        ({"values": []}, "values: must hold at least one number, but is empty"),
        ({"values": [1, None]}, "values: item 1 must be a number, not null"),
        ({"values": [1, 2, "3"]}, "values: item 2 must be a number, not '3'"),
        ({"values": [True]}, "values: item 0 must be a number, not true"),
        ({"values": [[1]]}, "values: item 0 must be a number, not a list"),
        ({"values": [1, 2e100]}, "values: numbers must be from -1e+100 to 1e+100"),
        ({"values": [1, -2e100]}, "values: numbers must be from -1e+100 to 1e+100"),
        ({"values": [10**400]}, "values: numbers must be from -1e+100 to 1e+100"),
        ({"values": [1, float("nan")]}, "values: numbers must be from -1e+100 to 1e+100"),
        ({"values": [float("inf")]}, "values: numbers must be from -1e+100 to 1e+100"),
    ],
)
def test_a_bad_payload_says_what_is_wrong_alone_and_among_others(payload: Any, said: str) -> None:
    good = {"values": [1, 2]}
    for batch in ([payload], [good, payload, good]):
        with pytest.raises(ValueError, match="must") as raised:
            computed(batch)
        assert str(raised.value) == said


def test_without_batches_it_says_what_to_configure() -> None:
    with pytest.raises(ValueError, match=r"set `batch: \{\}` in its edge"):
        computed({"values": [1, 2]})


def test_without_numpy_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "pyboot_svc.models.samples", raising=False)
    monkeypatch.setitem(sys.modules, "numpy", None)
    with pytest.raises(ImportFailed) as raised:
        load()
    assert "ImportError: this model needs numpy: install it (Debian: python3-numpy; " in str(
        raised.value
    )
