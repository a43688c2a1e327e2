"""docs/benchmarks.md, of the template and the figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from string import Template

from benchmarks.contestants import BULK, Contestant
from benchmarks.goals import Board, Goal
from benchmarks.rounds import NO_WORKER, Results

NOT = "–"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def aligned(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """For a terminal: the first two columns to the left, figures to the right."""
    lines = [head, *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if place < 2 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def number(value: float | None, digits: int = 3) -> str:
    """With three significant digits, and no exponent."""
    if value is None:
        return NOT
    return f"{value:,.0f}" if value >= 100 else f"{value:.{digits}g}"


def contest_table(
    results: Results,
    contestants: Sequence[Contestant],
    missing: Mapping[str, str],
    columns: Sequence[tuple[str, str, str]],
) -> str:
    """`columns` are (heading, trial, figure)."""
    board = Board(results)
    head = ["", *(heading for heading, _, _ in columns), "QoS 1 is acknowledged"]
    rows = []
    for one in contestants:
        if one.name in missing:
            rows.append([one.name, f"not measured: {missing[one.name]}"])
            rows[-1] += [""] * (len(head) - 2)
            continue
        cells = [number(board.figure(one.name, trial, name)) for _, trial, name in columns]
        rows.append([one.name, *cells, one.acks])
    return table(head, rows)


def failures(results: Results) -> str:
    """A line for each trial with a failure."""
    lines = [
        f"- {name}, {trial}: {cell.failures[0]}"
        for (name, trial), cell in results.items()
        if cell.failures
    ]
    return "\n".join(lines) or "None."


def goal_table(goals: Sequence[Goal]) -> str:
    rows = [[goal.what, goal.wanted, goal.measured or NOT, _said(goal)] for goal in goals]
    return table(["goal", "wanted", "measured", "reached"], rows)


def _said(goal: Goal) -> str:
    if goal.measured is None:
        return "not measured"
    return {True: "yes", False: "**no**", None: NOT}[goal.reached]


def chart(results: Results, trial: str) -> list[tuple[str, float, bool]]:
    rows = []
    for (name, known), cell in results.items():
        figures = cell.median
        if known == trial and name != NO_WORKER and figures is not None:
            rows.append((name, figures.cpu, name.startswith(BULK.name)))
    return rows


def render(template: str, parts: Mapping[str, str]) -> str:
    return Template(template).substitute(parts)
