"""The whole of `make bench`: rates, everybody at full rate, what grows; and the page about it."""

from __future__ import annotations

import dataclasses
import datetime
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import growth
from benchmarks.breakdown import breakdown_page, breakdowns
from benchmarks.contest import PAYLOAD_BYTES, Invalid, Trial
from benchmarks.contestants import EVERYBODY
from benchmarks.fleet import fleet
from benchmarks.goals import Board, Goal, contest_goals
from benchmarks.machine import machine, machine_line
from benchmarks.overhead import overhead
from benchmarks.page import NOT, chart, contest_table, failures, goal_table, number, render, table
from benchmarks.picture import bars
from benchmarks.rounds import NO_WORKER, Results, compete
from benchmarks.toolbox import HERE, Toolbox

_STUB_WINDOW = {0: 5000, 1: 1000}

Say = Callable[[str], None]


@dataclass(frozen=True)
class Plan:
    """How much is measured: `rounds` of everybody, `turns` of pyboot in two variants."""

    rounds: int
    turns: int
    seconds: float
    instances: tuple[int, ...]
    backlog: int
    fleet: tuple[int, ...]


QUICK = Plan(rounds=1, turns=3, seconds=1.0, instances=(1, 10), backlog=100_000, fleet=(10, 100))
FULL = Plan(
    rounds=3, turns=5, seconds=1.5, instances=(1, 10, 100), backlog=1_000_000, fleet=(10, 100, 1000)
)


@dataclass(frozen=True)
class Measured:
    """What a run found; `rates` is its part of the page, already written."""

    plan: Plan
    command: str
    rates: str
    missing: Mapping[str, str]
    contest: Results
    growth: Sequence[growth.Row]
    goals: Sequence[Goal]
    breakdown: str


def contest(plan: Plan, tools: Toolbox, say: Say) -> tuple[dict[str, str], Results]:
    """Everybody at full rate; also who can't be measured here, and why."""
    missing = {one.name: why for one in EVERYBODY if (why := one.missing(tools)) is not None}
    for name, why in missing.items():
        say(f"not measured: {name}: {why}")
    present = [one for one in EVERYBODY if one.name not in missing]
    return missing, compete(present, _trials(plan), plan.rounds, tools, say)


def measure(plan: Plan, command: str, rates: str, tools: Toolbox, say: Say) -> Measured:
    """All but the rates, which have been measured."""
    missing, results = contest(plan, tools, say)
    rows, goals = _growth(plan, tools, say)
    goals = [*contest_goals(results), *goals]
    breakdown = breakdown_page(breakdowns(tools))
    return Measured(plan, command, rates, missing, results, rows, goals, breakdown)


def _trials(plan: Plan) -> dict[str, Trial]:
    trials = {
        f"{work}, QoS {qos}": Trial(work, qos, seconds=plan.seconds)
        for work in ("identity", "compute")
        for qos in (0, 1)
    }
    for qos, window in _STUB_WINDOW.items():
        trials[f"stub, identity, QoS {qos}"] = Trial(
            "identity", qos, stub=True, seconds=plan.seconds, window=window
        )
    return trials


def _growth(plan: Plan, tools: Toolbox, say: Say) -> tuple[list[growth.Row], list[Goal]]:
    measures: dict[str, Callable[[], tuple[list[growth.Row], list[Goal]]]] = {
        "compute alone": growth.compute_alone,
        "what watches the worker": lambda: overhead(tools, plan.turns, 3.0),
        "instances and threads": lambda: growth.scaling(tools, plan.turns, plan.seconds),
        "many instances": lambda: growth.instances(tools, plan.instances, 2 * plan.seconds),
        "devices": lambda: growth.devices(tools, plan.turns, plan.seconds),
        "a backlog": lambda: growth.backlog(tools, plan.backlog),
        "the master": lambda: fleet(tools, plan.fleet),
    }
    rows: list[growth.Row] = []
    goals: list[Goal] = []
    for name, take in measures.items():
        try:
            more_rows, more_goals = take()
        except (Invalid, AssertionError) as error:
            more_rows = [growth.Row(f"{name}: not measured", str(error))]
            more_goals = [Goal(name, NOT)]
        rows += more_rows
        goals += more_goals
        for row in more_rows:
            say(f"{row.what}: {row.figure}")
    return rows, goals


def write_page(docs: Path, found: Measured, tools: Toolbox) -> None:
    """docs/benchmarks.md and its bars."""
    works = ("identity, QoS 0", "identity, QoS 1", "compute, QoS 0", "compute, QoS 1")
    results, board = found.contest, Board(found.contest)
    parts = {
        "payload_bytes": str(PAYLOAD_BYTES),
        "rounds": str(found.plan.rounds),
        "seconds": f"{found.plan.seconds:g}",
        "command": found.command,
        "date": datetime.date.today().isoformat(),
        "machine": machine_line(),
        "rates": found.rates,
        "through": _through(works, found),
        "stub": _stub(found),
        "direct0": number(board.figure(NO_WORKER, works[0], "rate")),
        "direct1": number(board.figure(NO_WORKER, works[1], "rate")),
        "stub_window0": str(_STUB_WINDOW[0]),
        "stub_window1": str(_STUB_WINDOW[1]),
        "growth": table(["what", "measured"], [[row.what, row.figure] for row in found.growth]),
        "breakdown": found.breakdown,
        "goals": goal_table(found.goals),
        "settings": _settings(found.missing, tools),
        "failures": failures(results),
    }
    docs.mkdir(parents=True, exist_ok=True)
    (docs / "benchmarks.md").write_text(render((HERE / "page.md").read_text(), parts))
    charts = [(f"{work}: CPU, µs a message", chart(results, work)) for work in works]
    (docs / "benchmarks.svg").write_text(bars(charts))


def _through(works: Sequence[str], found: Measured) -> str:
    columns = [
        *((f"{work}, µs", work, "cpu") for work in works),
        ("compute, QoS 1, rate", works[3], "rate"),
        ("RSS", works[3], "rss"),
    ]
    return contest_table(found.contest, EVERYBODY, found.missing, columns)


def _stub(found: Measured) -> str:
    columns = [
        (f"identity, QoS {qos}, {unit}", f"stub, identity, QoS {qos}", key)
        for qos in _STUB_WINDOW
        for key, unit in (("cpu", "µs"), ("rate", "rate"))
    ]
    return contest_table(found.contest, EVERYBODY, found.missing, columns)


def _settings(missing: Mapping[str, str], tools: Toolbox) -> str:
    return table(
        ["", "version", "settings"],
        [
            [one.name, one.version(tools) if one.name not in missing else NOT, one.settings]
            for one in EVERYBODY
        ],
    )


def write_figures(file: Path, results: Mapping[str, Results], found: Measured | None) -> None:
    """All figures as JSON: the `results` of each part, and what else was found."""
    document = {
        "machine": machine(),
        "results": [
            {
                "part": part,
                "contestant": name,
                "trial": trial,
                "failures": cell.failures,
                "figures": [dataclasses.asdict(one) for one in cell.figures],
            }
            for part, of_part in results.items()
            for (name, trial), cell in of_part.items()
        ],
    }
    if found is not None:
        document["growth"] = growth.as_rows(found.growth)
        document["goals"] = [dataclasses.asdict(goal) for goal in found.goals]
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")
