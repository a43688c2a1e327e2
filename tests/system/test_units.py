"""What the unit of an instance holds it to: limits, environment and sandbox."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from fleet import unit
from machine import Machine
from support.poll import until

pytestmark = pytest.mark.systemd

MODELS = """
def evaluate(source):
    '''Runs the payload as Python inside the sandbox; gives its `result`, or what it ran into.'''
    scope = {}
    try:
        exec(source, scope)
    except OSError as error:
        return {"error": str(error)}
    return {"result": scope["result"]}
"""

AWKWARD = {
    "NEWLINE": "1\nExecStart=/bin/false\n[Service]\nExecStartPost=/bin/false",
    "PERCENT": "%h %i %% 100%",
    "QUOTES": "\"double\" 'single'",
    "BACKSLASH": "a\\n \\x41 \\",
    "DOLLAR": "$HOME ${PATH} $$",
    "COMMENT": "; no comment # here",
    "SPACES": "  around  ",
    "CONTROL": "\ttab \rreturn \x1b[0m \x7f",
    "UNICODE": "Grüße \u00a0 \u200b \U0001f525",
    "EMPTY": "",
}
AWKWARD_FOLDER = "/srv/a b\u00a0c \"d\" 'e' 100% $HOME \\x41 ;#"

# An address that is not loopback's, with a broker of its own.
ELSEWHERE = "192.0.2.1"
ELSEWHERE_CONF = f"listener 1884 {ELSEWHERE}\nallow_anonymous true\n"

CONFIG = f"""
defaults: {{pre_broker: 127.0.0.1, post_broker: 127.0.0.1, edge_mode: test_models.evaluate}}
edge:
  - {{name: strict, pre_topic: strict/in, post_topic: strict/out, instance: 2}}
  - name: limited
    pre_topic: limited/in
    post_topic: limited/out
    limits: {{memory: 200M, cpu: 80%, tasks: 64, nice: 5, cpus: "0"}}
  - name: awkward
    pre_topic: awkward/in
    post_topic: awkward/out
    environment: {yaml.safe_dump(AWKWARD, default_flow_style=True, width=1000).strip()}
  - name: open
    pre_topic: open/in
    post_topic: open/out
    sandbox:
      write: [/srv/open, {json.dumps(AWKWARD_FOLDER, ensure_ascii=False)}]
      devices: [/dev/pyboot-tun]
      groups: [dialout]
      jit: true
      network: true
  - {{name: elsewhere, pre_topic: e/in, post_topic: e/out, pre_broker: {ELSEWHERE}, pre_port: 1884}}
"""
NAMES = ("strict-1", "strict-2", "limited-1", "awkward-1", "open-1", "elsewhere-1")


@pytest.fixture(scope="module", autouse=True)
def plant(machine: Machine) -> None:
    machine.record()
    machine.run("mkdir", "--mode=777", "/srv/open", "/srv/closed", AWKWARD_FOLDER)
    machine.sh("echo secret >/srv/for-dialout && chmod 640 /srv/for-dialout")
    machine.run("chgrp", "dialout", "/srv/for-dialout")
    machine.run("mknod", "--mode=666", "/dev/pyboot-tun", "c", "10", "200")
    machine.run("mknod", "--mode=666", "/dev/pyboot-fuse", "c", "10", "229")
    machine.run("ip", "address", "add", f"{ELSEWHERE}/32", "dev", "lo")
    machine.write("/var/tmp/elsewhere.conf", ELSEWHERE_CONF)
    machine.run("systemd-run", "mosquitto", "-c", "/var/tmp/elsewhere.conf")
    machine.write(
        # What the manager itself hands over, before the worker has a say.
        f"/etc/systemd/system/{unit('awkward-1')}.d/environment.conf",
        "[Service]\nExecStartPre=/bin/sh -c 'env -0 >$$STATE_DIRECTORY/environment'\n",
    )
    machine.write("/etc/pyboot/models/test_models.py", MODELS)
    machine.write("/etc/pyboot/config.yaml", CONFIG)
    machine.run("systemctl", "reload", "pyboot")
    machine.wait_active(*map(unit, NAMES))


def answer(machine: Machine, name: str, source: str) -> dict[str, Any]:
    before = len(machine.published(f"{name}/out"))
    machine.publish(f"{name}/in", json.dumps(source))
    until(lambda: len(machine.published(f"{name}/out")) > before, f"an answer of {name}")
    found: dict[str, Any] = json.loads(machine.published(f"{name}/out")[-1])
    return found


def inside(machine: Machine, name: str, source: str) -> Any:
    """Run a piece of Python in a worker; gives its `result`."""
    found = answer(machine, name, source)
    assert "error" not in found, found
    return found["result"]


def refusal(machine: Machine, name: str, source: str) -> str:
    """Run a piece of Python in a worker that must not get away with it; gives its OSError."""
    found = answer(machine, name, source)
    assert "error" in found, found
    return str(found["error"])


def test_limits_are_those_of_the_configuration(machine: Machine) -> None:
    wanted = {
        "MemoryMax": str(200 * 1024 * 1024),
        "CPUQuotaPerSecUSec": "800ms",
        "TasksMax": "64",
        "Nice": "5",
        "CPUAffinity": "0",
        "AllowedCPUs": "0",
    }
    assert {name: machine.show(unit("limited-1"), name) for name in wanted} == wanted


def test_a_worker_keeps_to_its_cores_with_its_libraries_threads(machine: Machine) -> None:
    source = """
