"""What a model starts beside itself, and what its libraries want to know of the host."""

from __future__ import annotations

from typing import Any

import pytest
from fleet import Stream, config, edge, set_up, wait_active
from machine import Machine
from support.poll import until

MODELS = """
import os
import subprocess

class echo_by_cat:
    '''Each message goes through a process that was started once.'''
    def __init__(self):
        self.cat = subprocess.Popen(
            ["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __call__(self, payload):
        self.cat.stdin.write(f"{payload}\\n")
        self.cat.stdin.flush()
        return int(self.cat.stdout.readline())

class leaves_sleepers:
    def __init__(self):
        subprocess.Popen(["sleep", "9999"])

    def __call__(self, payload):
        return payload

def asks_the_host(payload):
    import psutil

    return {
        "cores": psutil.cpu_count(),
        "busy": psutil.cpu_times().user > 0,
        "memory": psutil.virtual_memory().total > 0,
        "load": len(os.getloadavg()),
        "interfaces": sorted(psutil.net_if_addrs()),
        "model": "processor" in open("/proc/cpuinfo").read(),
    }
"""

ALL = ("helped-1", "littering-1", "curious-1")


@pytest.fixture(autouse=True)
def base(machine: Machine) -> None:
    edges = [
        edge("helped", model="echo_by_cat"),
        edge("littering", model="leaves_sleepers"),
        edge("curious", model="asks_the_host"),
    ]
    set_up(machine, config(*edges), MODELS)
    machine.reload()
    machine.control("start", *ALL)
    wait_active(machine, *ALL)


def sleepers(machine: Machine) -> int:
    return len(machine.sh("pgrep -xf 'sleep 9999'", check=False).split())


def test_nothing_of_a_killed_worker_lives_on(machine: Machine) -> None:
    for _ in range(3):
        pid = machine.pid("littering-1")
        machine.sh(f"kill -KILL {pid}")

        def is_another(before: int = pid) -> bool:
            return machine.pid("littering-1") not in (0, before) and machine.is_up("littering-1")

        until(is_another, "it was started again", 60.0)
        until(lambda: sleepers(machine) == 1, "the one of the new worker alone")
    machine.control("stop", "littering-1")
    until(lambda: sleepers(machine) == 0, "none is left")


def test_helpers_work_until_the_messages_in_hand_are_done(machine: Machine) -> None:
    machine.record()
    stream = Stream(machine, "helped")
    try:
        for _ in range(3):
            machine.control("restart", "helped-1")
            wait_active(machine, "helped-1")
            stream.flows_on()
        assert stream.finish() == []
    finally:
        stream.stop()
    assert machine.published("pyboot/dead/helped") == []
    machine.end("recorder")


def test_libraries_find_out_about_the_host(machine: Machine) -> None:
    found: Any = machine.ask("curious/in", "curious/out", "1")
    assert '"busy":true' in found
    assert '"memory":true' in found
    assert '"load":3' in found
    assert '"interfaces":["lo"' in found
    assert '"model":true' in found
