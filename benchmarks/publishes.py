"""What three results by `context.publish` cost, beside the outgoing part of one that is returned:
CPU of a worker's own stages, in this process, in turns. By `make publishes`."""

from __future__ import annotations

import argparse
import statistics

from benchmarks.arrays import Costs, measure
from benchmarks.goals import at_most

_LIMIT = 3.2
_MODELS = ("nothing", "one", "three")


def main() -> None:
    options = _options()
    rounds = measure(_MODELS, options.rounds, options.seconds)
    print("| model | CPU, µs a message | the outgoing part |")
    print("|---|---|---|")
    for name in _MODELS:
        cost = statistics.median(one[name] for one in rounds)
        part = statistics.median(one[name] - one["nothing"] for one in rounds)
        print(f"| `{name}` | {cost:.2f} | {part:.2f} |")
    goal = at_most("three published beside one", _LIMIT, statistics.median(map(_ratio, rounds)))
    print(f"{goal.what}: {goal.measured}, wanted {goal.wanted}")


def _ratio(costs: Costs) -> float:
    return (costs["three"] - costs["nothing"]) / (costs["one"] - costs["nothing"])


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks.publishes", description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=1.0, help="for each model of a round")
    return parser.parse_args()


if __name__ == "__main__":
    main()
