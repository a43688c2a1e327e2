"""What is OpenRC's own: links, settings, logs and runlevel, and the life of the package there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from fleet import config, edge, pids, set_up, units, wait_active
from machine import Machine
from support.poll import until

from pyboot_svc.identity import InstanceId
from pyboot_svc.services.users import user_of

pytestmark = pytest.mark.openrc

MODELS = """
import os

def echo(payload):
    return payload

def inside(payload):
    status = open("/proc/self/status").read()
    facts = dict(line.split(":\\t") for line in status.splitlines() if ":\\t" in line)
    return {
        "environment": dict(os.environ),
        "nice": os.getpriority(os.PRIO_PROCESS, 0),
        "cores": sorted(os.sched_getaffinity(0)),
        "uid": os.getuid(),
        "capabilities": facts["CapEff"] + facts["CapBnd"],
        "no_new_privileges": facts["NoNewPrivs"],
        "secret": open(os.environ["CREDENTIALS_DIRECTORY"] + "/pre.password").read(),
    }
"""
PAIR = ("pair-1", "pair-2")
PAIRED = json.loads(config(edge("pair", instance=2)))
AWKWARD = {
    "LINES": "one\ntwo\n",
    "QUOTES": "'single' \"double\" \\ `id`",
    "DOLLAR": "$HOME ${PATH} $$",
    "SPACES": "  around  ",
    "PATH": "/nowhere",
    "EMPTY": "",
}


@pytest.fixture(autouse=True)
def base(machine: Machine) -> None:
    set_up(machine, config(edge("pair", instance=2)), MODELS)
    machine.sh("rc-service pyboot status >/dev/null || rc-service pyboot start")
    machine.reload()
    machine.control("start", *PAIR)
    wait_active(machine, *PAIR)


def test_from_the_installation_to_the_first_result(machine: Machine) -> None:
    """By the configuration as installed, with the .deb of every other host."""
    machine.run("dpkg", "--purge", "pyboot-svc")
    machine.sh("apt-get install -y /var/tmp/pyboot-svc_*.deb 2>&1")
    wait_active(machine, "telm_temperature-1")
    answer = machine.ask(
        "/gridsum/test/telm/in/m1",
        "/gridsum/test/telm/out/m1",
        '{"device": "pump-7", "value": 212, "unit": "F"}',
    )
    assert '"value":100.0' in answer
    shown = machine.sh("rc-status default")
    assert "edge-model.telm_temperature-1" in shown
    assert "pyboot" in shown
    name = "sub_process_telm_temperature_1"
    metrics = {"sub_process_name": name, "pre_queue": 0, "post_queue": 0}
    until(
        lambda: machine.get("/queue_size_metrics") == {"queue_size_metrics": [metrics]},
        "the master shows it",
    )


RELOADED_WHILE_DEAF = """
supervisor=$(cat /run/pyboot-master.pid)
master=$(cat /run/openrc/options/pyboot/child_pid)
kill -STOP $master
kill -ALRM $supervisor
until pgrep -f '/usr/bin/pyboot healt[h] master' >/dev/null; do sleep 0.05; done
! RC_SVCNAME=pyboot supervise-daemon pyboot --signal HUP 2>/dev/null || exit 64
rc-service pyboot reload 2>&1 &
until pgrep -xf 'sleep 0.1' >/dev/null; do sleep 0.05; done
kill -CONT $master
wait $!
"""


def test_a_reload_while_the_supervisor_looks_at_the_masters_health(machine: Machine) -> None:
    """Its control pipe has no reader then: OpenRC's own command fails at once."""
    machine.sh(RELOADED_WHILE_DEAF)
    until(lambda: machine.get("/queue_size_metrics"), "the master is up")


MASTER_SETTINGS = "/etc/conf.d/pyboot"
MASTER_PID = "cat /run/openrc/options/pyboot/child_pid"


@pytest.fixture
def hurried_master(machine: Machine) -> Iterator[None]:
    """Asked every second once it is up; OpenRC waits for an end longer than a test does."""
    before = machine.read(MASTER_SETTINGS)
    seconds = "healthcheck_delay=5\nhealthcheck_timer=1\nhealthcheck_timeout=3\n"
    machine.write(MASTER_SETTINGS, f"{seconds}retry=TERM/90/KILL/5\n")
    restart_master(machine)
    yield
    machine.write(MASTER_SETTINGS, before)
    machine.write("/etc/pyboot/config.yaml", json.dumps(PAIRED))
    restart_master(machine)


