"""Interleaved rounds: everybody once, then everybody again; medians of what was valid."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields

from benchmarks.contest import Figures, Invalid, Trial, run
from benchmarks.contestants import Contestant
from benchmarks.toolbox import Toolbox


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


def compete(
    contestants: Sequence[Contestant],
    trials: dict[str, Trial],
    rounds: int,
    tools: Toolbox,
    say: Callable[[str], None],
) -> Results:
    """All contestants in all trials that they take, `rounds` times."""
    results: Results = defaultdict(Cell)
    for number in range(rounds):
        for name, trial in trials.items():
            for contestant in contestants:
                if not contestant.takes(trial.work, trial.qos):
                    continue
                cell = results[contestant.name, name]
                try:
                    cell.figures.append(run(contestant, trial, tools))
                    said = f"{cell.figures[-1].cpu:.2f} µs, {cell.figures[-1].rate:.0f}/s"
                except Invalid as error:
                    cell.failures.append(str(error))
                    said = f"invalid: {error}"
                say(f"round {number + 1}: {name}: {contestant.name}: {said}")
    return dict(results)
