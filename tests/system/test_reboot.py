"""What was applied comes back by itself, and stops and starts as one."""

from __future__ import annotations

import pytest
from fleet import Results, config, edge, pids, set_up, unit, units, wait_active
from machine import Machine
from support.poll import until

pytestmark = pytest.mark.systemd

EDGES = (edge("alone"), edge("pair", instance=2), edge("slow", model="slow"))
INSTANCES = ("alone-1", "pair-1", "pair-2", "slow-1")


@pytest.fixture(autouse=True)
def base(machine: Machine) -> None:
    set_up(machine, config(*EDGES))
    machine.run("systemctl", "reload-or-restart", "pyboot")
    machine.run("systemctl", "start", "edge-model.target")
    wait_active(machine, *INSTANCES)


def received(machine: Machine, instance: str) -> int:
    def counters() -> dict[str, int]:
        document = machine.get("/api/instances") or {"instances": []}
        rows = {row["instance"]: row for row in document["instances"]}
        found: dict[str, int] = rows.get(instance, {}).get("counters") or {}
        return found

    return until(counters, "its figures")["received"]


def test_after_a_reboot_all_that_was_applied_works(machine: Machine) -> None:
    machine.write("/run/pyboot/instances/left-1.json", "{}")
    machine.reboot()
    machine.wait_active("pyboot.service", "pyboot.socket", "edge-model.target")
    wait_active(machine, *INSTANCES)
    assert machine.ask("pair/in", "pair/out", "[1]") == "[1]"
    until(lambda: machine.sh("curl -sf http://127.0.0.1:5888/readyz", check=False), "all ready")
    assert units(machine) == dict.fromkeys(INSTANCES, "active")
    assert "left-1" not in machine.sh("ls /run/pyboot/instances")
    assert machine.run("pyboot", "plan").returncode == 0


def test_a_broken_configuration_at_boot_is_said_once(machine: Machine) -> None:
    machine.write("/etc/pyboot/config.yaml", "edge: [{name: alone}]\n")
    machine.reboot()
    until(lambda: machine.show("pyboot", "ActiveState") == "failed", "it gave up")
    assert machine.show("pyboot", "Result") == "exit-code"
    assert machine.show("pyboot", "ExecMainStatus") == "78"
    assert machine.show("pyboot", "NRestarts") == "0"
    journal = machine.journal("--boot", "-u", "pyboot", "_COMM=pyboot")
    assert "/etc/pyboot/config.yaml:1:8: edge[0]: the key `edge_mode` is missing" in journal
    assert units(machine) == {}
    # As soon as it is right, one command brings everything up.
    set_up(machine, config(*EDGES))
    machine.run("systemctl", "start", "pyboot")
    wait_active(machine, *INSTANCES)


def test_the_target_stops_and_starts_all_instances(machine: Machine) -> None:
    results = Results(machine, "slow/out")
    before = received(machine, "slow-1")
    for number in range(3):
        machine.publish("slow/in", str(number), qos=1)
    # The broker has them by then: what the worker has not got yet would come at its next start.
    until(lambda: received(machine, "slow-1") == before + 3, "it has all of them")
    machine.run("systemctl", "stop", "edge-model.target")
    assert results.take(3) == ["0", "1", "2"]
    for instance in INSTANCES:
        assert machine.show(unit(instance), "ActiveState") == "inactive"
        assert machine.show(unit(instance), "Result") == "success"
        assert machine.show(unit(instance), "ExecMainStatus") == "0"
    assert "unfinished" not in machine.journal("-u", "edge-model@*")
    assert machine.is_active("pyboot")
    machine.run("systemctl", "start", "edge-model.target")
    wait_active(machine, *INSTANCES)


def test_nothing_waits_for_an_uplink_that_does_not_come(machine: Machine) -> None:
    """Its broker is on this very host."""
    machine.write(
        "/run/systemd/system/uplink.service",
        "[Unit]\nBefore=network-online.target\n"
        "[Service]\nType=oneshot\nExecStart=/bin/sleep infinity\n",
    )
    machine.run("systemctl", "stop", "network-online.target", "pyboot", *map(unit, INSTANCES))
    machine.sh("systemctl daemon-reload; systemctl start --no-block uplink network-online.target")
    try:
        assert machine.show("network-online.target", "Job") not in ("", "0")
        machine.run("systemctl", "start", "--no-block", "pyboot", *map(unit, INSTANCES))
        wait_active(machine, *INSTANCES)
        assert machine.ask("pair/in", "pair/out", "[1]") == "[1]"
        assert not machine.is_active("network-online.target")
    finally:
        machine.sh("systemctl stop uplink network-online.target; rm /run/systemd/system/uplink.*")


def test_a_restart_of_the_master_leaves_the_workers_alone(machine: Machine) -> None:
    workers, master = pids(machine, *INSTANCES), machine.main_pid("pyboot")
    machine.run("systemctl", "restart", "pyboot")
    assert machine.main_pid("pyboot") != master
    assert pids(machine, *INSTANCES) == workers
    # They find the new one by themselves.
    until(lambda: machine.sh("curl -sf http://127.0.0.1:5888/readyz", check=False), "all ready")
    rows = machine.get("/api/instances")["instances"]
    assert {row["instance"]: row["pid"] for row in rows} == workers