import os
result = [os.getpriority(os.PRIO_PROCESS, 0), list(os.sched_getaffinity(0)), dict(os.environ)]
"""
    nice, cores, environment = inside(machine, "limited", source)
    assert (nice, cores) == (5, [0])
    for library in ("OMP", "OPENBLAS", "MKL", "NUMEXPR"):
        assert environment[f"{library}_NUM_THREADS"] == "1"


def test_without_limits_there_are_none_but_that_it_leaves_memory_to_others(
    machine: Machine,
) -> None:
    alone, all_of_them = (
        int(machine.show(name, "MemoryMax")) for name in (unit("strict-1"), "edge-model.slice")
    )
    assert 0.5 * all_of_them < alone < all_of_them
    assert machine.show(unit("strict-1"), "CPUQuotaPerSecUSec") == "infinity"
    environment = inside(machine, "strict", "import os; result = dict(os.environ)")
    assert "OMP_NUM_THREADS" not in environment


def test_awkward_values_of_variables_arrive_literally(machine: Machine) -> None:
    environment = inside(machine, "awkward", "import os; result = dict(os.environ)")
    assert {name: environment.get(name) for name in AWKWARD} == AWKWARD


def test_the_manager_itself_hands_them_over_literally(machine: Machine) -> None:
    written = machine.read("/var/lib/edge-model/awkward-1/environment")
    environment = dict(item.split("=", 1) for item in written.split("\0") if item)
    assert {name: environment.get(name) for name in AWKWARD} == AWKWARD


def test_no_value_adds_a_directive(machine: Machine) -> None:
    started = machine.show(unit("awkward-1"), "ExecStart")
    assert started.count("path=") == 1
    assert "argv[]=/usr/bin/pyboot worker awkward-1 ;" in started
    assert machine.show(unit("awkward-1"), "ExecStartPost") == ""
    # systemd names the file in what it can't make sense of.
    assert "50-pyboot.conf" not in machine.journal("_PID=1")


# In all of these folders anybody may write, so that it is the sandbox that forbids it.
@pytest.mark.parametrize(
    "folder", ["/srv/closed", "/run/lock", "/run/open", "/opt/open", "/usr/local/open"]
)
def test_a_model_cannot_write_outside_its_state_directory(machine: Machine, folder: str) -> None:
    machine.run("mkdir", "--parents", "--mode=777", folder)
    source = f"result = open('{folder}/file', 'w').write('x')"
    assert "Read-only file system" in refusal(machine, "strict", source)


def test_a_models_state_directory_and_private_temporary_files(machine: Machine) -> None:
    source = """
import os
for folder in (os.environ["STATE_DIRECTORY"], "/tmp", "/var/tmp"):
    with open(f"{folder}/note", "w") as file:
        file.write("mine")
result = os.environ["STATE_DIRECTORY"]
"""
    assert inside(machine, "open", source) == "/var/lib/edge-model/open-1"
    assert machine.read("/var/lib/edge-model/open-1/note") == "mine"
    assert machine.sh("ls /tmp/note /var/tmp/note 2>/dev/null", check=False) == ""


def test_a_model_writes_where_it_was_allowed_to(machine: Machine) -> None:
    for folder in ("/srv/open", AWKWARD_FOLDER):
        source = f"result = open({folder!r} + '/file', 'w').write('x')"
        assert inside(machine, "open", source) == 1
    assert "Read-only" in refusal(machine, "open", "open('/srv/closed/file', 'w')")


def test_instances_are_strangers_to_each_other(machine: Machine) -> None:
    users = {machine.sh(f"ps -o uid= -p {machine.main_pid(unit(name))}").strip() for name in NAMES}
    assert len(users) == len(NAMES)
    assert "0" not in users
    other = machine.main_pid(unit("open-1"))
    source = """
