"""`make bench`: pyboot and what a user would pick instead, side by side.

Writes docs/benchmarks.md with its two pictures, and all figures to dist/benchmarks.json. The part
`sweep` measures what a message costs at several rates, prints it, and writes it into the page;
when only some contestants, rates or QoS are asked for, it is the part, and prints only.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from benchmarks.contestants import FLOOR, choose
from benchmarks.full_run import FULL, QUICK, Plan, measure, write_figures, write_page
from benchmarks.goals import Goal
from benchmarks.machine import machine_line
from benchmarks.page import goal_table
from benchmarks.rates_page import (
    PICTURE,
    put_rates,
    rate_goals,
    rates_part,
    rates_picture,
)
from benchmarks.sweep import CONTESTANTS, Sweep, run_sweep, summary
from benchmarks.toolbox import Toolbox, compile_programs

_QUICK_SWEEP = Sweep(rounds=1, turns=1, seconds=1.0, messages=0)


def main() -> int:
    options = _options()
    if options.part == "all" and not _is_partial(options):
        return _everything(options)
    try:
        choose(options.only, CONTESTANTS)
    except ValueError as error:
        _say(str(error))
        return 64
    return _sweep(options)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("part", nargs="?", choices=("all", "sweep"), default="all")
    parser.add_argument("--quick", action="store_true", help="one short round")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--seconds", type=float, help="of each measurement, after its warm-up")
    sweep = parser.add_argument_group("of the sweep", "each in part; nothing is written then")
    sweep.add_argument("--only", nargs="+", metavar="NAME", help="contestants")
    sweep.add_argument(
        "--rates", nargs="+", type=_rate, metavar="RATE", help="messages a second, or `full`"
    )
    sweep.add_argument("--turns", type=int, help="in each round, where all at once are too many")
    sweep.add_argument("--qos", nargs="+", type=int, choices=(0, 1))
    parser.add_argument("--build", type=Path, default=Path("build/bench"))
    parser.add_argument("--node-modules", type=Path, default=Path("build/bench/node_modules"))
    parser.add_argument("--paho-1-5", type=Path, default=Path(".venv-bench/paho-1.5"))
    parser.add_argument("--docs", type=Path, default=Path("docs"))
    parser.add_argument("--json", type=Path, default=Path("dist/benchmarks.json"))
    return parser.parse_args()


def _rate(text: str) -> float:
    return 0.0 if text == "full" else float(text)


def _is_partial(options: argparse.Namespace) -> bool:
    return any((options.only, options.rates, options.qos))


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _tools(options: argparse.Namespace) -> Toolbox:
    folders = (options.build, options.node_modules, options.paho_1_5)
    return Toolbox(*(folder.absolute() for folder in folders))


def _plan(options: argparse.Namespace) -> Plan:
    usual = QUICK if options.quick else FULL
    return replace(
        usual,
        rounds=options.rounds or usual.rounds,
        seconds=options.seconds or usual.seconds,
    )


def _planned_sweep(options: argparse.Namespace) -> Sweep:
    usual = _QUICK_SWEEP if options.quick else Sweep()
    return Sweep(
        rates=tuple(options.rates or usual.rates),
        qos=tuple(options.qos or usual.qos),
        rounds=options.rounds or usual.rounds,
        turns=options.turns or usual.turns,
        seconds=options.seconds or usual.seconds,
        messages=0 if options.seconds else usual.messages,
    )


def _command(options: argparse.Namespace) -> str:
    """As somebody would type it."""
    asked = {
        "PART": None if options.part == "all" else options.part,
        "BENCH": "quick" if options.quick else None,
        "ROUNDS": options.rounds,
        "TURNS": options.turns,
        "SECONDS": options.seconds,
    }
    given = [f"{name}={value}" for name, value in asked.items() if value is not None]
    return " ".join(["make bench", *given])


def _sweep(options: argparse.Namespace) -> int:
    """The rates alone; the exit code says whether all trials were valid."""
    chosen, sweep = choose(options.only, CONTESTANTS), _planned_sweep(options)
    compile_programs(options.build, peer=FLOOR in chosen)
    results = run_sweep(sweep, chosen, _tools(options), _say)
    print(summary(sweep, results))
    if not _is_partial(options):
        part = rates_part(sweep, results, _command(options), machine_line())
        put_rates(options.docs / "benchmarks.md", part)
        (options.docs / PICTURE).write_text(rates_picture(sweep, results))
        write_figures(options.json, {"rates": results}, None)
        print(goal_table(rate_goals(sweep, results)))
    return int(any(cell.failures for cell in results.values()))


def _everything(options: argparse.Namespace) -> int:
    compile_programs(options.build, peer=True)
    tools, sweep = _tools(options), _planned_sweep(options)
    rates = run_sweep(sweep, CONTESTANTS, tools, _say)
    part = rates_part(sweep, rates, _command(options), machine_line())
    found = measure(_plan(options), _command(options), part, tools, _say)
    write_page(options.docs, found, tools)
    (options.docs / PICTURE).write_text(rates_picture(sweep, rates))
    write_figures(options.json, {"rates": rates, "contest": found.contest}, found)
    goals: list[Goal] = [*rate_goals(sweep, rates), *found.goals]
    print(summary(sweep, rates), goal_table(goals), sep="\n\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
