"""One figure means one thing, wherever it is shown, and no loss goes uncounted."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from support.app import Running, Up
from support.client import Plant
from support.poll import until

from pyboot_svc.metrics.figures import FIGURES

MODELS = """
import time

def fails(payload):
    raise ValueError("bad input")

def slow(payload, context):
    (context.state_dir / "called").touch()
    time.sleep(60)
"""


def metrics(master: Up) -> dict[str, float]:
    text = master.get("/metrics")[1]
    return {name: float(value) for name, value in re.findall(r"^(\w+)\{.*\} (\S+)$", text, re.M)}


def test_prometheus_and_the_api_say_the_same(
    write_config: Callable[..., Path], up: Callable[..., Up], plant: Plant, topic: str
) -> None:
    edge = (
        f"{{name: away, edge_mode: my_models.fails, pre_topic: {topic}, pre_qos: 1, "
        f"post_port: 9, post_topic: {topic}/out}}"
    )
    master = up(write_config(edge, models=MODELS), ready=False)
    master.wait_log("subscribed to")
    plant.publish(topic, b"1", qos=1)

    def at_rest() -> dict[str, Any] | None:
        row = master.instance("away-1")
        done = row["dead_letters_waiting"] == 1 and not row["unacknowledged"] + row["held_bytes"]
        return row if done else None

    instance = until(at_rest, "a dead letter, and nothing in hand")
    assert instance is not None
    told = metrics(master)
    assert told["pyboot_dead_letters_waiting_messages"] == 1
    for figure in FIGURES:
        steady = not figure.meaning.label and figure.key not in ("uptime_s", "rss_bytes", "cpu_s")
        found, name = figure.value(instance), figure.meaning.prometheus
        if figure.meaning.bounds:
            assert told[f"{name}_count"] == sum(found["counts"]), figure
        elif steady and name:  # what has not happened yet has no time
            assert told.get(name) == (None if found is None else figure.number(found)), figure


def test_a_stop_says_what_of_qos_0_it_left(
    write_config: Callable[..., Path],
    track: Callable[[Running], Running],
    tmp_path: Path,
    plant: Plant,
    topic: str,
) -> None:
    edge = f"{{name: slow, edge_mode: my_models.slow, pre_topic: {topic}, post_topic: {topic}/out}}"
    config = write_config(edge, models=MODELS)
    places = ("--run-dir", str(tmp_path), "--state-dir", str(tmp_path))
    options = ("--config", str(config), *places, "--drain-seconds", "2")
    worker = track(Running(tmp_path / "run", "worker", "slow-1", *options))
    worker.wait_log("subscribed to")
    plant.subscribe(topic)
    for number in range(10):
        plant.publish(topic, b"%d" % number)
    plant.wait_for(10)
    until(lambda: list(tmp_path.rglob("called")), "the model is called")
    assert worker.stop() == 0
    assert "dropped 10 messages of QoS 0 that the stop left unprocessed" in worker.log
