"""What a numpy array costs as a result, beside the list of the same 20 numbers: CPU of a worker's
own stages, in this process, in turns. By `make arrays`."""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import chdir, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from benchmarks.goals import at_most
from benchmarks.toolbox import PEERS
from pyboot_svc.bench.stages import measure_stages
from pyboot_svc.bench.subject import load_subject
from pyboot_svc.config.loader import load_config

_LIMIT = 1.3
_MODELS = ("a_list", "an_array")
_PAYLOAD = b'{"values": [1, 2, 6]}'

Costs = Mapping[str, float]  # CPU in µs a message, by model


def main() -> None:
    options = _options()
    goals = []
    print("| JSON by | list: CPU, µs a message | array: CPU, µs a message | ratio |")
    print("|---|---|---|---|")
    for library, as_installed in (("orjson", nullcontext()), ("json", _without_orjson())):
        with as_installed:
            rounds = measure(_MODELS, options.rounds, options.seconds)
        listed, array = (statistics.median(one[name] for one in rounds) for name in _MODELS)
        # Of each round: what a machine does beside is in both of it.
        ratio = statistics.median(one["an_array"] / one["a_list"] for one in rounds)
        goals.append(at_most(f"an array beside a list, by {library}", _LIMIT, ratio))
        print(f"| {library} | {listed:.1f} | {array:.1f} | {ratio:.2f} |", flush=True)
    for goal in goals:
        print(f"{goal.what}: {goal.measured}, wanted {goal.wanted}")


def measure(models: Sequence[str], rounds: int, seconds: float) -> list[Costs]:
    """Each model of peers/results.py once a round, the other way round in every other."""
    return [
        {name: _cost(name, seconds) for name in models[:: -1 if odd % 2 else 1]}
        for odd in range(rounds)
    ]


def _cost(model: str, seconds: float) -> float:
    """All that a worker's thread does, from the read of a socket to the write."""
    edge = {
        "name": "bench",
        "edge_mode": f"results.{model}",
        "pre_broker": "b",
        "pre_topic": "in",
        "pre_qos": 1,
        "post_broker": "b",
        "post_topic": "out",
        "post_qos": 1,
    }
    with tempfile.TemporaryDirectory(prefix="bench-") as name, chdir("."):
        folder = Path(name)
        file = folder / "config.yaml"
        file.write_text(json.dumps({"model_path": str(PEERS), "edge": [edge]}))
        config = next(iter(load_config(file).instances()))
        subject = load_subject(config, (_PAYLOAD,), folder)
        return sum(measure_stages(subject, seconds, lambda share: None).cpu_us.values())


@contextmanager
def _without_orjson() -> Iterator[None]:
    """As where it is not installed."""
    modules: dict[str, Any] = sys.modules
    before = modules.get("orjson")
    modules["orjson"] = None
    try:
        yield
    finally:
        if before is None:
            del modules["orjson"]
        else:
            modules["orjson"] = before


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks.arrays", description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=1.0, help="for each model of a round")
    return parser.parse_args()


if __name__ == "__main__":
    main()
