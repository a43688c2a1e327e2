"""Several instances, several threads: the work is shared, order is kept, names tell who is who."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from support.broker import free_port
from support.client import Plant
from support.poll import until
from support.workers import Workers

MODELS = """
import os
import random
import threading
import time
from pathlib import Path

def signed(payload):
    return {"pid": os.getpid(), "number": payload}

class Counts:
    def __init__(self):
        self.seen = {}

    def __call__(self, payload):
        device = payload["device"]
        self.seen[device] = self.seen.get(device, 0) + 1
        return {**payload, "seen": self.seen[device], "pid": os.getpid()}

class Uneven:
    '''Lets each thread take one message before any goes on, then takes its time as it likes.'''

    def __init__(self, context):
        self.threads = context.options["threads"]
        self.together = threading.Barrier(self.threads)

    def __call__(self, payload):
        if payload < self.threads:
            self.together.wait(30)
        time.sleep(random.uniform(0, 0.01))
        return {"number": payload, "thread": threading.current_thread().name}

def gated(payload, context):
    '''Waits for a file to appear.'''
    while not Path(context.options["gate"]).exists():
        time.sleep(0.01)
    return payload
"""


def title(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text().rstrip("\0")


def thread_names(pid: int) -> list[str]:
    return [file.read_text().strip() for file in Path(f"/proc/{pid}/task").glob("*/comm")]


@pytest.fixture
def run(
    write_config: Callable[..., Path], workers: Callable[..., Workers], plant: Plant, topic: str
) -> Callable[..., Workers]:
    """Runs an edge of the given name and model; the plant listens to its results."""

    def start(name: str, model: str, more: str, pre: str = f"{topic}/in") -> Workers:
        edge = (
            f"{{name: {name}, edge_mode: my_models.{model}, "
            f"pre_topic: {pre}, post_topic: {topic}/out, {more}}}"
        )
        app = workers(write_config(edge, models=MODELS))
        plant.subscribe(f"{topic}/out")
        return app

    return start


@pytest.mark.parametrize("by", ["device", "'topic[3]'"])
def test_a_key_is_always_the_same_ones(
    by: str, run: Callable[..., Workers], plant: Plant, topic: str
) -> None:
    """Each keeps its count for itself: it is right only where no other instance counts, too."""
    more = f"instance: 3, share: {{by: {by}}}, pre_qos: 1, post_qos: 1"
    app = run("trio", "Counts", more, pre=f"{topic}/in/+")
    devices, each = [f"d{number}" for number in range(20)], 30
    for count in range(each):
        for device in devices:
            message = {"device": device, "count": count}
            plant.publish_soon(f"{topic}/in/{device}", [message], qos=1)
    results = plant.wait_for(len(devices) * each)
    for device in devices:
        found = [one for one in results if one["device"] == device]
        assert [one["count"] for one in found] == list(range(each))
        assert [one["seen"] for one in found] == list(range(1, each + 1))
        assert len({one["pid"] for one in found}) == 1
    assert len({one["pid"] for one in results}) == 3
    for number in (1, 2, 3):
        instance = f"trio-{number}"
        until(lambda i=instance: app.instance(i)["unacknowledged"] == 0, "all acknowledged")  # type: ignore[misc]


def test_several_topics(run: Callable[..., Workers], plant: Plant, topic: str) -> None:
    run("duo", "signed", "instance: 2, pre_qos: 1", pre=f"[{topic}/a/+, {topic}/b]")
    plant.publish(f"{topic}/a/1", 1, 1)
    plant.publish(f"{topic}/b", 2, 1)
    plant.publish(f"{topic}/c", 3, 1)
    plant.publish(f"{topic}/a/2", 4, 1)
    results = [one["number"] for one in plant.wait_for(3)]
    assert sorted(results) == [1, 2, 4]


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_three_instances_share_the_work(
    qos: int, run: Callable[..., Workers], plant: Plant, topic: str
) -> None:
    app = run("trio", "signed", f"instance: 3, pre_qos: {qos}, post_qos: {qos}")
    plant.publish_all(f"{topic}/in", list(range(3000)), qos=qos)
    results = plant.wait_for(3000)
    numbers = {f"trio-{number}": 0 for number in (1, 2, 3)}
    rows = {name: app.instance(name) for name in numbers}
    until(
        lambda: sum(app.instance(name)["counters"]["published"] for name in numbers) == 3000,
        "the instances have published 3,000 in all",
    )
    assert Counter(result["number"] for result in results) == Counter(range(3000))
    assert {result["pid"] for result in results} == {row["pid"] for row in rows.values()}
    assert len(plant.received) == 3000


def test_without_sharing_each_instance_gets_every_message(
    run: Callable[..., Workers], plant: Plant, topic: str
) -> None:
    app = run("trio", "signed", "instance: 3, share: false, pre_qos: 1")
    plant.publish_all(f"{topic}/in", list(range(200)), qos=1)
    results = plant.wait_for(600)
    pids = [app.instance(f"trio-{number}")["pid"] for number in (1, 2, 3)]
    for pid in pids:
        assert [item["number"] for item in results if item["pid"] == pid] == list(range(200))


@pytest.mark.parametrize("threads", [4, 16])
@pytest.mark.parametrize("qos", [0, 1])
def test_results_come_in_order_of_arrival_however_many_threads_work(
    threads: int, qos: int, run: Callable[..., Workers], plant: Plant, topic: str
) -> None:
    more = f"threads: {threads}, options: {{threads: {threads}}}, pre_qos: {qos}, post_qos: {qos}"
    run("uneven", "Uneven", more)
    plant.publish_all(f"{topic}/in", list(range(500)), qos=qos)
    results = plant.wait_for(500)
    assert [result["number"] for result in results] == list(range(500))
    workers = {result["thread"] for result in results}
    assert workers == {f"model-{number}" for number in range(threads)}


def test_the_kernel_knows_processes_and_threads_by_name(run: Callable[..., Workers]) -> None:
    app = run("trio", "signed", "instance: 3, threads: 2")
    for name in ("trio-1", "trio-2", "trio-3"):
        pid = app.instance(name)["pid"]
        assert title(pid) == f"edge-model: {name} [pre 0 post 0]"
        assert {"pre", "post", "model-0", "model-1"} <= set(thread_names(pid))


def test_the_title_follows_the_backlog_before_the_model(
    run: Callable[..., Workers], plant: Plant, topic: str, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    app = run("slow", "gated", f"options: {{gate: {gate}}}")
    pid = app.instance("slow-1")["pid"]
    plant.publish_all(f"{topic}/in", list(range(10)))
    until(lambda: title(pid) == "edge-model: slow-1 [pre 9 post 0]", "nine wait, one is at work")
    gate.touch()
    until(lambda: title(pid) == "edge-model: slow-1 [pre 0 post 0]", "nothing waits any more")


def test_the_title_follows_the_backlog_after_the_model(
    write_config: Callable[..., Path], workers: Callable[..., Workers], plant: Plant, topic: str
) -> None:
    edge = (
        f"{{name: cut, edge_mode: my_models.signed, pre_topic: {topic}/in, "
        f"post_topic: {topic}/out, post_port: {free_port()}, spool: {{max_bytes: 1}}}}"
    )
    app = workers(write_config(edge, models=MODELS), ready=False)
    app.wait_log("subscribed")
    plant.publish(f"{topic}/in", 0)
    until(lambda: app.instance("cut-1")["spooled"] == 1, "the spool is full")
    plant.publish_all(f"{topic}/in", list(range(10)))
    pid = app.instance("cut-1")["pid"]
    until(lambda: title(pid) == "edge-model: cut-1 [pre 0 post 10]", "ten results wait")


@pytest.mark.parametrize(
    ("queue", "waiting"),
    [
        pytest.param(10_000, 199, id="further than mosquitto's own 20"),
        pytest.param(50, 49, id="no further than the queue is long"),
    ],
)
def test_the_broker_sends_ahead_of_a_slow_model(
    queue: int, waiting: int, run: Callable[..., Workers], plant: Plant, topic: str, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    app = run("slow", "gated", f"pre_qos: 1, queue: {{pre: {queue}}}, options: {{gate: {gate}}}")
    plant.publish_all(f"{topic}/in", list(range(200)), qos=1)
    until(lambda: app.instance("slow-1")["pre_queue"] == waiting, "all but the one at work wait")
    assert app.instance("slow-1")["unacknowledged"] == waiting + 1
    gate.touch()
    assert plant.wait_for(200) == list(range(200))
