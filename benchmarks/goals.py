"""What is to be reached, as ratios of figures of one run."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.contestants import BULK, FLOOR, ORIGINAL, PAHO, PEER_NAMES, QUEUES
from benchmarks.rounds import NO_WORKER, Results, ratio


@dataclass(frozen=True)
class Goal:
    """`measured` and `reached` are None when something it needs was not measured."""

    what: str
    wanted: str
    measured: str | None = None
    reached: bool | None = None


def at_most(what: str, limit: float, value: float | None, unit: str = "×") -> Goal:
    if value is None:
        return Goal(what, f"≤ {limit:.3g} {unit}")
    return Goal(what, f"≤ {limit:.3g} {unit}", f"{value:.3g} {unit}", value <= limit)


def at_least(what: str, limit: float, value: float | None, unit: str = "×") -> Goal:
    if value is None:
        return Goal(what, f"≥ {limit:.3g} {unit}")
    return Goal(what, f"≥ {limit:.3g} {unit}", f"{value:.3g} {unit}", value >= limit)


def compared(what: str, value: float | None) -> Goal:
    """Beside a goal, for the reader: nothing is wanted of it."""
    return Goal(what, "–", None if value is None else f"{value:.3g} ×")


def quotient(one: float | None, other: float | None) -> float | None:
    return one / other if one is not None and other else None


class Board:
    """The figures by name, for the goals."""

    def __init__(self, results: Results) -> None:
        self._results = results

    def figure(self, contestant: str, trial: str, name: str = "cpu") -> float | None:
        cell = self._results.get((contestant, trial))
        median = cell.median if cell is not None else None
        return None if median is None else float(getattr(median, name))

    def times(self, one: str, other: str, trial: str, name: str) -> float | None:
        """How many times the other's the one's figure is: the median of the rounds' ratios."""
        rounds = [self._rounds(contestant, trial, name) for contestant in (one, other)]
        return ratio(*rounds) if all(rounds) else None

    def _rounds(self, contestant: str, trial: str, name: str) -> list[float]:
        """Nothing if one of them was invalid."""
        cell = self._results.get((contestant, trial))
        if cell is None or cell.median is None:
            return []
        return [float(getattr(one, name)) for one in cell.figures]

    def best_peer(self, trial: str) -> float | None:
        """The least CPU of all peers but the C client, which is the floor."""
        known = (self.figure(name, trial) for name in PEER_NAMES)
        return min((value for value in known if value is not None), default=None)

    def broker_limit(self, trial: str) -> float | None:
        """Messages a second: with a worker each message passes the broker twice."""
        rate = self.figure(NO_WORKER, trial, "rate")
        return None if rate is None else rate / 2

    def ours(self, trial: str, name: str = "cpu") -> float | None:
        return self.figure(BULK.name, trial, name)


def contest_goals(results: Results) -> list[Goal]:
    """Of the medians of all rounds."""
    board = Board(results)

    def less(what: str, trial: str, rival: float | None, limit: float) -> Goal:
        return at_most(what, 1 / limit, quotient(board.ours(trial), rival))

    q0, q1, c1 = "identity, QoS 0", "identity, QoS 1", "compute, QoS 1"
    s0, s1 = "stub, identity, QoS 0", "stub, identity, QoS 1"
    paho, floor = PAHO.name, FLOOR.name
    return [
        less(f"{q0}: CPU, of plain paho's", q0, board.figure(paho, q0), 9),
        less(f"{q0}: CPU, of the C client's", q0, board.figure(floor, q0), 1),
        at_least(
            f"{q0}: rate, of half the broker's without a worker",
            0.95,
            quotient(board.ours(q0, "rate"), board.broker_limit(q0)),
        ),
        less(f"{q1}: CPU, of plain paho's", q1, board.figure(paho, q1), 10),
        less(f"{q1}: CPU, of the best peer's", q1, board.best_peer(q1), 2),
        less(f"{c1}: CPU, of plain paho's", c1, board.figure(paho, c1), 8),
        less(f"{c1}: CPU, of the best peer's", c1, board.best_peer(c1), 2),
        less(f"{c1}: CPU, of the original's", c1, board.figure(ORIGINAL.name, c1), 35),
        compared(
            f"{c1}: CPU, of the original's design with better settings",
            quotient(board.ours(c1), board.figure(QUEUES.name, c1)),
        ),
        at_least(
            f"{s0}: rate, of the C client's",
            10,
            quotient(board.ours(s0, "rate"), board.figure(floor, s0, "rate")),
        ),
        at_least(
            f"{s1}: rate, of the C client's",
            14,
            quotient(board.ours(s1, "rate"), board.figure(floor, s1, "rate")),
        ),
        at_most("RSS under full load", 30, board.ours(c1, "rss"), "MB"),
    ]
