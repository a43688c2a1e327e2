"""`make bench`: pyboot and what a user would pick instead, side by side.

Writes docs/benchmarks.md and docs/benchmarks.svg, and all figures to dist/benchmarks.json. With
`sweep` it only prints what messages cost at several rates.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import growth
from benchmarks.breakdown import breakdown_page, breakdowns
from benchmarks.contest import PAYLOAD_BYTES, Invalid, Trial
from benchmarks.contestants import EVERYBODY, FLOOR, choose
from benchmarks.fleet import fleet
from benchmarks.goals import Board, Goal, contest_goals
from benchmarks.machine import machine
from benchmarks.overhead import overhead
from benchmarks.page import (
    NOT,
    chart,
    contest_table,
    failures,
    goal_table,
    number,
    render,
    table,
)
from benchmarks.picture import bars
from benchmarks.rounds import NO_WORKER, Results, compete
from benchmarks.sweep import CONTESTANTS, add_options, run_sweep, summary, sweep_of
from benchmarks.toolbox import HERE, Toolbox, compile_programs

_STUB_WINDOW = {0: 5000, 1: 1000}


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
    rounds=3, turns=7, seconds=2.0, instances=(1, 10, 100), backlog=1_000_000, fleet=(10, 100, 1000)
)


def main() -> None:
    options = _options()
    if options.part == "sweep":
        sys.exit(_sweep(options))
    plan = QUICK if options.quick else FULL
    compile_programs(options.build, peer=True)
    tools = _tools(options)
    missing = _missing(tools)
    present = [one for one in EVERYBODY if one.name not in missing]
    present = choose(options.only, present)
    for name, why in missing.items():
        _say(f"not measured: {name}: {why}")
    results = compete(present, _trials(plan), plan.rounds, tools, _say)
    rows, goals = ([], []) if options.only else _growth(plan, tools)
    goals = [*contest_goals(results), *goals]
    _write(options, plan, tools, missing, results, rows, goals)
    print(goal_table(goals))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("part", nargs="?", choices=("all", "sweep"), default="all")
    parser.add_argument("--quick", action="store_true", help="one short round")
    add_options(parser)
    parser.add_argument("--build", type=Path, default=Path("build/bench"))
    parser.add_argument("--node-modules", type=Path, default=Path("build/bench/node_modules"))
    parser.add_argument("--paho-1-5", type=Path, default=Path(".venv-bench/paho-1.5"))
    parser.add_argument("--docs", type=Path, default=Path("docs"))
    parser.add_argument("--json", type=Path, default=Path("dist/benchmarks.json"))
    return parser.parse_args()


def _tools(options: argparse.Namespace) -> Toolbox:
    folders = (options.build, options.node_modules, options.paho_1_5)
    return Toolbox(*(folder.absolute() for folder in folders))


def _sweep(options: argparse.Namespace) -> int:
    """Print what the options ask for: the exit code."""
    try:
        chosen = choose(options.only, CONTESTANTS)
    except ValueError as error:
        _say(str(error))
        return 64
    sweep = sweep_of(options)
    compile_programs(options.build, peer=FLOOR in chosen)
    results = run_sweep(sweep, chosen, _tools(options), _say)
    print(summary(sweep, results))
    return int(any(cell.failures for cell in results.values()))


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


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
    trials["500 messages a second"] = Trial("identity", 0, seconds=2 * plan.seconds, rate=500)
    return trials


def _missing(tools: Toolbox) -> dict[str, str]:
    found = {}
    for one in EVERYBODY:
        why = one.missing(tools)
        if why:
            found[one.name] = why
    return found


def _growth(plan: Plan, tools: Toolbox) -> tuple[list[growth.Row], list[Goal]]:
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
    for name, measure in measures.items():
        try:
            more_rows, more_goals = measure()
        except (Invalid, AssertionError) as error:
            more_rows = [growth.Row(f"{name}: not measured", str(error))]
            more_goals = [Goal(name, NOT)]
        rows += more_rows
        goals += more_goals
        for row in more_rows:
            _say(f"{row.what}: {row.figure}")
    return rows, goals


def _write(
    options: argparse.Namespace,
    plan: Plan,
    tools: Toolbox,
    missing: dict[str, str],
    results: Results,
    rows: Sequence[growth.Row],
    goals: Sequence[Goal],
) -> None:
    works = ("identity, QoS 0", "identity, QoS 1", "compute, QoS 0", "compute, QoS 1")
    stubs = ("stub, identity, QoS 0", "stub, identity, QoS 1")
    slow = "500 messages a second"
    through = [
        *((f"{work}, µs", work, "cpu") for work in works),
        ("compute, QoS 1, rate", works[3], "rate"),
        ("RSS", works[3], "rss"),
    ]
    stub = [
        (f"{name[6:]}, {unit}", name, key)
        for name in stubs
        for key, unit in (("cpu", "µs"), ("rate", "rate"))
    ]
    latency = [(name, slow, name) for name in ("p50", "p99")] + [("CPU", slow, "cpu")]
    board = Board(results)
    parts = {
        "payload_bytes": str(PAYLOAD_BYTES),
        "rounds": str(plan.rounds),
        "seconds": f"{plan.seconds:g}",
        "command": "make bench BENCH=quick" if plan is QUICK else "make bench",
        "date": datetime.date.today().isoformat(),
        "machine": "; ".join(f"{name}: {value}" for name, value in machine().items()) + ".",
        "through": contest_table(results, EVERYBODY, missing, through),
        "stub": contest_table(results, EVERYBODY, missing, stub),
        "latency": contest_table(results, EVERYBODY, missing, latency),
        "direct0": number(board.figure(NO_WORKER, works[0], "rate")),
        "direct1": number(board.figure(NO_WORKER, works[1], "rate")),
        "stub_window0": str(_STUB_WINDOW[0]),
        "stub_window1": str(_STUB_WINDOW[1]),
        "growth": table(["what", "measured"], [[row.what, row.figure] for row in rows]),
        "breakdown": breakdown_page(breakdowns(tools)),
        "goals": goal_table(goals),
        "settings": table(
            ["", "version", "settings"],
            [
                [one.name, one.version(tools) if one.name not in missing else "–", one.settings]
                for one in EVERYBODY
            ],
        ),
        "failures": failures(results),
    }
    options.docs.mkdir(parents=True, exist_ok=True)
    (options.docs / "benchmarks.md").write_text(render((HERE / "page.md").read_text(), parts))
    charts = [(f"{work}: CPU, µs a message", chart(results, work)) for work in works]
    (options.docs / "benchmarks.svg").write_text(bars(charts))
    options.json.parent.mkdir(parents=True, exist_ok=True)
    document = {
        "machine": machine(),
        "results": [
            {
                "contestant": name,
                "trial": trial,
                "failures": cell.failures,
                "figures": [dataclasses.asdict(one) for one in cell.figures],
            }
            for (name, trial), cell in results.items()
        ],
        "growth": growth.as_rows(rows),
        "goals": [dataclasses.asdict(goal) for goal in goals],
    }
    options.json.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
