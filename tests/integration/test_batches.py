"""Models that take lists, from broker to broker: complete, in order, and a bad one fails alone."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.client import Plant
from support.poll import until
from support.workers import Workers

MODELS = '''
import os
import time

def counted(payloads, context):
    """Says with each result how many there are in its call."""
    wait_until_open(context)
    return [{"n": payload + 0, "of": len(payloads)} for payload in payloads]

def forgetful(payloads, context):
    """Loses one of many."""
    return counted(payloads if len(payloads) == 1 else payloads[1:], context)

def gated_statistics(payloads, context):
    from pyboot_svc.models.samples import sample_statistics
    wait_until_open(context)
    return sample_statistics(payloads)

def wait_until_open(context):
    gate = context.options.get("gate")
    while gate is not None and not os.path.exists(gate):
        time.sleep(0.01)
'''
MESSAGES = 2000
MAX_SIZE = 64


class Line:
    """The instance `edge-1`. With a gate, its first call lasts until `burst` has sent all."""

    def __init__(self, workers: Workers, plant: Plant, topic: str, gate: Path) -> None:
        self.up = workers
        self._plant = plant
        self._topic = topic
        self._gate = gate

    def burst(self, payloads: list[Any]) -> None:
        """Publish all, and see them processed, in full batches from the second one on."""
        self._plant.publish_all(f"{self._topic}/in", payloads, qos=1)
        self.until_counted("received", len(payloads))
        self._gate.touch()
        self.until_counted("processed", len(payloads))
        until(lambda: self._row["unacknowledged"] == 0, "all are acknowledged")

    def publish(self, payload: Any) -> None:
        self._plant.publish(f"{self._topic}/in", payload, qos=1)

    def until_counted(self, name: str, count: int) -> None:
        until(lambda: self._row["counters"][name] == count, f"{count} are {name}", 60)

    def results(self, count: int) -> list[Any]:
        return self._arrived("out", count)

    def dead(self, count: int) -> list[Any]:
        return self._arrived("dead", count)

    @property
    def errors(self) -> dict[str, int]:
        errors: dict[str, int] = self._row["errors"]
        return errors

    @property
    def _row(self) -> dict[str, Any]:
        return self.up.instance("edge-1")

    def _arrived(self, where: str, count: int) -> list[Any]:
        def arrived() -> list[Any]:
            return self._plant.payloads(f"{self._topic}/{where}")

        until(lambda: len(arrived()) >= count, f"{count} of {where}", 30)
        return arrived()


@pytest.fixture
def run(
    write_config: Callable[..., Path],
    workers: Callable[..., Workers],
    plant: Plant,
    topic: str,
    tmp_path: Path,
) -> Callable[..., Line]:
    def start(model: str, gated: bool = True, **batch: int) -> Line:
        gate = tmp_path / "gate"
        edge = {
            "name": "edge",
            "edge_mode": f"my_models.{model}",
            "pre_topic": f"{topic}/in",
            "post_topic": f"{topic}/out",
            "pre_qos": 1,
            "post_qos": 1,
            "batch": {"max_size": MAX_SIZE, **batch},
            "dead_letter": {"topic": f"{topic}/dead"},
            "options": {"gate": str(gate)} if gated else {},
        }
        started = workers(write_config(json.dumps(edge), models=MODELS))
        plant.subscribe(f"{topic}/out").subscribe(f"{topic}/dead")
        return Line(started, plant, topic, gate)

    return start


def test_a_burst_comes_out_complete_and_in_order_by_full_batches(run: Callable[..., Line]) -> None:
    line = run("counted")
    line.burst(list(range(MESSAGES)))
    results = line.results(MESSAGES)
    assert [result["n"] for result in results] == list(range(MESSAGES))
    sizes = [result["of"] for result in results]
    first = sizes[0]
    full, rest = divmod(MESSAGES - first, MAX_SIZE)
    assert sizes == [first] * first + [MAX_SIZE] * full * MAX_SIZE + [rest] * rest
    assert line.errors == {}


def test_one_bad_message_among_many_is_a_dead_letter_alone(run: Callable[..., Line]) -> None:
    line = run("counted")
    bad = {"no": "number"}
    line.burst([bad if number == 500 else number for number in range(MESSAGES)])
    results = line.results(MESSAGES - 1)
    assert [result["n"] for result in results] == [n for n in range(MESSAGES) if n != 500]
    alone = [result["n"] for result in results if result["of"] == 1 and result["n"] > 0]
    assert 2 * MAX_SIZE > len(alone) >= MAX_SIZE - 1, "those of its batch, and perhaps a rest"
    assert results[1000]["of"] == MAX_SIZE, "later ones have company again"
    assert line.dead(1) == [bad]
    assert line.errors == {"model": 1}
    said = f"the model failed on a batch of {MAX_SIZE}, each gets a call of its own now: TypeError"
    assert said in line.up.log


def test_a_list_of_another_length_is_told_and_each_has_a_call_of_its_own(
    run: Callable[..., Line],
) -> None:
    line = run("forgetful")
    line.burst(list(range(MAX_SIZE * 3)))
    expected = [{"n": number, "of": 1} for number in range(MAX_SIZE * 3)]
    assert line.results(MAX_SIZE * 3) == expected
    assert line.errors == {}
    assert (
        f"the model returned {MAX_SIZE - 1} results for a batch of {MAX_SIZE}: it has to return "
        "one for each, None where there is nothing to publish"
    ) in line.up.log


def test_a_lone_message_comes_out_when_its_wait_is_over(run: Callable[..., Line]) -> None:
    line = run("counted", gated=False, max_wait_ms=200)
    line.publish(7)
    assert line.results(1) == [{"n": 7, "of": 1}]


def test_messages_wait_for_a_full_batch(run: Callable[..., Line]) -> None:
    line = run("counted", gated=False, max_size=3, max_wait_ms=60_000)
    for number in range(3):
        line.publish(number)
        line.until_counted("received", number + 1)
    assert line.results(3) == [{"n": number, "of": 3} for number in range(3)]


def test_the_bundled_statistics_of_ragged_batches(run: Callable[..., Line]) -> None:
    line = run("gated_statistics")
    series = [[(n * i) % 17 / 4 for i in range(1 + n % 30)] for n in range(500)]
    payloads: list[Any] = [{"ts": n, "values": values} for n, values in enumerate(series)]
    payloads[100] = {"ts": 100, "values": [1, "two"]}
    line.burst(payloads)
    assert line.dead(1) == [payloads[100]]
    assert line.results(499) == [
        {
            "ts": n,
            "count": len(values),
            "mean": pytest.approx(statistics.mean(values)),
            "std": pytest.approx(statistics.pstdev(values), abs=1e-12),
            "min": min(values),
            "max": max(values),
        }
        for n, values in enumerate(series)
        if n != 100
    ]
    assert "ValueError: values: item 1 must be a number, not 'two'" in line.up.log
