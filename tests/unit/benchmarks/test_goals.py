"""Ratios and medians of the benchmark: what they say, and what they don't when nothing is known."""

from __future__ import annotations

import dataclasses
import xml.etree.ElementTree as ElementTree

from benchmarks.contest import Figures
from benchmarks.goals import Board, at_least, at_most, contest_goals
from benchmarks.page import goal_table, number
from benchmarks.picture import bars
from benchmarks.rounds import Cell

ONE = Figures(cpu=10, rate=1000, rss=20, p50=100, p99=200, broker_cpu=1)


def test_a_cell_gives_the_median_of_each_figure() -> None:
    others = [dataclasses.replace(ONE, cpu=cpu, rate=rate) for cpu, rate in ((30, 1), (20, 3))]
    cell = Cell([ONE, *others])
    assert cell.median == dataclasses.replace(ONE, cpu=20, rate=3)


def test_a_single_loss_makes_a_cell_invalid() -> None:
    assert Cell([ONE], ["3 lost"]).median is None


def test_two_are_compared_round_by_round() -> None:
    """What slows a machine down for a round says nothing about either."""
    one, other = (
        Cell([dataclasses.replace(ONE, cpu=each) for each in cpu])
        for cpu in ((10, 30, 12), (20, 20, 24))
    )
    board = Board({("one", "trial"): one, ("other", "trial"): other})
    assert board.times("one", "other", "trial", "cpu") == 0.5
    assert board.times("one", "nobody", "trial", "cpu") is None


def test_the_floor_is_no_peer() -> None:
    results = {
        (name, "identity, QoS 1"): Cell([dataclasses.replace(ONE, cpu=cpu)])
        for name, cpu in (("C client", 1), ("gmqtt", 7), ("mqtt.js", 5), ("pyboot", 2))
    }
    assert Board(results).best_peer("identity, QoS 1") == 5
    measured = {goal.what: goal for goal in contest_goals(results)}
    best = measured["identity, QoS 1: CPU, of the best peer's"]
    assert (best.measured, best.reached) == ("0.4 ×", True)


def test_what_was_not_measured_is_neither_reached_nor_missed() -> None:
    goals = contest_goals({})
    assert {goal.reached for goal in goals} == {None}
    assert "not measured" in goal_table(goals)


def test_limits_are_part_of_what_is_allowed() -> None:
    assert at_most("", 2, 2).reached
    assert at_least("", 2, 2).reached
    assert not at_most("", 2, 2.1).reached


def test_numbers_are_short() -> None:
    assert [number(value) for value in (None, 0.951, 12.34, 98765.4)] == [
        "–",
        "0.951",
        "12.3",
        "98,765",
    ]


def test_the_picture_is_well_formed_and_knows_dark_pages() -> None:
    drawn = bars([("CPU <µs>", [("pyboot", 0.95, True), ("a & b", 458.0, False)]), ("none", [])])
    ElementTree.fromstring(drawn)
    assert "prefers-color-scheme:dark" in drawn
    ElementTree.fromstring(bars([]))