def restart_master(machine: Machine) -> None:
    machine.run("rc-service", "pyboot", "restart")
    until(lambda: machine.get("/healthz"), "the master is up")


KILLED_WHILE_ASKED = f"""
master=$({MASTER_PID})
kill -STOP $master
until pgrep -f '/usr/bin/pyboot healt[h] master' >/dev/null; do sleep 0.05; done
kill -KILL $master
"""


@pytest.mark.usefixtures("hurried_master")
def test_a_master_killed_while_its_health_is_asked_for_is_back_at_once(machine: Machine) -> None:
    before = machine.sh(MASTER_PID)
    machine.sh(KILLED_WHILE_ASKED)
    until(lambda: machine.get("/queue_size_metrics"), "the master is up", 60)
    assert machine.sh(MASTER_PID) != before


@pytest.mark.usefixtures("hurried_master")
def test_a_master_that_hangs_is_replaced(machine: Machine) -> None:
    before = machine.sh(MASTER_PID)
    machine.sh(f"kill -STOP {before}")
    until(lambda: machine.get("/queue_size_metrics"), "the master is up", 60)
    assert machine.sh(MASTER_PID) != before
    log = machine.read("/var/log/edge-model/pyboot.log")
    assert "pyboot: health check failed: master: not alive: no answer within 3 s" in log


@pytest.mark.usefixtures("hurried_master")
@pytest.mark.parametrize(
    "text",
    [
        pytest.param("edge: [{name: pair}]\n", id="wrong"),
        pytest.param(json.dumps({**PAIRED, "web": {"port": 5999}}), id="another-address"),
    ],
)
def test_what_is_written_and_not_applied_ends_no_master(machine: Machine, text: str) -> None:
    machine.write("/etc/pyboot/config.yaml", text)
    assert lives_through_a_health_check(machine)


@pytest.mark.usefixtures("hurried_master")
def test_a_master_that_wants_to_know_who_asks_is_healthy(machine: Machine) -> None:
    text = json.dumps({**PAIRED, "web": {"auth": {"file": "/etc/pyboot/web.auth"}}})
    machine.write("/etc/pyboot/config.yaml", text)
    machine.run("pyboot", "web", "password")
    restart_master(machine)
    assert lives_through_a_health_check(machine)
    assert machine.sh("curl -so /dev/null -w '%{http_code}' http://127.0.0.1:5888/") == "401"


def lives_through_a_health_check(machine: Machine) -> bool:
    before = machine.sh(MASTER_PID)
    asking = "pgrep -of '/usr/bin/pyboot healt[h] master'"
    first = until(lambda: machine.sh(asking, check=False), "its health is asked for")
    until(lambda: machine.sh(asking, check=False) not in ("", first), "and again")
    return machine.sh(MASTER_PID) == before and machine.get("/healthz") == {"status": "ok"}


def test_after_a_reboot_all_that_was_applied_works(machine: Machine) -> None:
    machine.reboot()
    wait_active(machine, *PAIR)
    assert machine.ask("pair/in", "pair/out", "[1]") == "[1]"
    until(lambda: machine.sh("curl -sf http://127.0.0.1:5888/readyz", check=False), "all ready")
    assert machine.run("pyboot", "plan").returncode == 0


def test_a_worker_runs_as_the_configuration_says(machine: Machine) -> None:
    machine.write("/etc/pyboot/password", "secret")
    machine.run("chmod", "600", "/etc/pyboot/password")
    document = json.loads(
        config(
            edge(
                "odd",
                model="inside",
                pre_broker="named",
                environment=AWKWARD,
                limits={"nice": 5, "cpus": "0"},
            )
        )
    )
    document["brokers"] = {
        "named": {"host": "127.0.0.1", "username": "u", "password_file": "/etc/pyboot/password"}
    }
    set_up(machine, json.dumps(document), MODELS)
    machine.reload()
    found = json.loads(machine.ask("odd/in", "odd/out", "1"))
    assert {name: found["environment"].get(name) for name in AWKWARD} == AWKWARD
    assert found["environment"]["STATE_DIRECTORY"] == "/var/lib/edge-model/odd-1"
    assert (found["nice"], found["cores"], found["secret"]) == (5, [0], "secret")
    assert found["uid"] == int(machine.sh(f"id -u {user_of(InstanceId('odd', 1))}"))
    assert set(found["capabilities"]) == {"0"}
    assert found["no_new_privileges"] == "1"
    machine.control("stop", "odd-1")
    assert machine.sh("find /run/pyboot/credentials -name 'odd*'") == ""


