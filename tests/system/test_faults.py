"""What becomes of a worker, and of the master, that dies, hangs, fails or has to wait."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from fleet import unit
from machine import Machine
from support.poll import until

MODELS = """
import re, threading, time

def same(payload):
    return payload

def slow(payload):
    time.sleep(0.5)
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

def hoard(payload):
    return len(bytearray(payload))

class Big:
    def __init__(self):
        time.sleep(14)
    def __call__(self, payload):
        return payload
"""

CONFIG = """
defaults: {pre_broker: 127.0.0.1, post_broker: 127.0.0.1}
edge:
  - {name: same, pre_topic: same/in, post_topic: same/out, edge_mode: test_models.same}
  - name: endless_loop
    pre_topic: endless_loop/in
    post_topic: endless_loop/out
    edge_mode: test_models.endless_loop
    model_timeout: 1
  - name: backtracking
    pre_topic: backtracking/in
    post_topic: backtracking/out
    edge_mode: test_models.backtracking
  - name: deadlock
    pre_topic: deadlock/in
    post_topic: deadlock/out
    edge_mode: test_models.deadlock
  - {name: absent_module, pre_topic: x/in, post_topic: x/out, edge_mode: test_modles.same}
  - {name: absent_attribute, pre_topic: x/in, post_topic: x/out, edge_mode: test_models.smae}
  - {name: failing_import, pre_topic: x/in, post_topic: x/out, edge_mode: test_broken.same}
  - {name: big, pre_topic: big/in, post_topic: big/out, edge_mode: test_models.Big}
  - name: far
    pre_broker: 127.0.0.1
    pre_port: 1884
    pre_topic: far/in
    post_topic: far/out
    edge_mode: test_models.same
  - name: drain_0
    pre_topic: drain_0/in
    post_topic: drain_0/out
    edge_mode: test_models.slow
  - name: drain_1
    pre_topic: drain_1/in
    pre_qos: 1
    post_topic: drain_1/out
    post_qos: 1
    edge_mode: test_models.slow
  - name: cut_short
    pre_topic: cut_short/in
    pre_qos: 1
    post_topic: cut_short/out
    post_qos: 1
    edge_mode: test_models.slow
