"""The tables and the picture of the rates: ratios to the best of the other Python clients."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from xml.etree import ElementTree

import pytest

from benchmarks.contest import Figures
from benchmarks.curves import Curve, Panel, curves, ticks
from benchmarks.rates_page import (
    cpu_table,
    latency_table,
    losses,
    most_uneven,
    put_rates,
    rate_goals,
    rates_part,
    rates_picture,
)
from benchmarks.rounds import Cell, Results
from benchmarks.sweep import FULL_RATE, Sweep, summary, trial_name

ONE = Figures(cpu=100, rate=20, rss=20, p50=200, p99=400, broker_cpu=50)
SWEEP = Sweep(rates=(20.0, FULL_RATE), qos=(1,), rounds=1, seconds=1)


def results(**cpu: float) -> Results:
    """Of each client at both rates; p50 is twice and p99 four times the CPU."""
    return {
        (name.replace("_", " "), trial_name(rate, 1)): Cell(
            [dataclasses.replace(ONE, cpu=each, p50=2 * each, p99=4 * each)]
        )
        for name, each in cpu.items()
        for rate in SWEEP.rates
    }


MEASURED = results(pyboot=110, gmqtt=100, C_client=20) | {
    ("paho-mqtt", trial_name(20.0, 1)): Cell([dataclasses.replace(ONE, cpu=200, p50=100)])
}


def test_where_few_messages_come_they_are_measured_for_longer() -> None:
    """Of 50 the 99th in a hundred would be the slowest alone."""
    sweep = Sweep(rates=(20.0, 2000.0, FULL_RATE), qos=(0,), seconds=2.5, messages=400)
    assert [trial.seconds for trial in sweep.trials().values()] == [20.0, 2.5, 2.5]


def test_all_are_measured_at_once_where_a_machine_has_room_for_them() -> None:
    sweep = Sweep(rates=(500.0, 2000.0, FULL_RATE), qos=(0, 1))
    assert sweep.side_by_side() == ["500/s, QoS 0", "500/s, QoS 1"]


def test_cpu_is_compared_with_the_cheapest_python_client() -> None:
    assert cpu_table(SWEEP, MEASURED, 1).splitlines()[2:] == [
        "| 20 | 110 | 100 | 200 | 20 | 1.10 × |",
        "| full | 110 | 100 | – | 20 | 1.10 × |",
    ]


def test_a_rate_that_was_not_held_is_told() -> None:
    slow = {("gmqtt", trial_name(20.0, 1)): Cell([dataclasses.replace(ONE, rate=15)])}
    assert "| 100 at 15/s |" in cpu_table(SWEEP, slow, 1)


def test_latency_is_compared_with_the_best_figure_whoever_has_it() -> None:
    assert latency_table(SWEEP, MEASURED, 1).splitlines()[2:] == [
        "| 20 | 220 / 440 | 200 / 400 | 100 / 400 | 40 / 80 | 2.20 × | 1.10 × |"
    ]


def test_at_full_rate_only_cpu_is_a_goal() -> None:
    goals = {goal.what: (goal.measured, goal.reached) for goal in rate_goals(SWEEP, MEASURED)}
    assert goals == {
        "QoS 1, 20/s: CPU, of the best Python client's": ("1.1 ×", False),
        "QoS 1, 20/s: p50, of the best Python client's": ("2.2 ×", False),
        "QoS 1, 20/s: p99, of the best Python client's": ("1.1 ×", True),
        "QoS 1, full rate: CPU, of the best Python client's": ("1.1 ×", False),
    }


def test_what_is_lost_is_told_by_whom() -> None:
    assert losses(MEASURED) == "nothing"
    lossy = Cell([dataclasses.replace(ONE, lost=2), dataclasses.replace(ONE, lost=1)])
    assert losses({("gmqtt", "20/s, QoS 0"): lossy}) == "gmqtt at 20/s, QoS 0 3"


def test_the_worst_gaps_of_all_trials_are_told() -> None:
    uneven = Cell([ONE, dataclasses.replace(ONE, uneven=0.01)])
    assert most_uneven({("gmqtt", "20/s, QoS 0"): uneven}) == 0.01
    assert most_uneven({}) == 0


def test_the_summary_has_a_line_for_each_cell() -> None:
    spread = Cell([dataclasses.replace(ONE, cpu=cpu, lost=1) for cpu in (90.0, 100.0, 120.0)])
    lines = summary(
        SWEEP,
        {("pyboot", trial_name(20.0, 1)): spread, ("gmqtt", trial_name(20.0, 1)): Cell([], ["x"])},
    ).splitlines()
    assert lines[1].split() == [
        "20/s,",
        "QoS",
        "1",
        "pyboot",
        "100",
        "90–120",
        "200",
        "400",
        "20",
        "3",
    ]
    assert lines[2].split() == ["20/s,", "QoS", "1", "gmqtt", "invalid"]


def test_the_part_takes_its_place_in_the_page(tmp_path: Path) -> None:
    page = tmp_path / "benchmarks.md"
    page.write_text("# Title\n\ntext\n\n## First\n\n## Second\n")
    put_rates(page, rates_part(SWEEP, MEASURED, "make bench", "CPU: one."))
    put_rates(page, rates_part(SWEEP, MEASURED, "make bench PART=sweep", "CPU: one."))
    text = page.read_text()
    assert text.index("text") < text.index("## At the rates") < text.index("## First")
    assert text.endswith("<!-- /rates -->\n\n## First\n\n## Second\n")
    assert text.count("At the rates of plants") == 1
    assert "`make bench PART=sweep`" in text


@pytest.mark.parametrize("found", [MEASURED, {}], ids=["measured", "nothing"])
def test_the_picture_is_well_formed(found: Results) -> None:
    drawn = ElementTree.fromstring(rates_picture(SWEEP, found))
    panels = drawn.findall("{*}g")
    assert len(panels) == 3
    assert [len(panel.findall("{*}polyline")) for panel in panels] == [4 if found else 0] * 3


def test_higher_values_stand_higher_and_gaps_are_left_out() -> None:
    panel = Panel("CPU <µs>", ["20", "100", "full"], [Curve("a & b", [10.0, None, 100.0])])
    drawn = ElementTree.fromstring(curves([panel], columns=1))
    line = drawn.findall("{*}g/{*}polyline")[0].get("points")
    assert line is not None
    (x, y), (more_x, more_y) = ([float(at) for at in point.split(",")] for point in line.split())
    assert x < more_x
    assert y > more_y
    ElementTree.fromstring(curves([], columns=1))


@pytest.mark.parametrize(
    ("low", "high", "wanted"),
    [(2.3, 40, [2, 5, 10, 20, 50]), (10, 10, [10, 20]), (0.3, 0.9, [0.2, 0.5, 1])],
)
def test_ticks_enclose_the_values(low: float, high: float, wanted: list[float]) -> None:
    assert ticks(low, high) == pytest.approx(wanted)
