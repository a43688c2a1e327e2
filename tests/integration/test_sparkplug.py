"""Sparkplug B through a worker: edge nodes are born, send data by alias, and are asked for more."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.app import run_pyboot
from support.client import Plant
from support.poll import until
from support.sparkplug import payload_class
from support.workers import Workers

Payload = payload_class()
DOUBLE = 10
MODELS = """
def names(payload, context):
    kind = context.topic.split("/")[2]
    if kind in ("NDATA", "DDATA"):
        return {metric["name"]: metric["value"] for metric in payload["metrics"]}


def all_of(payloads, context):
    return [of_one(*both) for both in zip(payloads, context.topics)]


def of_one(payload, topic):
    if "NDATA" in topic:
        return {metric["name"]: metric["value"] for metric in payload["metrics"]}
"""


@pytest.fixture
def group(topic: str) -> str:
    return topic.replace("/", "-")


@pytest.fixture
def start(
    write_config: Callable[..., Path],
    workers: Callable[..., Workers],
    plant: Plant,
    group: str,
    tmp_path: Path,
) -> Callable[..., Workers]:
    def run(more: str, model: str = "names") -> Workers:
        edge = (
            f"{{name: edge, edge_mode: my_models.{model}, pre_topic: spBv1.0/{group}/#, "
            f"post_topic: out/{group}, dead_letter: {{topic: dead/{group}}}, {more}}}"
        )
        config = write_config(edge, models=MODELS)
        started = workers(config, "--state-dir", str(tmp_path / "state"))
        plant.subscribe(f"out/{group}")
        return started

    return run


def birth(name: str) -> bytes:
    message = Payload(timestamp=1, seq=0)
    message.metrics.add(name=name, alias=1, datatype=DOUBLE, double_value=0.0)
    encoded: bytes = message.SerializeToString()
    return encoded


def data(value: float, seq: int = 1) -> bytes:
    message = Payload(timestamp=1, seq=seq)
    message.metrics.add(alias=1, double_value=value)
    encoded: bytes = message.SerializeToString()
    return encoded


@pytest.mark.parametrize(
    ("more", "model"),
    [
        ("threads: 4", "names"),
        ("threads: 4, pre_qos: 1", "names"),
        ("batch: {max_size: 7}", "all_of"),
    ],
    ids=["threads", "QoS 1", "batches"],
)
def test_data_is_named_by_the_birth_before_it(
    start: Callable[..., Workers], plant: Plant, group: str, more: str, model: str
) -> None:
    """However many threads decode them, and though each birth names its alias anew."""
    start(f"codec: {{in: sparkplug_b, out: json}}, {more}", model)
    wanted: list[dict[str, Any]] = []
    for number in range(100):
        plant.publish_soon(f"spBv1.0/{group}/NBIRTH/N", [birth(f"name {number}")], 1)
        plant.publish_soon(f"spBv1.0/{group}/NDATA/N", [data(float(number))] * 3, 1)
        wanted += [{f"name {number}": number}] * 3
    assert plant.wait_for(len(wanted)) == wanted


def test_an_unknown_alias_is_a_dead_letter_and_asks_for_a_birth(
    start: Callable[..., Workers], plant: Plant, group: str, tmp_path: Path
) -> None:
    started = start(
        "codec: {in: sparkplug_b, out: json}, sparkplug: {rebirth_on: [unknown_alias]}, pre_qos: 1"
    )
    plant.subscribe(f"spBv1.0/{group}/NCMD/N").subscribe(f"dead/{group}")
    lost = data(1.0)
    plant.publish(f"spBv1.0/{group}/NDATA/N", lost, 1)
    until(lambda: len(plant.received) == 2, "the command and the dead letter")
    found = dict(plant.received)
    assert found[f"dead/{group}"] == lost
    command = Payload.FromString(found[f"spBv1.0/{group}/NCMD/N"])
    [metric] = command.metrics
    assert (metric.name, metric.boolean_value) == ("Node Control/Rebirth", True)
    assert started.instance("edge-1")["errors"] == {"unknown_alias": 1}
    plant.publish(f"spBv1.0/{group}/NBIRTH/N", birth("speed"), 1)
    plant.publish(f"spBv1.0/{group}/NDATA/N", data(2.0), 1)
    until(lambda: (f"out/{group}", b'{"speed":2.0}') in plant.received, "the next data")
    done = run_pyboot("dead", "retry", "edge-1", "--all", "--state-dir", str(tmp_path / "state"))
    assert "1 will be retried" in done.stdout, done.stderr
    until(lambda: (f"out/{group}", b'{"speed":1.0}') in plant.received, "the data from before")


def test_results_of_sparkplug(start: Callable[..., Workers], plant: Plant, group: str) -> None:
    start("codec: sparkplug_b")
    plant.publish_soon(f"spBv1.0/{group}/NBIRTH/N", [birth("speed")], 1)
    plant.publish_soon(f"spBv1.0/{group}/NDATA/N", [data(2.5)], 1)
    until(lambda: plant.received, "the result")
    [metric] = Payload.FromString(plant.received[0][1]).metrics
    assert (metric.name, metric.datatype, metric.double_value) == ("speed", DOUBLE, 2.5)
