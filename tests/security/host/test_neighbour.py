"""A local user who isn't in the group, on a booted host: nothing is read, changed or stopped."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from shlex import quote
from typing import NamedTuple

import pytest
from fleet import Stream, config, edge, set_up
from machine import Machine
from security.host.attempts import ATTEMPT
from support.poll import until

INSTANCE = "beside-1"
AS_A_USER = "setpriv --reuid=plain --regid=plain --clear-groups"
SECRET = "Thorium-Anvil-4471"
PLACES = (
    *("/run/pyboot", "/var/lib/pyboot", "/var/lib/edge-model", "/var/lib/private", "/etc/pyboot"),
    *("/var/log/edge-model", "/run/credentials", "/run/systemd/system", "/run/openrc"),
)

# Run as the user, in /etc, where nothing is its own: what attacks use.
HELPERS = """
import errno, fcntl, json, os, signal, socket, subprocess, sys
from pathlib import Path

def program(*command):
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=20)
    if done.returncode:
        raise OSError(f"exit {done.returncode}")

def everything():
    for place in PLACES:
        for folder, folders, files in os.walk(place):
            yield from (os.path.join(folder, name) for name in [*folders, *files])

def on_each(act, ok=()):
    '''Where it could be done.'''
    done = []
    for path in everything():
        try:
            act(path)
        except OSError:
            continue
        done.append(path)
    return done

def read(path):
    with open(path, "rb", buffering=0) as file:
        data = file.read(1_000_000)
    if SECRET in data or b"PRIVATE KEY" in data:
        return
    raise OSError("nothing secret")

def link(path):
    # Where the kernel lets somebody link others' files, it is none that matters.
    os.link(path, "/home/plain/link")
    os.unlink("/home/plain/link")

def make(path):
    if not os.path.isdir(path):
        raise OSError("no folder")
    os.mkdir(path + "/planted")

