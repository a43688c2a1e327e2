"""Counters, rates over a window, and percentiles beside exact ones."""

from __future__ import annotations

import math
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.columns import chunk_of, result_batch_of

from pyboot_svc.metrics.snapshot import BATCH_BOUNDS, LATENCY_BOUNDS, MODEL_BOUNDS, as_document
from pyboot_svc.worker.messages import ResultBatch
from pyboot_svc.worker.stats import Buckets, LatencyHistogram, Stats

SECOND = 1_000_000_000
# From the finest that is told apart well (16 µs) to an hour.
durations = st.integers(16_000, 3600 * SECOND)


def results_of(arrived: int) -> ResultBatch:
    """The result of one message that arrived then."""
    return ResultBatch(chunk_of([b"1"], arrived=arrived), range(1), [b"1"])


def figures(tally: Stats) -> dict[str, Any]:
    return as_document(tally.figures())


def recorded(values: list[int]) -> LatencyHistogram:
    histogram = LatencyHistogram()
    histogram.record(values)
    return histogram


@given(st.lists(durations, min_size=1, max_size=200), st.sampled_from([0.5, 0.9, 0.99, 1.0]))
def test_percentiles_are_within_7_percent(values: list[int], share: float) -> None:
    exact_ms = sorted(values)[math.ceil(share * len(values)) - 1] / 1e6
    told = recorded(values).percentile(share)
    assert told is not None
    assert exact_ms <= told <= exact_ms * 1.07


@given(st.integers(-SECOND, 16_000))
def test_very_short_durations_are_told_to_the_microsecond(value: int) -> None:
    told = recorded([value]).percentile(0.5)
    assert told is not None
    assert max(value, 0) / 1e6 < told < max(value, 0) / 1e6 + 0.00101


def test_without_durations_there_is_no_percentile() -> None:
    assert LatencyHistogram().percentile(0.5) is None
    assert figures(Stats())["latency_ms"] == {"p50": None, "p99": None}


