"""Interleaved rounds: everybody once, then again in another order; medians of what was valid.

In turns, or all at the same time where a machine has room for them: what else it does is then in
the figures of all.
"""

from __future__ import annotations

import random
import statistics
from collections import defaultdict
from collections.abc import Callable, Collection, Hashable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, fields
from functools import partial
from typing import TypeVar

from benchmarks.contest import Figures, Invalid, Trial, run, run_direct
from benchmarks.contestants import Contestant
from benchmarks.toolbox import Toolbox

# Stands for a contestant where messages go straight from the generator to the collector.
NO_WORKER = "no worker"

K = TypeVar("K", bound=Hashable)
Measure = Callable[[], Figures]


@dataclass
class Cell:
    """What one contestant did in one trial, over all rounds."""

    figures: list[Figures] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    @property
    def median(self) -> Figures | None:
        """Without a single failure: a contestant that loses messages now and then has no figure."""
        return median(self.figures) if self.figures and not self.failures else None


Results = dict[tuple[str, str], Cell]  # by contestant and name of the trial


def median(figures: Sequence[Figures]) -> Figures:
    """Of each figure for itself."""
    names = [known.name for known in fields(Figures)]
    return Figures(
        **{name: statistics.median(getattr(one, name) for one in figures) for name in names}
    )


def in_turns(measures: Mapping[K, Callable[[], Figures]], rounds: int) -> dict[K, list[Figures]]:
    """Each once a round, in the opposite order every other round; raises Invalid."""
    found: dict[K, list[Figures]] = {name: [] for name in measures}
    for number in range(rounds):
        for name in list(measures)[:: -1 if number % 2 else 1]:
            found[name].append(measures[name]())
    return found


def ratio(ones: Sequence[float], others: Sequence[float]) -> float:
    """The median of the rounds' ratios: what a machine does beside is in both of a round."""
    return statistics.median(one / other for one, other in zip(ones, others, strict=True))


def compete(
    contestants: Sequence[Contestant],
    trials: dict[str, Trial],
    rounds: int,
    tools: Toolbox,
    say: Callable[[str], None],
    *,
    direct: bool = True,
    side_by_side: Collection[str] = (),
) -> Results:
    """All contestants in all trials that they take, `rounds` times; `direct`: nobody, too.

    In the trials named in `side_by_side`, all are measured at the same time.
    """
    results: Results = defaultdict(Cell)
    for number in range(rounds):
        order = random.Random(number)
        for trial_name, trial in order.sample(list(trials.items()), len(trials)):
            known = _measures(contestants, trial, tools, direct)
            measures = dict(order.sample(list(known.items()), len(known)))
            take = _at_once if trial_name in side_by_side else _one_by_one
            for name, outcome in take(measures):
                cell = results[name, trial_name]
                if isinstance(outcome, Figures):
                    cell.figures.append(outcome)
                    said = f"{outcome.cpu:.2f} µs, {outcome.rate:.0f}/s"
                else:
                    cell.failures.append(str(outcome))
                    said = f"invalid: {outcome}"
                say(f"round {number + 1}: {trial_name}: {name}: {said}")
    return dict(results)


def _measures(
    contestants: Sequence[Contestant], trial: Trial, tools: Toolbox, direct: bool
) -> Mapping[str, Measure]:
    """By contestant, of those that take part."""
    measures: dict[str, Measure] = {
        one.name: partial(run, one, trial, tools)
        for one in contestants
        if one.takes(trial.work, trial.qos)
    }
    if direct and trial.limited_by_broker:
        measures[NO_WORKER] = partial(run_direct, trial, tools)
    return measures


def _one_by_one(measures: Mapping[str, Measure]) -> Iterator[tuple[str, Figures | Invalid]]:
    for name, measure in measures.items():
        yield name, _outcome(measure)


def _at_once(measures: Mapping[str, Measure]) -> Iterator[tuple[str, Figures | Invalid]]:
    with ThreadPoolExecutor(max(len(measures), 1)) as pool:
        yield from zip(measures, pool.map(_outcome, measures.values()), strict=True)


def _outcome(measure: Measure) -> Figures | Invalid:
    try:
        return measure()
    except Invalid as error:
        return error