"""
TELL = "print(json.dumps(attempt(json.load(sys.stdin))))"


class Attack(NamedTuple):
    """What is run, and what it has to end with: of both init systems, or of the other one."""

    code: str
    wanted: str
    of: str = "systemd openrc"


NOWHERE = "done: []"
SOCKETS = (
    *("/run/pyboot/metrics.sock", "/run/pyboot/master/metrics.sock"),
    f"/run/pyboot/workers/{INSTANCE}/health.sock",
    f"/var/lib/edge-model/{INSTANCE}/trace.sock",
)
ATTACKS = {
    "connecting": Attack(
        f"said = []\nfor path in {SOCKETS!r}:\n"
        "    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):\n"
        "        try:\n"
        "            socket.socket(socket.AF_UNIX, kind).connect(path); said.append(path)\n"
        "        except OSError: pass",
        NOWHERE,
    ),
    "reading secrets": Attack("said = on_each(read)", NOWHERE),
    "writing": Attack("said = on_each(lambda path: os.close(os.open(path, os.O_WRONLY)))", NOWHERE),
    "renaming": Attack("said = on_each(lambda path: os.rename(path, path + '~'))", NOWHERE),
    "removing": Attack(
        "said = on_each(lambda path: (os.rmdir if os.path.isdir(path) else os.unlink)(path))",
        NOWHERE,
    ),
    "changing modes": Attack("said = on_each(lambda path: os.chmod(path, 0o777))", NOWHERE),
    "making folders": Attack("said = on_each(make)", NOWHERE),
    "making links": Attack("said = on_each(lambda path: os.symlink('/etc', path + '~'))", NOWHERE),
    "linking to files": Attack("said = on_each(link)", NOWHERE),
    "listing states": Attack("os.listdir('/var/lib/edge-model/beside-1')", "EACCES"),
    "the journal": Attack(
        f"program('journalctl', '--quiet', '-n1', '-u', 'edge-model@{INSTANCE}')",
        "exit 1",
        "systemd",
    ),
    "logs": Attack(f"open('/var/log/edge-model/{INSTANCE}.log')", "EACCES", "openrc"),
    **{
        f"{who}'s {what}": Attack(f"os.{call}('/proc/{{{who}}}/{what}'{more})", "EACCES")
        for who in ("worker", "master")
        for what, call, more in (
            ("environ", "open", ", os.O_RDONLY"),
            ("mem", "open", ", os.O_RDWR"),
            ("fd", "listdir", ""),
            ("cwd", "readlink", ""),
            ("exe", "readlink", ""),
            ("oom_score_adj", "open", ", os.O_WRONLY"),
        )
    },
    **{
        f"signal {number} to {who}": Attack(f"os.kill({{{who}}}, {number})", "EPERM")
        for who in ("worker", "master")
        for number in (1, 9, 19)
    },
    "tracing it": Attack(
        "import ctypes; libc = ctypes.CDLL(None, use_errno=True)\n"
        "if libc.ptrace(16, {worker}, None, None) == -1: raise OSError(ctypes.get_errno(), '')",
        "EPERM",
    ),
    **{
        f"systemctl {verb}": Attack(
            f"program('systemctl', '--no-ask-password', *{words!r})",
            "exit 1 exit 4 exit 5",
            "systemd",
        )
        for verb, words in {
            "stop": ["stop", f"edge-model@{INSTANCE}", "pyboot"],
            "reload": ["reload", "pyboot"],
            "kill": ["kill", "edge-model.target"],
            "set-property": ["set-property", f"edge-model@{INSTANCE}", "MemoryMax=1M"],
            "edit by a drop-in": ["set-environment", "LD_PRELOAD=/tmp/x.so"],
        }.items()
    },
    **{
        f"rc-service {verb}": Attack(
            f"program('/sbin/rc-service', 'edge-model.{INSTANCE}', {verb!r})", "exit 1", "openrc"
        )
        for verb in ("stop", "restart", "zap")
    },
    "its supervisor's pipe": Attack(
        "said = []\nfor folder, _, files in os.walk('/run'):\n"
        "    for name in files:\n"
        "        if name.endswith('.ctl'):\n"
        "            try: os.open(os.path.join(folder, name), os.O_WRONLY | os.O_NONBLOCK)\n"
        "            except OSError: continue\n"
        "            said.append(name)",
        NOWHERE,
    ),
    **{
        f"pyboot {command}": Attack(
            f"program('pyboot', *{shlex.split(command)!r})", "exit 64 exit 69 exit 77 exit 78"
        )
        for command in (
            *("apply", f"dead list {INSTANCE}", f"dead drop {INSTANCE} --all"),
            f"purge {INSTANCE} --yes",
        )
    },
}


@pytest.fixture(scope="module", autouse=True)
def stream(machine: Machine) -> Iterator[Stream]:
    """An instance with a secret, and messages that go through it; none is lost."""
    machine.sh("id plain >/dev/null 2>&1 || useradd --create-home plain")
    machine.write("/etc/pyboot/secret", SECRET)
    machine.run("chmod", "600", "/etc/pyboot/secret")
    set_up(machine, config(edge("beside", secrets={"KEY": "/etc/pyboot/secret"})))
    machine.reload()
    machine.control("start", INSTANCE)
    machine.wait_up(INSTANCE)
    stream = Stream(machine, "beside")
    yield stream
    assert stream.finish() == []


@pytest.fixture(autouse=True)
def it_goes_on(machine: Machine, stream: Stream) -> Iterator[None]:
    before = machine.pid(INSTANCE), master(machine)
    yield
    stream.flows_on()
    assert (machine.pid(INSTANCE), master(machine)) == before


def master(machine: Machine) -> int:
    return int(machine.sh("pgrep -f '^pyboot: master'"))


@pytest.fixture(scope="module")
def outcomes(machine: Machine, stream: Stream) -> dict[str, str]:
    ids = {"worker": machine.pid(INSTANCE), "master": master(machine)}
    codes = {name: attack.code.format(**ids) for name, attack in ATTACKS.items()}
    head = f"PLACES = {PLACES!r}\nSECRET = {SECRET.encode()!r}\n"
    command = f"cd /etc; {AS_A_USER} python3 -B -c {quote(head + HELPERS + ATTEMPT + TELL)}"
    done = machine.run("sh", "-c", command, input=json.dumps(codes), timeout=120)
    found: dict[str, str] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("name", ATTACKS)
def test_a_user_gets_nothing(machine: Machine, outcomes: dict[str, str], name: str) -> None:
    attack = ATTACKS[name]
    if machine.init not in attack.of:
        pytest.skip("of the other init system")
    assert outcomes[name] in attack.wanted


# The names that are predicted are those of all temporary files and folders of pyboot's.
PLANTED = "for name in pyboot pyboot-up-0 pyboot-try pyboot-credentials pyboot-bench pyboot-test"
PLANTED += f"; do ln -sfn /etc /tmp/$name; mkdir -p /tmp/$name-{INSTANCE}; done"


def test_names_in_tmp_that_somebody_has_taken_lead_root_nowhere(machine: Machine) -> None:
    machine.sh(f"{AS_A_USER} sh -c {quote(PLANTED)}")
    before = machine.sh("ls -la --time-style=full-iso /etc | sha256sum")
    try:
        for command in ("plan", "apply", "check", "status", f"health {INSTANCE}", "dead list"):
            done = machine.run("sh", "-c", f"pyboot {command}", check=False)
            assert "Traceback" not in done.stderr
            assert done.returncode in (0, 1)
        assert machine.sh("ls -la --time-style=full-iso /etc | sha256sum") == before
    finally:
        machine.sh("rm -rf /tmp/pyboot*")


FORGED = "this instance has been taken over"
# As journald takes it of anybody: a field a line.
FORGERY = f"""
import socket
fields = [
    "MESSAGE={FORGED}", "PRIORITY=2", "EDGE_MODEL=beside", "INSTANCE={INSTANCE}",
    "SYSLOG_IDENTIFIER=edge-model", "UNIT=edge-model@{INSTANCE}.service",
    "_SYSTEMD_UNIT=edge-model@{INSTANCE}.service", "_UID=0", "_PID=1",
    "OBJECT_SYSTEMD_UNIT=edge-model@{INSTANCE}.service",
    "COREDUMP_UNIT=edge-model@{INSTANCE}.service",
    "MESSAGE_ID=fc2e22bc6ee647b6b90729ab34a250b1",
]
journal = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
journal.sendto("\\n".join(fields).encode() + b"\\n", "/run/systemd/journal/socket")
log = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
log.sendto(b"<26>edge-model[{{pid}}]: {FORGED}", "/dev/log")
"""


@pytest.mark.systemd
def test_nobody_writes_into_the_log_of_an_instance(machine: Machine) -> None:
    code = FORGERY.replace("{pid}", str(machine.pid(INSTANCE)))
    machine.sh(f"{AS_A_USER} python3 -c {quote(code)}")
    until(lambda: FORGED in machine.journal("-n", "1000"), "it is in the journal")
    for command in (
        f"pyboot logs {INSTANCE}",
        "pyboot logs beside --errors",
    ):
        assert FORGED not in machine.sh(command)


# Idle, dripping and talking connections, and all routes, with what doesn't belong there.
FLOOD = """
import socket, time
def connect():
    connection = socket.create_connection(("127.0.0.1", 5888), 5)
    connection.settimeout(2)
    return connection