import os
def attempt(action, *arguments):
    try:
        return str(action(*arguments))
    except OSError as error:
        return type(error).__name__
result = [
    attempt(os.listdir, "/var/lib/private/edge-model/open-1"),
    attempt(os.stat, "/proc/%d"),
    attempt(os.kill, %d, 0),
]
"""
    listed, seen, signalled = inside(machine, "strict", source % (other, other))
    assert listed in {"FileNotFoundError", "PermissionError"}
    assert seen == "FileNotFoundError"
    assert signalled == "PermissionError"


def test_every_instance_is_in_the_slice_of_all(machine: Machine) -> None:
    assert {machine.show(unit(name), "Slice") for name in NAMES} == {"edge-model.slice"}


def test_models_leave_memory_to_the_broker_and_go_before_it(machine: Machine) -> None:
    total = 1024 * int(machine.sh("awk '/^MemTotal/ {print $2}' /proc/meminfo"))
    most = int(machine.show("edge-model.slice", "MemoryMax"))
    assert 0.5 * total < most < 0.9 * total
    scores = [
        int(machine.sh(f"cat /proc/{machine.show(name, 'MainPID')}/oom_score_adj"))
        for name in (unit("strict-1"), "pyboot.service", "mosquitto.service")
    ]
    assert scores == sorted(scores, reverse=True)
    assert len({*scores}) == 3


EXECUTABLE_MEMORY = """
import mmap
result = bool(mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC))
"""
OWN_PROGRAM = """
import os, subprocess
result = []
for folder in (os.environ["STATE_DIRECTORY"], "/tmp", "/var/tmp", "/dev/shm"):
    program = f"{folder}/program-of-{os.getpid()}"
    with open(program, "w") as file:
        file.write("#!/bin/sh\\necho made it")
    os.chmod(program, 0o700)
    try:
        result.append(subprocess.check_output([program], text=True).strip())
    except OSError as error:
        result.append(error.strerror)
"""


def test_a_model_makes_no_code_at_run_time(machine: Machine) -> None:
    assert "Permission denied" in refusal(machine, "strict", EXECUTABLE_MEMORY)
    assert inside(machine, "strict", OWN_PROGRAM) == ["Permission denied"] * 4


def test_a_model_with_jit_does(machine: Machine) -> None:
    assert inside(machine, "open", EXECUTABLE_MEMORY) is True
    assert inside(machine, "open", OWN_PROGRAM) == ["made it"] * 4


def test_a_model_sees_no_devices(machine: Machine) -> None:
    assert "No such file" in refusal(machine, "strict", "open('/dev/pyboot-tun', 'rb')")
    listed = inside(machine, "strict", "import os; result = os.listdir('/dev')")
    assert {"null", "urandom"} <= set(listed)
    assert not {"pyboot-tun", "pyboot-fuse", "net"} & set(listed)


def test_a_model_uses_the_devices_it_was_given_and_no_others(machine: Machine) -> None:
    source = "open('/dev/pyboot-{}', 'rb', 0); result = 'opened'"
    assert inside(machine, "open", source.format("tun")) == "opened"
    assert "not permitted" in refusal(machine, "open", source.format("fuse"))


def test_a_model_reads_what_is_for_the_groups_it_was_given(machine: Machine) -> None:
    source = "result = open('/srv/for-dialout').read()"
    assert inside(machine, "open", source) == "secret\n"
    assert "Permission denied" in refusal(machine, "strict", source)


CONNECT = """
import socket
socket.create_connection(('%s', %d), timeout=1).close()
result = "connected"
"""


def test_a_model_reaches_its_brokers_only(machine: Machine) -> None:
    assert inside(machine, "strict", CONNECT % ("127.0.0.1", 1883)) == "connected"
    # A packet filter has no other answer than silence, or the kernel's own error.
    refused = refusal(machine, "strict", CONNECT % (ELSEWHERE, 1884))
    assert "timed out" in refused or "not permitted" in refused
    # The broker itself, whose worker is up, can be reached.
    assert inside(machine, "open", CONNECT % (ELSEWHERE, 1884)) == "connected"


def test_a_model_serves_nothing(machine: Machine) -> None:
    source = "import socket; socket.socket().bind(('127.0.0.1', 9999)); result = 'bound'"
    assert "not permitted" in refusal(machine, "strict", source)