"""
STALLS = {"endless_loop": "endless_loop", "backtracking": "backtracking", "deadlock": "lock_up"}
BROKEN = {
    "absent_module": "there is no module 'test_modles'",
    "absent_attribute": "module test_models has no 'smae'",
    "failing_import": "importing test_broken failed: ZeroDivisionError",
}
GOOD = ("same-1", *(f"{name}-1" for name in STALLS), "far-1")
# Of the instances whose tests are about it. Starting Python takes a busy host 3 s at times.
START_SECONDS = 10
FAR_BROKER = "far-broker"


def drop_in(machine: Machine, name: str, *directives: str) -> None:
    text = "\n".join(["[Service]", *directives, ""])
    machine.write(f"/etc/systemd/system/{name}.d/test.conf", text)


def hurry(machine: Machine) -> None:
    """Stalls and slow starts are seen within seconds, and one instance has little time to drain.

    Of the instances whose tests need it: on a busy host, others would be restarted for nothing.
    """
    if machine.init == "systemd":
        for name in STALLS:
            drop_in(machine, unit(f"{name}-1"), "WatchdogSec=5s")
        for name in ("big-1", "far-1"):
            drop_in(machine, unit(name), f"TimeoutStartSec={START_SECONDS}s")
        command = "/usr/bin/pyboot worker --drain-seconds 2 %i"
        drop_in(machine, unit("cut_short-1"), "ExecStart=", f"ExecStart={command}")
        return
    for name in STALLS:
        seconds = "healthcheck_delay=5\nhealthcheck_timer=3\nhealthcheck_timeout=5\n"
        machine.write(f"/etc/conf.d/edge-model.{name}-1", seconds)
    machine.write("/etc/conf.d/edge-model.cut_short-1", 'worker_args="--drain-seconds 2"\n')


@pytest.fixture(scope="module", autouse=True)
def plant(machine: Machine) -> None:
    machine.record()
    start_far_broker(machine)
    hurry(machine)
    machine.write("/etc/pyboot/models/test_models.py", MODELS)
    machine.write("/etc/pyboot/models/test_broken.py", "ratio = 1 / 0\n")
    machine.write("/etc/pyboot/config.yaml", CONFIG)
    # It fails, because of the broken models, and has started everything else by then.
    machine.reload(check=False)
    machine.wait_up(*GOOD)


def start_far_broker(machine: Machine) -> None:
    machine.begin(FAR_BROKER, "exec mosquitto -p 1884")


def answers(machine: Machine, name: str, payload: str) -> bool:
    """Whether the model is at work; asks it with a message."""
    before = len(machine.published(f"{name}/out"))
    machine.publish(f"{name}/in", json.dumps(payload))
    until(lambda: len(machine.published(f"{name}/out")) > before, f"an answer of {name}")
    return machine.published(f"{name}/out")[-1] == json.dumps(payload)


def restarts(machine: Machine, instance: str) -> int:
    return machine.restarts(instance)


def is_measured(machine: Machine, instance: str) -> bool:
    """Whether the master has figures of it, which come over the metrics socket."""
    wanted = f"sub_process_{instance.replace('-', '_')}"
    answer = machine.get("/queue_size_metrics") or {"queue_size_metrics": []}
    rows = {row["sub_process_name"]: row for row in answer["queue_size_metrics"]}
    return rows.get(wanted, {}).get("pre_queue") is not None


def test_a_killed_worker_comes_back_and_is_measured_again(machine: Machine) -> None:
    pid = machine.pid("same-1")
    machine.run("kill", "-KILL", str(pid))
    until(lambda: restarts(machine, "same-1") == 1, "a restart")
    machine.wait_up("same-1")
    assert machine.pid("same-1") != pid
    until(lambda: is_measured(machine, "same-1"), "its figures")
    assert answers(machine, "same", "back")


def test_the_workers_do_not_notice_that_the_master_was_killed(machine: Machine) -> None:
    def pids() -> list[int]:
        return [machine.pid(name) for name in ("same-1", "big-1", "far-1")]

    def inode() -> str:
        return machine.sh("stat -c %i /run/pyboot/metrics.sock")

    before, socket = pids(), inode()
    machine.run("pkill", "--signal=KILL", "-f", "^pyboot: master")
    assert answers(machine, "same", "meanwhile")
    # OpenRC notices the end of one when the health check of the moment is over.
    until(lambda: is_measured(machine, "same-1"), "figures again", 60)
    assert pids() == before
    if machine.init == "systemd":  # which holds the socket meanwhile
        assert inode() == socket


@pytest.fixture(scope="module")
def stalled(machine: Machine) -> None:
    """All three hang at the same time: it takes the deadlock's thread 15 s to be missed."""
    for name in STALLS:
        machine.publish(f"{name}/in", '"hang"')
    until(lambda: machine.published("deadlock/out"), "the deadlock is prepared")
    machine.publish("deadlock/in", '"hang"')


@pytest.mark.usefixtures("stalled")
@pytest.mark.parametrize("name", STALLS)
def test_a_stall_ends_with_every_stack_in_the_journal_and_a_restart(
    machine: Machine, name: str
) -> None:
    until(lambda: restarts(machine, f"{name}-1") >= 1, "a restart", timeout=60)
    journal = machine.log_of(f"{name}-1")
    reason = {"systemd": "Failed with result 'watchdog'", "openrc": "health check failed: "}
    assert reason[machine.init] in journal
    # Three threads at least: the main one, the connections', the model's.
    stacks = journal[journal.index("Fatal Python error: Aborted") :]
    assert stacks.count("Thread 0x") >= 3
    assert f"in {STALLS[name]}" in stacks
    machine.wait_up(f"{name}-1")
    assert answers(machine, name, "fine again")
    assert restarts(machine, f"{name}-1") == 1


