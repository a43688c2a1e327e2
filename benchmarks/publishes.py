"""What three results by `context.publish` cost, beside the outgoing part of one that is returned.

The outgoing part is all that a message costs more than one of which nothing is published: encoding,
ordering, sending, the broker's answers, and the acknowledgement of the input. It is taken of whole
workers, each with a backlog at QoS 1 in mosquitto, in turns; and of a worker's own stages in this
process, without the kernel's part. By `make publishes`.
"""

from __future__ import annotations

import argparse
import json
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from support.poll import until

from benchmarks.arrays import measure
from benchmarks.contest import broker, cpu_seconds, ended
from benchmarks.goals import at_most
from benchmarks.toolbox import PEERS
from pyboot_svc.worker.mqtt.wire.decoder import Decoder
from pyboot_svc.worker.mqtt.wire.encoder import PublishEncoder

_LIMIT = 3.2
_MODELS = ("nothing", "one", "three")
_PAYLOAD = b'{"values": [1, 2, 6]}'
_CONNECT = b"\x10\x10\0\4MQTT\4\2\0\0\0\4load"
_AT_ONCE = 500
_IDLE_SECONDS = 0.4

Costs = Mapping[str, float]  # CPU in µs a message, by model


def main() -> None:
    options = _options()
    print("| measured | returns `None` | returns one | publishes three | three, beside one |")
    print("|---|---|---|---|---|", flush=True)
    whole = [_whole_workers(options.messages, turn) for turn in range(options.rounds)]
    _show("whole workers", whole)
    _show("stages alone", measure(_MODELS, 5 * options.rounds, options.seconds))
    goal = at_most("three published beside one, whole workers", _LIMIT, _ratio(whole))
    print(f"{goal.what}: {goal.measured}, wanted {goal.wanted}")


def _show(what: str, rounds: Sequence[Costs]) -> None:
    cells = [f"{statistics.median(one[name] for one in rounds):.2f} µs" for name in _MODELS]
    print(f"| {what} | {' | '.join(cells)} | {_ratio(rounds):.2f} × |", flush=True)


def _ratio(rounds: Sequence[Costs]) -> float:
    """Of the medians: of a single round both differences are small, and the machine's noise not."""
    nothing, one, three = (statistics.median(each[name] for each in rounds) for name in _MODELS)
    return (three - nothing) / (one - nothing)


def _whole_workers(messages: int, turn: int) -> Costs:
    """Each model once, in an order of its own."""
    order = _MODELS[turn % 3 :] + _MODELS[: turn % 3]
    return {name: _whole_worker(name, messages) for name in order}


def _whole_worker(model: str, messages: int) -> float:
    """Its CPU from the first of the messages on until it has nothing more to do."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name, broker(Path(name)) as (port, _):
        folder = Path(name)
        edge = {
            "name": "bench",
            "edge_mode": f"results.{model}",
            "pre_broker": "127.0.0.1",
            "pre_port": port,
            "pre_topic": "in",
            "pre_qos": 1,
            "post_broker": "127.0.0.1",
            "post_port": port,
            "post_topic": "out",
            "post_qos": 1,
        }
        config = folder / "config.yaml"
        config.write_text(json.dumps({"model_path": str(PEERS), "edge": [edge]}))
        log = folder / "worker.log"
        folders = ("--run-dir", str(folder / "run"), "--state-dir", str(folder / "state"))
        command = [*_PYBOOT, "worker", "bench-1", "--config", str(config), *folders]
        with log.open("w") as output:
            process = subprocess.Popen(command, stdout=output, stderr=output, text=True)
        with ended(process):
            until(lambda: "subscribed to" in log.read_text(), "it has subscribed", 60)
            _publish(port, _AT_ONCE)  # the first ones load and warm what later ones find
            before = _cpu_when_idle(process.pid)
            _publish(port, messages)
            return (_cpu_when_idle(process.pid) - before) * 1e6 / messages


_PYBOOT = (sys.executable, "-m", "pyboot_svc")


def _publish(port: int, count: int) -> None:
    """At QoS 1, as fast as the broker takes them."""
    encoder, answers = PublishEncoder("in", 1, b""), Decoder(v5=False)
    with socket.create_connection(("127.0.0.1", port)) as line:
        line.sendall(_CONNECT)
        assert line.recv(4) == b"\x20\2\0\0"
        for _ in range(0, count, _AT_ONCE):
            packets = encoder.encode([_PAYLOAD] * _AT_ONCE, range(1, _AT_ONCE + 1))
            line.sendall(b"".join(packets))
            missing = _AT_ONCE
            while missing:
                missing -= len(answers.feed(line.recv(65_536)).settled)


def _cpu_when_idle(pid: int) -> float:
    """Once it has nothing more to do: it takes next to nothing for a while."""
    last = -1.0
    while (now := cpu_seconds(pid)) - last > 0.01 * _IDLE_SECONDS:
        last = now
        time.sleep(_IDLE_SECONDS)
    return now


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks.publishes", description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--messages", type=int, default=100_000, help="for each whole worker")
    parser.add_argument("--seconds", type=float, default=0.2, help="for each model's stages")
    return parser.parse_args()


if __name__ == "__main__":
    main()
