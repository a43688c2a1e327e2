"""Several instances, several threads: the work is shared, order is kept, names tell who is who."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from support.app import Up
from support.broker import free_port
from support.client import Plant
from support.poll import until

MODELS = """
import os
import random
import threading
import time
from pathlib import Path

def signed(payload):
    return {"pid": os.getpid(), "number": payload}

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
    write_config: Callable[..., Path], up: Callable[..., Up], plant: Plant, topic: str
) -> Callable[..., Up]:
    """Runs an edge of the given name and model; the plant listens to its results."""

    def start(name: str, model: str, more: str) -> Up:
        edge = (
            f"{{name: {name}, edge_mode: my_models.{model}, "
            f"pre_topic: {topic}/in, post_topic: {topic}/out, {more}}}"
        )
        master = up(write_config(edge, models=MODELS))
        plant.subscribe(f"{topic}/out")
        return master

    return start


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_three_instances_share_the_work(
    qos: int, run: Callable[..., Up], plant: Plant, topic: str
) -> None:
    master = run("trio", "signed", f"instance: 3, pre_qos: {qos}, post_qos: {qos}")
    plant.publish_all(f"{topic}/in", list(range(3000)), qos=qos)
    results = plant.wait_for(3000)
    numbers = {f"trio-{number}": 0 for number in (1, 2, 3)}
    rows = {name: master.instance(name) for name in numbers}
    until(
        lambda: sum(master.instance(name)["counters"]["published"] for name in numbers) == 3000,
        "the instances have published 3,000 in all",
    )
    assert Counter(result["number"] for result in results) == Counter(range(3000))
    assert {result["pid"] for result in results} == {row["pid"] for row in rows.values()}
    assert len(plant.received) == 3000


def test_without_sharing_each_instance_gets_every_message(
    run: Callable[..., Up], plant: Plant, topic: str
) -> None:
    master = run("trio", "signed", "instance: 3, share: false, pre_qos: 1")
    plant.publish_all(f"{topic}/in", list(range(200)), qos=1)
    results = plant.wait_for(600)
    pids = [master.instance(f"trio-{number}")["pid"] for number in (1, 2, 3)]
    for pid in pids:
        assert [item["number"] for item in results if item["pid"] == pid] == list(range(200))


@pytest.mark.parametrize("threads", [4, 16])
@pytest.mark.parametrize("qos", [0, 1])
def test_results_come_in_order_of_arrival_however_many_threads_work(
    threads: int, qos: int, run: Callable[..., Up], plant: Plant, topic: str
) -> None:
    more = f"threads: {threads}, options: {{threads: {threads}}}, pre_qos: {qos}, post_qos: {qos}"
    run("uneven", "Uneven", more)
    plant.publish_all(f"{topic}/in", list(range(500)), qos=qos)
    results = plant.wait_for(500)
    assert [result["number"] for result in results] == list(range(500))
    workers = {result["thread"] for result in results}
    assert workers == {f"model-{number}" for number in range(threads)}


def test_the_kernel_knows_processes_and_threads_by_name(run: Callable[..., Up]) -> None:
    master = run("trio", "signed", "instance: 3, threads: 2")
    assert title(master.pid) == "pyboot: master"
    for name in ("trio-1", "trio-2", "trio-3"):
        pid = master.instance(name)["pid"]
        assert title(pid) == f"edge-model: {name} [pre 0 post 0]"
        assert {"pre", "post", "model-0", "model-1"} <= set(thread_names(pid))


def test_the_title_follows_the_backlog_before_the_model(
    run: Callable[..., Up], plant: Plant, topic: str, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    master = run("slow", "gated", f"options: {{gate: {gate}}}")
    pid = master.instance("slow-1")["pid"]
    plant.publish_all(f"{topic}/in", list(range(10)))
    until(lambda: title(pid) == "edge-model: slow-1 [pre 9 post 0]", "nine wait, one is at work")
    gate.touch()
    until(lambda: title(pid) == "edge-model: slow-1 [pre 0 post 0]", "nothing waits any more")


def test_the_title_follows_the_backlog_after_the_model(
    write_config: Callable[..., Path], up: Callable[..., Up], plant: Plant, topic: str
) -> None:
    edge = (
        f"{{name: cut, edge_mode: my_models.signed, pre_topic: {topic}/in, "
        f"post_topic: {topic}/out, post_port: {free_port()}, spool: {{max_bytes: 1}}}}"
    )
    master = up(write_config(edge, models=MODELS), ready=False)
    master.wait_log("subscribed")
    plant.publish(f"{topic}/in", 0)
    until(lambda: master.instance("cut-1")["spooled"] == 1, "the spool is full")
    plant.publish_all(f"{topic}/in", list(range(10)))
    pid = master.instance("cut-1")["pid"]
    until(lambda: title(pid) == "edge-model: cut-1 [pre 0 post 10]", "ten results wait")


@pytest.mark.parametrize(
    ("queue", "waiting"),
    [
        pytest.param(10_000, 199, id="further than mosquitto's own 20"),
        pytest.param(50, 49, id="no further than the queue is long"),
    ],
)
def test_the_broker_sends_ahead_of_a_slow_model(
    queue: int, waiting: int, run: Callable[..., Up], plant: Plant, topic: str, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    master = run("slow", "gated", f"pre_qos: 1, queue: {{pre: {queue}}}, options: {{gate: {gate}}}")
    plant.publish_all(f"{topic}/in", list(range(200)), qos=1)
    until(lambda: master.instance("slow-1")["pre_queue"] == waiting, "all but the one at work wait")
    assert master.instance("slow-1")["unacknowledged"] == waiting + 1
    gate.touch()
    assert plant.wait_for(200) == list(range(200))