@pytest.mark.usefixtures("stalled")
@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("endless_loop", "1 call(s) of the model exceed model_timeout and use the processor"),
        ("deadlock", "thread pre made no progress for"),
    ],
)
def test_why_it_stalls_is_said_while_python_can(machine: Machine, name: str, reason: str) -> None:
    # Either the worker says it, or the health check that was faster.
    until(lambda: reason in machine.log_of(f"{name}-1"), "the reason in the log")


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_model_is_not_restarted_and_says_why(machine: Machine, name: str) -> None:
    until(lambda: machine.state(f"{name}-1") == "failed", "it gives up")
    if machine.init == "openrc":
        assert machine.log_of(f"{name}-1").count(f"pyboot: {BROKEN[name]}") == 1
        return
    broken = unit(f"{name}-1")
    assert machine.show(broken, "ExecMainStatus") == "78"
    assert machine.show(broken, "NRestarts") == "0"
    assert BROKEN[name] in machine.journal("-u", broken, "-p", "crit")
    assert BROKEN[name] in machine.show(broken, "StatusText")
    assert BROKEN[name] in machine.sh(f"systemctl status {broken}", check=False)


@pytest.mark.systemd
def test_a_model_may_take_longer_to_load_than_a_start_may_last(machine: Machine) -> None:
    machine.wait_up("big-1")
    assert machine.show(unit("big-1"), "TimeoutStartUSec") == f"{START_SECONDS}s"
    assert machine.show(unit("big-1"), "NRestarts") == "0"
    assert "timed out" not in machine.log_of("big-1")
    assert answers(machine, "big", "loaded")


@pytest.mark.systemd
def test_a_start_waits_for_its_broker(machine: Machine) -> None:
    machine.end(FAR_BROKER)
    machine.run("systemctl", "restart", "--no-block", unit("far-1"))
    until(lambda: machine.state("far-1") == "activating", "it starts")
    pid = machine.pid("far-1")
    assert restarts(machine, "far-1") == 0
    began = int(machine.show(unit("far-1"), "InactiveExitTimestampMonotonic")) / 1e6

    def up() -> float:
        return float(machine.read("/proc/uptime").split()[0])

    until(lambda: up() > began + START_SECONDS + 3, "the start lasts longer than TimeoutStartSec=")
    assert machine.state("far-1") == "activating"
    assert "127.0.0.1:1884: connection refused" in machine.show(unit("far-1"), "StatusText")
    start_far_broker(machine)
    machine.wait_up("far-1")
    assert machine.pid("far-1") == pid
    assert restarts(machine, "far-1") == 0


@pytest.mark.parametrize("qos", [0, 1])
def test_what_is_in_hand_is_finished_at_a_stop(machine: Machine, qos: int) -> None:
    name = f"drain_{qos}"
    machine.wait_up(f"{name}-1")
    hand_out(machine, name, 4, qos)
    machine.control("stop", f"{name}-1")
    assert machine.published(f"{name}/out") == ["0", "1", "2", "3"]
    assert ended_well(machine, f"{name}-1")


def test_what_a_stop_leaves_unfinished_comes_back_at_qos_1(machine: Machine) -> None:
    # On a busy host it takes some seconds until the stop begins.
    count = 30
    machine.wait_up("cut_short-1")
    hand_out(machine, "cut_short", count, 1)
    machine.control("stop", "cut_short-1")
    assert ended_well(machine, "cut_short-1")
    assert "messages unfinished" in machine.log_of("cut_short-1")
    before = set(machine.published("cut_short/out"))
    assert 0 < len(before) < count
    machine.control("start", "cut_short-1")
    everything = {str(number) for number in range(count)}
    until(lambda: set(machine.published("cut_short/out")) == everything, "the rest", 60)


