"""What a message costs at the rates of plants, where it comes alone, and at full rate."""

from __future__ import annotations

import random
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from benchmarks.contest import Invalid, Trial, at_its_broker
from benchmarks.contestants import BULK, FLOOR, GMQTT_LATE, PAHO, Contestant
from benchmarks.page import aligned, number
from benchmarks.rounds import Cell, Measure, Outcome, Results, outcome_of, told
from benchmarks.toolbox import Toolbox

FULL_RATE = 0.0
RATES = (20.0, 100.0, 500.0, 2000.0, 8000.0, FULL_RATE)
CONTESTANTS: tuple[Contestant, ...] = (BULK, GMQTT_LATE, PAHO, FLOOR)
# Up to this rate, all together take a part of two cores.
_SIDE_BY_SIDE_RATE = 500.0
# Longer than a worker takes to find out how fast messages come.
_WARMUP_SECONDS = 1.0


@dataclass(frozen=True)
class Sweep:
    """What is measured, `rounds` times, with workers started anew: `seconds` of each contestant at
    each rate and QoS; longer where fewer than `messages` would come, of which p99 would be the
    slowest alone. Those that can't be measured at the same time take `turns` in each round."""

    rates: tuple[float, ...] = RATES
    qos: tuple[int, ...] = (0, 1)
    rounds: int = 3
    turns: int = 5
    seconds: float = 1.5
    messages: int = 400

    def trials(self) -> dict[str, Trial]:
        return {
            trial_name(rate, qos): Trial(
                "identity",
                qos,
                seconds=max(self.seconds, self.messages / rate if rate else 0.0),
                warmup=_WARMUP_SECONDS,
                rate=rate,
                lossy=qos == 0,
            )
            for qos in self.qos
            for rate in self.rates
        }

    def side_by_side(self) -> list[str]:
        """The trials in which all are measured at the same time: of the rates that leave room."""
        slow = [rate for rate in self.rates if FULL_RATE < rate <= _SIDE_BY_SIDE_RATE]
        return [trial_name(rate, qos) for qos in self.qos for rate in slow]


def trial_name(rate: float, qos: int) -> str:
    return f"{rate_name(rate)}, QoS {qos}"


def rate_name(rate: float) -> str:
    return f"{rate:,.0f}/s" if rate else "full rate"


def run_sweep(
    sweep: Sweep, chosen: Sequence[Contestant], tools: Toolbox, say: Callable[[str], None]
) -> Results:
    """Those of the chosen that can be measured here."""
    missing = {one.name: why for one in chosen if (why := one.missing(tools)) is not None}
    for name, why in missing.items():
        say(f"not measured: {name}: {why}")
    present = [one for one in chosen if one.name not in missing]
    results: Results = defaultdict(Cell)
    trials = sweep.trials()
    for round_number in range(1, sweep.rounds + 1):
        order = random.Random(round_number)
        for name in order.sample(list(trials), len(trials)):
            for who, outcome in _round(sweep, name, trials[name], present, tools, order):
                results[who, name].add(outcome)
                say(f"round {round_number}: {name}: {who}: {told(outcome)}")
    return dict(results)


def _round(
    sweep: Sweep,
    name: str,
    trial: Trial,
    contestants: Sequence[Contestant],
    tools: Toolbox,
    order: random.Random,
) -> Iterator[tuple[str, Outcome]]:
    """Of all, each at a broker of its own: what else the machine does is in everybody's figures."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        measures: dict[str, Measure] = {}
        for one in order.sample(contestants, len(contestants)):
            place = folder / str(contestants.index(one))
            place.mkdir()
            ready = at_its_broker(one, trial, tools, place)
            try:
                measures[one.name] = stack.enter_context(ready)
            except Invalid as error:
                yield one.name, error
        if name in sweep.side_by_side():
            yield from _at_once(measures)
            return
        for _ in range(sweep.turns):
            for who in order.sample(list(measures), len(measures)):
                yield who, outcome_of(measures[who])


def _at_once(measures: Mapping[str, Measure]) -> Iterator[tuple[str, Outcome]]:
    """By name, what all of them give, called at the same time."""
    with ThreadPoolExecutor(max(len(measures), 1)) as pool:
        yield from zip(measures, pool.map(outcome_of, measures.values()), strict=True)


def summary(sweep: Sweep, results: Results) -> str:
    """For a terminal, a line for each cell: medians, and the least and most CPU of the rounds."""
    rows = []
    for trial in sweep.trials():
        for one in CONTESTANTS:
            if (one.name, trial) in results:
                rows.append([trial, one.name, *_summary_of(results[one.name, trial])])
    return aligned(["", "", "CPU, µs", "rounds", "p50, µs", "p99, µs", "rate", "lost"], rows)


def _summary_of(cell: Cell) -> Sequence[str]:
    found = cell.median
    if found is None:
        return ["invalid", *[""] * 5]
    spread = sorted(one.cpu for one in cell.figures)
    return [
        number(found.cpu),
        f"{number(spread[0])}–{number(spread[-1])}",
        number(found.p50),
        number(found.p99),
        number(found.rate),
        str(sum(one.lost for one in cell.figures)),
    ]