def test_much_is_added_up_in_portions_between_which_others_go_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A thread that adds up has the interpreter, and messages wait for it meanwhile."""
    stats = Stats()
    for _ in range(1000):
        stats.received(1)
        stats.worked((0.001, 1))
        stats.published_lone(time.monotonic_ns())
    stats.worked((0.002, 2))
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        stats.add("dropped", 1)  # which waits while the lock is held

    monkeypatch.setattr(time, "sleep", pause)
    told = stats.counters()
    assert len(pauses) == 1000 // 256
    counted = (told.received, told.processed, told.published, told.dropped)
    assert counted == (1000, 1000, 1000, len(pauses))
    assert figures(stats)["histograms"]["batch_size"]["counts"][:2] == [1000, 1]


def test_the_counters_alone_are_those_of_the_figures() -> None:
    stats = Stats()
    stats.received(3)
    stats.published(results_of(time.monotonic_ns()))
    stats.published_lone(time.monotonic_ns())
    stats.add("dropped", 2)
    counters = stats.counters()
    assert (counters.received, counters.published, counters.dropped) == (3, 2, 2)
    assert counters == stats.figures().counters


def test_durations_are_forgotten_after_ten_ticks() -> None:
    histogram = recorded([SECOND] * 99)
    histogram.rotate()
    histogram.record([SECOND // 1000])
    for _ in range(8):
        histogram.rotate()
    assert histogram.percentile(0.5) == pytest.approx(1000, rel=0.07)
    histogram.rotate()
    assert histogram.percentile(0.5) == pytest.approx(1, rel=0.07)
    histogram.rotate()
    assert histogram.percentile(0.5) is None


def test_latency_counts_from_the_arrival() -> None:
    tally = Stats()
    tally.published(results_of(time.monotonic_ns() - 3600 * SECOND))
    latency = figures(tally)["latency_ms"]
    assert latency["p50"] == latency["p99"] == pytest.approx(3_600_000, rel=0.07)


def test_counters_and_errors_by_kind() -> None:
    tally = Stats()
    zero = figures(tally)["counters"]
    assert set(zero.values()) == {0}
    assert figures(tally)["errors"] == {}
    tally.add("received", 3)
    tally.add("received", 4)
    tally.add("dropped", 1)
    tally.add_errors(["model", "empty", "model"], "model: it failed\nmore")
    assert figures(tally)["counters"] == {**zero, "received": 7, "dropped": 1}
    assert figures(tally)["errors"] == {"model": 2, "empty": 1}
    assert figures(tally)["last"]["error"] == "model: it failed"


def test_when_something_happened_last() -> None:
    tally = Stats()
    assert set(figures(tally)["last"].values()) == {None}
    before = time.time() - 0.1
    tally.received(1)
    assert before <= figures(tally)["last"]["input"] <= time.time() + 0.1
    assert figures(tally)["last"]["result"] is None
    tally.published(result_batch_of([b"1"]))
    assert figures(tally)["last"]["result"] >= before


def test_what_is_no_figure_is_not_counted() -> None:
    with pytest.raises(KeyError):
        Stats().add("recieved", 1)


def test_rates_are_counts_by_the_time_since_the_window_began() -> None:
    before = time.monotonic()
    tally = Stats()
    tally.add("received", 1_000_000)
    tally.add("published", 500_000)
    rates = figures(tally)["rates"]
    assert rates["in"] >= 1_000_000 / (time.monotonic() - before + 1e-3)
    assert rates["out"] == pytest.approx(rates["in"] / 2, abs=0.1)


def test_rates_look_back_over_ten_ticks() -> None:
    tally = Stats()
    tally.add("received", 1_000_000)
    for _ in range(10):
        tally.tick()
    assert figures(tally)["rates"]["in"] > 0
    tally.tick()
    assert figures(tally)["rates"]["in"] == 0
    assert figures(tally)["counters"]["received"] == 1_000_000


@pytest.mark.usefixtures("busy_switching")
def test_threads_lose_no_count() -> None:
    tally = Stats()

    def work() -> None:
        for _ in range(500):
            tally.add("processed", 1)
            tally.add_errors(["model"], "model: it failed")
            tally.published(results_of(0))
            figures(tally)

    with ThreadPoolExecutor(4) as pool:
        for _ in range(4):
            pool.submit(work)
    assert figures(tally)["counters"]["processed"] == 2_000
    assert figures(tally)["errors"] == {"model": 2_000}


def test_histograms_keep_what_the_window_forgets() -> None:
    tally = Stats()
    tally.published(results_of(time.monotonic_ns() - 3 * SECOND))
    for _ in range(20):
        tally.tick()
    found = figures(tally)
    assert found["latency_ms"]["p50"] is None
    latency = found["histograms"]["latency_s"]
    assert dict(zip(LATENCY_BOUNDS, latency["counts"], strict=False))[5.0] == 1
    assert latency["sum"] == pytest.approx(3, abs=1)


def test_a_bound_belongs_to_its_bucket_and_what_is_beyond_all_to_the_last() -> None:
    buckets = Buckets((1.0, 2.0))
    buckets.add((0.5, 1.0, 1.5, 2.0, 2.5, 100.0), 2)
    assert as_document(buckets.distribution()) == {"counts": [4, 4, 4], "sum": 215.0}


def test_what_a_model_thread_took_at_once_is_told_by_message_and_by_size() -> None:
    tally = Stats()
    tally.worked((0.002, 20))
    tally.worked((0.5, 1))
    told = figures(tally)["histograms"]
    model = dict(zip(MODEL_BOUNDS, told["model_s"]["counts"], strict=False))
    assert (model[0.0001], model[1.0]) == (20, 1)
    assert told["model_s"]["sum"] == pytest.approx(0.502)
    sizes = dict(zip(BATCH_BOUNDS, told["batch_size"]["counts"], strict=False))
    assert (sizes[1.0], sizes[32.0], told["batch_size"]["sum"]) == (1, 1, 21)
