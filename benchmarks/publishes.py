"""What three results by `context.publish` cost a worker, beside the outgoing part of one that is
returned: CPU time of whole workers on a broker, in turns. By `make publishes`."""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from support.app import Up
from support.broker import Broker
from support.client import Plant
from support.poll import until

from benchmarks.goals import at_most
from benchmarks.toolbox import PEERS

_LIMIT = 3.2
_MODELS = ("nothing", "one", "three")
_BROKER = "listener {port} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\n"
_PATIENCE_SECONDS = 120.0

Costs = Mapping[str, float]  # CPU in µs a message, by model


def main() -> None:
    options = _options()
    rounds = _measure(options.rounds, options.messages)
    print("| model | CPU, µs a message | the outgoing part |")
    print("|---|---|---|")
    for name in _MODELS:
        cost = statistics.median(one[name] for one in rounds)
        part = statistics.median(one[name] - one["nothing"] for one in rounds)
        print(f"| `{name}` | {cost:.1f} | {part:.1f} |")
    goal = at_most("three published beside one", _LIMIT, statistics.median(map(_ratio, rounds)))
    print(f"{goal.what}: {goal.measured}, wanted {goal.wanted}")


def _ratio(costs: Costs) -> float:
    """What it takes to give the model a `context` is in the part of three."""
    return (costs["three"] - costs["nothing"]) / (costs["one"] - costs["nothing"])


def _measure(rounds: int, messages: int) -> list[Costs]:
    """Each model once a round, the other way round in every other."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        broker = Broker(folder / "broker", _BROKER).start()
        stack.callback(broker.stop)
        up = Up(folder / "up", _write_config(folder, broker.port))
        stack.callback(up.close)
        plant = stack.enter_context(Plant(broker.port))
        for name in _MODELS:  # what is loaded and warmed by the first
            _cost(up, plant, name, messages // 10)
        return [
            {name: _cost(up, plant, name, messages) for name in _MODELS[:: -1 if odd % 2 else 1]}
            for odd in range(rounds)
        ]


def _cost(up: Up, plant: Plant, name: str, messages: int) -> float:
    row = up.instance(f"{name}-1")
    pid, done = row["pid"], row["counters"]["processed"] + messages

    def is_done() -> bool:
        now = up.instance(f"{name}-1")
        left = now["post_queue"] + now["in_flight"] + now["unacknowledged"]
        return bool(now["counters"]["processed"] == done and left == 0)

    before = _cpu_ns(pid)
    plant.publish_all(f"{name}/in", [{"values": [1, 2, 6]}] * messages, 1)
    until(is_done, f"{name} has done them", _PATIENCE_SECONDS)
    return (_cpu_ns(pid) - before) / messages / 1e3


def _cpu_ns(pid: int) -> int:
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks)


def _write_config(folder: Path, port: int) -> Path:
    edges = [
        {
            "name": name,
            "edge_mode": f"results.{name}",
            "pre_broker": "127.0.0.1",
            "pre_port": port,
            "pre_topic": f"{name}/in",
            "post_broker": "127.0.0.1",
            "post_port": port,
            "post_topic": f"{name}/out",
            "pre_qos": 1,
            "post_qos": 1,
        }
        for name in _MODELS
    ]
    config = folder / "config.yaml"
    config.write_text(json.dumps({"model_path": str(PEERS), "edge": edges}))
    return config


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks.publishes", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--messages", type=int, default=10_000, help="for each model of a round")
    return parser.parse_args()


if __name__ == "__main__":
    main()