def test_an_administrators_settings_win_for_one_instance(machine: Machine) -> None:
    file = "/etc/conf.d/edge-model.pair-2"
    machine.write(file, 'worker_args="--log-format json"\n')
    try:
        machine.control("restart", "pair-2")
        wait_active(machine, "pair-2")
        assert machine.log_of("pair-2").splitlines()[-1].startswith("{")
        assert not machine.log_of("pair-1").splitlines()[-1].startswith("{")
    finally:
        machine.run("rm", file)
    machine.control("restart", "pair-2")


def test_logs_are_rotated_under_the_worker(machine: Machine) -> None:
    log = "/var/log/edge-model/pair-1.log"
    machine.run("logrotate", "--force", "/etc/logrotate.d/pyboot")
    assert "subscribed to" in machine.read(f"{log}.1")
    assert machine.read(log) == ""
    machine.control("stop", "pair-1")
    assert machine.read(log).endswith("pair-1: stopped\n")


def test_logs_are_for_root_and_bounded_between_rotations(machine: Machine) -> None:
    log, settings = "/var/log/edge-model/pair-2.log", "/etc/conf.d/edge-model.pair-2"
    assert machine.sh(f"stat -c '%a %U %G' {log}").split() == ["640", "root", "adm"]
    machine.write(settings, "healthcheck_delay=1\nhealthcheck_timer=1\nlog_max_bytes=100000\n")
    try:
        machine.control("restart", "pair-2")
        wait_active(machine, "pair-2")
        machine.sh(f"head -c 300000 /dev/zero >>{log}")
        until(lambda: int(machine.sh(f"stat -c %s {log}")) < 100_000, "it begins anew", 60)
        kept = machine.sh(f"stat -c '%a %U %G %s' {log}.full").split()
        assert kept[:3] == ["640", "root", "adm"]
        assert int(kept[3]) >= 300_000
    finally:
        machine.run("rm", settings)
    machine.control("restart", "pair-2")


def test_the_script_itself_starts_nothing(machine: Machine) -> None:
    refused = machine.run("rc-service", "edge-model", "start", check=False)
    assert refused.returncode != 0
    assert "pyboot apply" in refused.stderr + refused.stdout


def test_a_master_does_not_start_with_a_broken_configuration(machine: Machine) -> None:
    before = pids(machine, *PAIR)
    machine.run("rc-service", "pyboot", "stop")
    machine.write("/etc/pyboot/config.yaml", "edge: [{name: pair}]\n")
    failed = machine.run("rc-service", "pyboot", "start", check=False)
    assert failed.returncode != 0
    assert "the key `edge_mode` is missing" in failed.stdout + failed.stderr
    assert pids(machine, *PAIR) == before


def test_reinstalling_the_same_version_touches_no_worker_and_starts_none(
    machine: Machine, package: Path
) -> None:
    before = pids(machine, *PAIR)
    machine.control("stop", "pair-2")
    machine.sh(f"apt-get install --reinstall -y /var/tmp/{package.name} 2>&1")
    assert pids(machine, *PAIR) == {**before, "pair-2": 0}
    assert machine.run("rc-service", "pyboot", "status", check=False).returncode == 0


def test_removal_stops_everything_and_purge_leaves_nothing(machine: Machine, package: Path) -> None:
    machine.run("apt-get", "-y", "purge", "pyboot-svc")
    assert machine.run("pgrep", "-f", "^(edge-model|pyboot): ", check=False).stdout == ""
    names = "-name '*pyboot*' -o -name '*edge-model*'"
    found = machine.sh(f"find /run /etc /usr /opt /srv /var {names}").split()
    assert [path for path in found if not path.endswith(".deb") and "/log/" not in path] == []
    for database in ("passwd", "group"):
        for name in ("pyboot", "edge-model"):
            assert machine.run("getent", database, name, check=False).stdout == ""
        assert machine.sh(f"getent {database} | grep ^em-", check=False) == ""
    machine.install(package)
    machine.reload()
    assert set(units(machine)) == {"telm_temperature-1"}
