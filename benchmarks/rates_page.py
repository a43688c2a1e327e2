"""The part of docs/benchmarks.md that is about rates, and its picture."""

from __future__ import annotations

import datetime
import re
from collections.abc import Sequence
from pathlib import Path

from benchmarks.contestants import BULK, FLOOR, GMQTT_LATE, PAHO
from benchmarks.curves import Curve, Panel, curves
from benchmarks.goals import Board, Goal, at_most
from benchmarks.page import NOT, failures, goal_table, number, render, table
from benchmarks.rounds import Results
from benchmarks.sweep import CONTESTANTS, FULL_RATE, Sweep, rate_name, trial_name
from benchmarks.toolbox import HERE

PICTURE = "benchmarks-rates.svg"
PYTHON_CLIENTS = (GMQTT_LATE.name, PAHO.name)
# The least that is worth it: as cheap as the cheapest, and hardly slower than the quickest.
_MOST_OF_BEST = {"cpu": 1.0, "p50": 1.1, "p99": 1.25}
# How far from the rate that was asked for nothing needs to be said.
_HELD = 0.03
_SAID = {"cpu": "CPU", "p50": "p50", "p99": "p99"}
_BEGIN, _END = "<!-- rates -->", "<!-- /rates -->"
_NAMES = [one.name for one in CONTESTANTS]


def rates_part(sweep: Sweep, results: Results, command: str, host: str) -> str:
    """Text and tables, between the marks by which `put_rates` finds them."""
    parts = {
        "rounds": str(sweep.rounds),
        "turns": str(sweep.turns),
        "seconds": f"{sweep.seconds:g}",
        "messages": f"{sweep.messages:,}",
        "command": command,
        "date": datetime.date.today().isoformat(),
        "machine": host,
        "cpu": "\n\n".join(cpu_table(sweep, results, qos) for qos in sweep.qos),
        "latency": "\n\n".join(latency_table(sweep, results, qos) for qos in sweep.qos),
        "uneven": f"{100 * most_uneven(results):.1f} %",
        "lost": losses(results),
        "goals": goal_table(rate_goals(sweep, results)),
        "pyboot": BULK.settings,
        "gmqtt": GMQTT_LATE.settings,
        "paho": PAHO.settings,
        "floor": FLOOR.settings,
        "failures": failures(results),
    }
    text = render((HERE / "rates.md").read_text(), parts)
    return f"{_BEGIN}\n{text.rstrip()}\n{_END}"


def put_rates(page: Path, part: str) -> None:
    """Replace what stands there; a page without the marks gets it before its first heading."""
    text = page.read_text()
    place = re.compile(f"{_BEGIN}.*?{_END}", re.DOTALL)
    if place.search(text) is None:
        text = text.replace("\n## ", f"\n{_BEGIN}{_END}\n\n## ", 1)
    page.write_text(place.sub(lambda _: part, text, count=1))


def cpu_table(sweep: Sweep, results: Results, qos: int) -> str:
    board = Board(results)
    head = [f"QoS {qos}, messages a second", *_NAMES, "pyboot, of the cheapest Python client's"]
    return table(
        head,
        [
            [
                _row_name(rate),
                *(_cpu(board, name, rate, qos) for name in _NAMES),
                _times(of_best(board, rate, qos, "cpu")),
            ]
            for rate in sweep.rates
        ],
    )


def latency_table(sweep: Sweep, results: Results, qos: int) -> str:
    """Without the full rate, where it is the time in queues that are kept full."""
    board = Board(results)
    head = [f"QoS {qos}, messages a second", *_NAMES]
    head += [f"pyboot's {name}, of the best Python client's" for name in ("p50", "p99")]
    rows = []
    for rate in _paced(sweep):
        cells = [_percentiles(board, name, trial_name(rate, qos)) for name in _NAMES]
        ratios = [_times(of_best(board, rate, qos, name)) for name in ("p50", "p99")]
        rows.append([_row_name(rate), *cells, *ratios])
    return table(head, rows)


def of_best(board: Board, rate: float, qos: int, figure: str) -> float | None:
    """pyboot's figure, as a multiple of that of the Python client which is hardest to beat."""
    trial = trial_name(rate, qos)
    times = [board.times(BULK.name, name, trial, figure) for name in PYTHON_CLIENTS]
    return max((value for value in times if value is not None), default=None)


def rate_goals(sweep: Sweep, results: Results) -> list[Goal]:
    board = Board(results)
    return [
        at_most(
            f"QoS {qos}, {rate_name(rate)}: {_SAID[figure]}, of the best Python client's",
            limit,
            of_best(board, rate, qos, figure),
        )
        for qos in sweep.qos
        for rate in sweep.rates
        for figure, limit in _MOST_OF_BEST.items()
        if rate != FULL_RATE or figure == "cpu"
    ]


def losses(results: Results) -> str:
    """Of the valid trials; at QoS 1 a loss makes them invalid."""
    told = []
    for (name, trial), cell in results.items():
        lost = sum(one.lost for one in cell.figures)
        if lost:
            told.append(f"{name} at {trial} {lost:,}")
    return ", ".join(told) or "nothing"


def most_uneven(results: Results) -> float:
    return max((one.uneven for cell in results.values() for one in cell.figures), default=0.0)


def rates_picture(sweep: Sweep, results: Results) -> str:
    board = Board(results)
    panels = [
        Panel(
            f"QoS {qos}: {title}",
            [f"{rate:,.0f}" if rate else "full" for rate in rates],
            [
                Curve(name, [board.figure(name, trial_name(rate, qos), figure) for rate in rates])
                for name in _NAMES
            ],
        )
        for figure, title, rates in (
            ("cpu", "CPU, µs a message", sweep.rates),
            ("p50", "latency, p50, µs", _paced(sweep)),
            ("p99", "latency, p99, µs", _paced(sweep)),
        )
        for qos in sweep.qos
    ]
    return curves(panels, columns=len(sweep.qos))


def _paced(sweep: Sweep) -> Sequence[float]:
    return [rate for rate in sweep.rates if rate != FULL_RATE]


def _row_name(rate: float) -> str:
    return f"{rate:,.0f}" if rate else "full"


def _cpu(board: Board, name: str, rate: float, qos: int) -> str:
    """With the rate that there was, if it isn't the one that was asked for."""
    trial = trial_name(rate, qos)
    cpu, held = board.figure(name, trial), board.figure(name, trial, "rate")
    if not rate or held is None or abs(held / rate - 1) <= _HELD:
        return number(cpu)
    return f"{number(cpu)} at {held:,.0f}/s"


def _percentiles(board: Board, name: str, trial: str) -> str:
    p50, p99 = (board.figure(name, trial, figure) for figure in ("p50", "p99"))
    return NOT if p50 is None else f"{number(p50)} / {number(p99)}"


def _times(value: float | None) -> str:
    return NOT if value is None else f"{value:.2f} ×"
