"""Interleaved rounds: everybody once, then again in another order; medians of what was valid."""

from __future__ import annotations

import random
import statistics
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
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
Outcome = Figures | Invalid


@dataclass
class Cell:
    """What one contestant did in one trial, over all rounds."""

    figures: list[Figures] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def add(self, outcome: Outcome) -> None:
        if isinstance(outcome, Figures):
            self.figures.append(outcome)
        else:
            self.failures.append(str(outcome))

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


def outcome_of(measure: Measure) -> Outcome:
    try:
        return measure()
    except Invalid as error:
        return error


def told(outcome: Outcome) -> str:
    if isinstance(outcome, Invalid):
        return f"invalid: {outcome}"
    return f"{outcome.cpu:.2f} µs, {outcome.rate:.0f}/s"


def in_turns(measures: Mapping[K, Measure], rounds: int) -> dict[K, list[Figures]]:
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
) -> Results:
    """All contestants in all trials that they take, and nobody, `rounds` times."""
    results: Results = defaultdict(Cell)
    for number in range(rounds):
        order = random.Random(number)
        for name, trial, measure in _entries(contestants, trials, tools, order):
            outcome = outcome_of(measure)
            results[name, trial].add(outcome)
            say(f"round {number + 1}: {trial}: {name}: {told(outcome)}")
    return dict(results)


def _entries(
    contestants: Sequence[Contestant],
    trials: dict[str, Trial],
    tools: Toolbox,
    order: random.Random,
) -> Iterator[tuple[str, str, Measure]]:
    """Contestant, name of the trial, and how it is measured: those of one trial in a row."""
    for name, trial in order.sample(list(trials.items()), len(trials)):
        measures = {
            one.name: partial(run, one, trial, tools)
            for one in contestants
            if one.takes(trial.work, trial.qos)
        }
        if trial.limited_by_broker:
            measures[NO_WORKER] = partial(run_direct, trial, tools)
        for who, measure in order.sample(list(measures.items()), len(measures)):
            yield who, name, measure
