"""Models that are called by time, too."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from support.app import Up
from support.broker import Broker
from support.client import Plant
from support.poll import until
from support.workers import Workers

MODELS = """
import os, threading, time

class Counting:
    def __init__(self, context):
        self.thread = threading.get_ident()

    def __call__(self, payload, context):
        context.state["seen"] = context.state.get("seen", 0) + 1

    def tick(self, context):
        context.state["ticks"] = context.state.get("ticks", 0) + 1
        context.publish({"ticks": context.state["ticks"], "seen": context.state.get("seen", 0)})
        return {"same": self.thread == threading.get_ident(), "topic": context.topic}

class Without:
    def __call__(self, payload):
        return payload

class Failing(Without):
    calls = 0
    def tick(self):
        Failing.calls += 1
        if Failing.calls == 1:
            raise ValueError("the first one")
        if Failing.calls == 2:
            time.sleep(3600)
        return Failing.calls

class Batches:
    def __call__(self, payloads):
        return payloads
    def tick(self):
        return "tick"

class Meanwhile:
    async def __call__(self, payload):
        return payload
    async def tick(self, context):
        context.publish("tick")
"""


@pytest.fixture
def configured(write_config: Callable[..., Path], topic: str) -> Callable[[str, str], Path]:
    def write(model: str, more: str) -> Path:
        edge = (
            f"{{name: edge, edge_mode: my_models.{model}, pre_topic: {topic}/in, "
            f"post_topic: {topic}/out, pre_qos: 1, post_qos: 1, {more}}}"
        )
        return write_config(edge, models=MODELS)

    return write


@pytest.fixture
def run(
    configured: Callable[[str, str], Path], workers: Callable[..., Workers]
) -> Callable[..., Workers]:
    def start(model: str, more: str = "every: 100ms", ready: bool = True) -> Workers:
        return workers(configured(model, more), ready=ready)

    return start


def test_between_messages_in_the_models_thread(
    run: Callable[..., Workers], plant: Plant, topic: str
) -> None:
    plant.subscribe(f"{topic}/out", 1)
    started = run("Counting")
    for number in range(50):
        plant.publish(f"{topic}/in", number, 1)

    def results() -> list[dict[str, object]]:
        return list(plant.payloads(f"{topic}/out"))

    until(lambda: any(one.get("seen") == 50 for one in results()), "one that knows all messages")
    until(lambda: {"same": True, "topic": ""} in results(), "what a tick returned")
    ticks = [one["ticks"] for one in results() if "ticks" in one]
    assert ticks == list(range(1, len(ticks) + 1))
    figures = started.instance("edge-1")
    counters = figures["counters"]
    assert (counters["received"], counters["processed"], figures["errors"]) == (50, 50, {})
    assert counters["ticks"] >= len(ticks)
    assert counters["nothing_to_publish"] == 50


def test_none_is_lost_by_a_kill(
    configured: Callable[[str, str], Path], up: Callable[..., Up], plant: Plant, topic: str
) -> None:
    plant.subscribe(f"{topic}/out", 1)
    started = up(configured("Counting", "every: 100ms"))

    def numbers() -> list[int]:
        return [one["ticks"] for one in plant.payloads(f"{topic}/out") if "ticks" in one]

    for _ in range(3):
        before = len(numbers())
        until(lambda n=before: len(numbers()) > n + 3, "some more")  # type: ignore[misc]
        os.kill(started.instance("edge-1")["pid"], signal.SIGKILL)
    until(lambda: max(numbers()) > max(numbers()[:before]) + 6, "they go on")
    found = numbers()
    # One may come twice; the state never says that one was published which was not.
    assert sorted(set(found)) == list(range(1, max(found) + 1))
    assert found == sorted(found)


def test_one_that_fails_or_hangs_is_no_end(
    run: Callable[..., Workers], plant: Plant, topic: str
) -> None:
    plant.subscribe(f"{topic}/out", 1)
    started = run("Failing", "every: 100ms, model_timeout: 1")
    until(lambda: plant.payloads(f"{topic}/out"), "the third one's result", 40.0)
    assert plant.payloads(f"{topic}/out")[0] == 3
    started.wait_log("the model's tick failed: the model raised ValueError: the first one")
    started.wait_log("the model's tick failed: the call did not end within model_timeout, 1 s")
    assert started.instance("edge-1")["errors"] == {"model": 1, "timeout": 1}
    # Neither is a dead letter: there is nothing to try again.
    assert started.instance("edge-1")["dead_letters_waiting"] == 0


def test_a_coroutine_can_tick(run: Callable[..., Workers], plant: Plant, topic: str) -> None:
    plant.subscribe(f"{topic}/out", 1)
    run("Meanwhile")
    until(lambda: plant.payloads(f"{topic}/out"), "its result")
    assert plant.payloads(f"{topic}/out")[0] == "tick"


@pytest.mark.parametrize("more", ["every: 100ms, threads: 3", "every: 100ms, batch: {}"])
def test_whatever_else_it_does(
    run: Callable[..., Workers], plant: Plant, topic: str, more: str
) -> None:
    plant.subscribe(f"{topic}/out", 1)
    started = run("Counting" if "threads" in more else "Batches", more)
    until(lambda: started.instance("edge-1")["counters"]["ticks"] >= 2 or None, "two of them")


def test_without_a_tick_it_does_not_start(run: Callable[..., Workers], topic: str) -> None:
    started = run("Without", ready=False)
    started.wait_log("`every` needs a model with a method `tick(context)`")


def test_results_of_a_tick_wait_for_the_broker_and_so_does_the_state(
    run: Callable[..., Workers], broker: Broker, tmp_path: Path, topic: str
) -> None:
    other = Broker(tmp_path / "other").start()
    port = other.port
    other.stop()
    started = run("Counting", f"every: 100ms, post_port: {port}", ready=False)
    until(lambda: started.instance("edge-1")["spooled"] >= 4, "they are on disk")
    other.start()
    sink = Plant(port)
    try:
        sink.subscribe(f"{topic}/out", 1)
        until(lambda: started.instance("edge-1")["spooled"] == 0, "all are published", 40.0)
        until(lambda: sink.payloads(f"{topic}/out"), "the next ones")
    finally:
        sink.close()
        other.stop()