def hand_out(machine: Machine, name: str, count: int, qos: int) -> None:
    """Publish numbers, as many as the slow model has its hands full with, and see it begin."""
    lines = "".join(f"{number}\n" for number in range(count))
    machine.run("mosquitto_pub", "-t", f"{name}/in", "-q", str(qos), "-l", input=lines)
    until(lambda: machine.published(f"{name}/out"), f"the first answer of {name}")


def ended_well(machine: Machine, instance: str) -> bool:
    if machine.init == "openrc":
        ended = machine.log_of(instance).splitlines()[-1]
        return machine.state(instance) == "inactive" and f"{instance}: stopped" in ended
    wanted = {"ActiveState": "inactive", "Result": "success", "ExecMainStatus": "0"}
    return {name: machine.show(unit(instance), name) for name in wanted} == wanted


@pytest.fixture
def bounded(image: Path, package: Path) -> Iterator[Machine]:
    """A machine on which MemoryMax= is enforced."""
    with Machine(image, memory_limits=True) as booted:
        booted.install(package)
        yield booted


@pytest.mark.systemd
def test_a_model_that_takes_too_much_memory_is_killed_and_restarted(bounded: Machine) -> None:
    bounded.record()
    bounded.write("/etc/pyboot/models/test_models.py", MODELS)
    bounded.write(
        "/etc/pyboot/config.yaml",
        """
edge:
  - name: hoard
    pre_broker: 127.0.0.1
    pre_topic: hoard/in
    edge_mode: test_models.hoard
    post_broker: 127.0.0.1
    post_topic: hoard/out
    limits: {memory: 120M}
""",
    )
    bounded.run("systemctl", "reload", "pyboot")
    bounded.wait_active(unit("hoard-1"))
    bounded.publish("hoard/in", str(30 * 1024 * 1024))
    until(lambda: bounded.published("hoard/out"), "an answer within the limit")
    bounded.publish("hoard/in", str(400 * 1024 * 1024))
    until(lambda: restarts(bounded, "hoard-1") == 1, "a restart")
    bounded.wait_active(unit("hoard-1"))
    journal = bounded.journal("-u", unit("hoard-1"))
    assert "status=9/KILL" in journal
    bounded.publish("hoard/in", "1024")
    until(lambda: bounded.published("hoard/out")[-1] == "1024", "an answer after the restart")


@pytest.fixture
def contained(image: Path, package: Path) -> Iterator[Machine]:
    """A machine that may make no namespaces, as in a container without CAP_SYS_ADMIN."""
    with Machine(image, drop_capability="CAP_SYS_ADMIN") as booted:
        booted.install(package)
        yield booted


@pytest.mark.systemd
def test_what_the_host_forbids_is_said_with_the_drop_ins_that_help(contained: Machine) -> None:
    name = "telm_temperature-1"
    until(lambda: "226" in contained.run("pyboot", "status", check=False).stdout, "why it fails")
    failed = contained.run("pyboot", "apply", check=False)
    assert failed.returncode == 69
    assert "exit status 226 (NAMESPACE): the host forbids its sandbox" in failed.stderr

    def told() -> list[str]:
        """Not while systemd is trying again: what was wrong the last time is gone then."""
        shown = contained.run("pyboot", "status", check=False).stdout
        return re.split("^# (/etc/systemd/.*)$", shown, flags=re.MULTILINE)[1:]

    drop_ins = until(told, "what helps")
    assert len(drop_ins) == 4
    for path, text in zip(drop_ins[::2], drop_ins[1::2], strict=True):
        assert path in failed.stderr
        contained.write(path, text)
    contained.run("systemctl", "daemon-reload")
    contained.run("systemctl", "restart", "pyboot")
    contained.sh("systemctl restart 'edge-model@*'")
    contained.wait_up(name)
    assert contained.run("pyboot", "apply").stdout == "unchanged: nothing to do\n"
