"""`pyboot up` restarts a worker that makes no progress, and says what held it; a master that a
watchdog ends says that of itself."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from support.app import Running, Up, run_pyboot
from support.client import Plant
from support.poll import until

from pyboot_svc.bench.threads import gil_enabled

MODELS = """
import re, threading

def same(payload):
    return payload

def endless_loop(payload):
    while payload == "hang":
        pass
    return payload

def backtracking(payload):
    # One call of C code that keeps the GIL.
    if payload == "hang":
        re.match("(a+)+$", "a" * 60 + "b")
    return payload

def deadlock(payload):
    from pyboot_svc.worker.mqtt.inbox import MqttInbox
    def lock_up(self, batch):
        threading.Event().wait()
    if payload == "hang":
        MqttInbox.on_messages = lock_up
    return payload
"""
STALLS = {
    "endless_loop": "use the processor",
    # Without a GIL it holds up nobody else.
    "backtracking": "no answer for" if gil_enabled() else "use the processor",
    "deadlock": "thread pre made no progress",
}


@pytest.fixture
def master(write_config: Callable[..., Path], up: Callable[..., Up], topic: str) -> Up:
    edges = [
        f"{{name: {name}, edge_mode: my_models.{name}, model_timeout: 1, "
        f"pre_topic: {topic}/{name}/in, post_topic: {topic}/{name}/out}}"
        for name in (*STALLS, "same")
    ]
    return up(write_config(*edges, models=MODELS), "--watchdog-seconds", "6")


def restarts(master: Up, name: str) -> int:
    count: int = master.instance(f"{name}-1")["service"]["restarts"]
    return count


def test_three_stalls_end_with_every_stack_and_a_restart(
    master: Up, plant: Plant, topic: str
) -> None:
    pids = {name: master.instance(f"{name}-1")["pid"] for name in (*STALLS, "same")}
    plant.subscribe(f"{topic}/+/out")
    for name in STALLS:
        plant.publish(f"{topic}/{name}/in", "hang")
    until(lambda: plant.payloads(f"{topic}/deadlock/out"), "the deadlock is prepared")
    plant.publish(f"{topic}/deadlock/in", "hang")
    for name in STALLS:
        until(lambda name=name: restarts(master, name) >= 1, f"{name} is restarted", 80)  # type: ignore[misc]
    master.wait_ready(60)
    log = master.log
    for name, reason in STALLS.items():
        assert f"{name}-1: stalled: " in log
        assert reason in log.partition(f" {name}-1: stalled: ")[2].partition("\n")[0]
        assert f"{name}-1: killed by SIGABRT" in log
        assert f"{name}-1 | > Fatal Python error: Aborted" in log
        stacks = [line for line in log.splitlines() if line.startswith(f"{name}-1 | > Thread 0x")]
        assert len(stacks) >= 2
        plant.publish(f"{topic}/{name}/in", "fine again")
        out = f"{topic}/{name}/out"
        until(lambda out=out: "fine again" in plant.payloads(out), f"{name} works again")  # type: ignore[misc]
        assert restarts(master, name) == 1
    assert master.instance("same-1")["pid"] == pids["same"]
    assert restarts(master, "same") == 0


def test_without_a_watchdog_a_worker_is_left_alone(
    write_config: Callable[..., Path], up: Callable[..., Up], plant: Plant, topic: str
) -> None:
    edge = (
        f"{{name: endless_loop, edge_mode: my_models.endless_loop, model_timeout: 1, "
        f"pre_topic: {topic}/in, post_topic: {topic}/out}}"
    )
    master = up(write_config(edge, models=MODELS), "--watchdog-seconds", "0")
    pid = master.instance("endless_loop-1")["pid"]
    plant.publish(f"{topic}/in", "hang")
    master.wait_log("endless_loop-1: stalled")
    plant.subscribe(f"{topic}/out").publish(f"{topic}/in", "next")
    plant.wait_for(1)
    assert master.instance("endless_loop-1")["pid"] == pid


def test_a_master_that_a_watchdog_ends_leaves_every_stack(
    write_config: Callable[..., Path], tmp_path: Path, track: Callable[[Running], Running]
) -> None:
    edge = "{name: same, edge_mode: my_models.same, pre_topic: in, post_topic: out}"
    config, run_dir = write_config(edge, models=MODELS), ("--run-dir", str(tmp_path / "run"))
    master = Up(tmp_path, config, *run_dir, command="master", ready=False)
    track(master)
    asked = run_pyboot("health", "master", *run_dir)
    assert (asked.returncode, asked.stdout) == (0, "master: ready\n")
    assert master.stop(signal.SIGABRT) == -signal.SIGABRT
    stacks = master.log[master.log.index("Fatal Python error: Aborted") :]
    assert stacks.count("Thread 0x") >= 3
    assert 'hub.py", line' in stacks
    asked = run_pyboot("health", "master", *run_dir)
    assert asked.returncode == 1
    assert "it was killed: nobody listens at" in asked.stdout
