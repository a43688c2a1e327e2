"""Many instances: that it works, and what it costs. The figures are printed (`pytest -s`)."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import pytest
from fleet import config, edge, pids, set_up, units
from machine import Machine
from support.poll import until

pytestmark = pytest.mark.systemd

FIFTY = {
    "50 edges": config(*(edge(f"m{number}") for number in range(50))),
    "5 edges of 10 instances": config(*(edge(f"m{number}", instance=10) for number in range(5))),
}
# Seconds of the wall clock and of the processor, for a command and all that it waits for.
_TIMED = """
import json, resource, subprocess, sys, time
begin = time.monotonic()
code = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL).returncode
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(json.dumps([code, time.monotonic() - begin, used.ru_utime + used.ru_stime]))
"""

# For writing all files without starting anything.
_SHIM = """#!/bin/sh
case "$*" in *start*) exit 0; esac
exec /usr/bin/systemctl "$@"
"""
# On the machine itself: asking from outside takes more of its processor than what is measured.
_WAIT_FOR_50 = """timeout 90 sh -c '
    until [ "$(systemctl list-units --state=active --no-legend "edge-model@*" | wc -l)" = 50 ]
    do sleep 0.2; done'
"""

Report = Callable[[str], None]


@pytest.fixture
def report(capsys: pytest.CaptureFixture[str]) -> Report:
    def say(text: str) -> None:
        with capsys.disabled():
            print(f"\n{text}")

    return say


def apply_without_starting(machine: Machine, text: str) -> None:
    set_up(machine, text)
    machine.write("/usr/local/bin/systemctl", _SHIM)
    machine.sh("chmod +x /usr/local/bin/systemctl; pyboot apply --boot")
    machine.run("rm", "/usr/local/bin/systemctl")


def timed(machine: Machine, *command: str) -> tuple[int, str]:
    """Exit code of a command, and what it cost."""
    code, wall, cpu = json.loads(machine.run("python3", "-c", _TIMED, *command).stdout)
    return code, f"{wall:.2f} s, {cpu:.2f} s of CPU"


def active(machine: Machine) -> int:
    return list(units(machine).values()).count("active")


@pytest.mark.parametrize("name", FIFTY)
def test_50_instances_get_ready_and_are_left_alone(
    machine: Machine, report: Report, name: str
) -> None:
    machine.run("systemctl", "stop", "edge-model.target")
    apply_without_starting(machine, FIFTY[name])
    assert active(machine) == 0
    begin = time.monotonic()
    machine.run("systemctl", "start", "edge-model.target")
    machine.sh(_WAIT_FOR_50)
    report(f"{name}, from stopped to ready: {time.monotonic() - begin:.1f} s")

    before = pids(machine, *units(machine))
    code, cost = timed(machine, "systemctl", "reload", "pyboot")
    assert code == 0
    report(f"{name}, reload of what is applied: {cost}")
    assert pids(machine, *units(machine)) == before
    until(lambda: machine.sh("curl -sf http://127.0.0.1:5888/readyz", check=False), "all report")
    assert len(machine.get("/queue_size_metrics")["queue_size_metrics"]) == 50


def test_500_instances_are_planned_and_applied(machine: Machine, report: Report) -> None:
    machine.run("systemctl", "stop", "edge-model.target")
    text = config(*(edge(f"m{number}", options={"number": number}) for number in range(500)))
    machine.write("/var/tmp/500.yaml", text)
    code, cost = timed(machine, "pyboot", "plan", "--config", "/var/tmp/500.yaml")
    assert code == 2
    report(f"500 instances, plan of what is new: {cost}")
    apply_without_starting(machine, text)
    assert machine.sh("ls /run/pyboot/instances | wc -l") == "500\n"
    for command in ("plan", "apply"):
        code, cost = timed(machine, "pyboot", command)
        assert code == 0
        report(f"500 instances, {command} of what is applied: {cost}")
    assert active(machine) == 0