held = []
for number in range(600):
    try:
        connection = connect()
        connection.sendall((b"GET ", b"", b"x" * 60_000, b"GET / HTTP/1.1\\r\\nHost: ")[number % 4])
    except OSError:
        pass
    held.append(connection)
for method in ("GET", "POST", "PUT", "DELETE", "CONNECT", "\\x00"):
    for path in ("/", "/metrics", "/api/instances", "/api/history/../../etc/shadow",
                 "/%2e%2e/etc/shadow", "/static/..%2f..%2f..%2fetc%2fshadow",
                 "/api/history/" + "a" * 4000):
        try:
            one = connect()
            one.sendall(f"{method} {path} HTTP/1.1\\r\\nHost: 127.0.0.1:5888\\r\\n\\r\\n".encode())
            answer = b"".join(iter(lambda: one.recv(65536), b""))
            assert b"root:" not in answer and b"Traceback" not in answer, answer[:2000]
        except OSError:
            pass
print("flooded", flush=True)
time.sleep(600)
"""


def test_the_web_bears_all_that_a_user_can_hold_open(machine: Machine) -> None:
    command = f"exec {AS_A_USER} python3 -c {quote(FLOOD)} >/var/tmp/flooded 2>&1"
    machine.begin("flood", command)
    try:
        until(lambda: machine.read("/var/tmp/flooded"), "all is open", timeout=60)
        assert machine.read("/var/tmp/flooded") == "flooded\n"
        for _ in range(5):
            machine.run("curl", "-sf", "--max-time", "5", "http://127.0.0.1:5888/healthz")
        rows = machine.get("/api/instances")["instances"]
        assert [row["state"] for row in rows if row["instance"] == INSTANCE] == ["ready"]
        status = machine.read(f"/proc/{master(machine)}/status")
        (kilobytes,) = (line.split()[1] for line in status.splitlines() if "VmRSS" in line)
        assert int(kilobytes) < 200_000
    finally:
        machine.end("flood")
