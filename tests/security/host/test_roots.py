"""Attacks on root by whoever else runs on the host: a model, the master, a user without rights.

Each was one that worked once, or is next to it; all of them stay on the booted machine.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from shlex import quote

import pytest
from fleet import config, edge, set_up
from machine import Machine

HOSTILE, VICTIM = "hostile-1", "victim-1"
MODELS = """
import fcntl
import os

held = []

def echo(payload):
    return payload

def fail(payload):
    raise ValueError("as told")

def attack(run_dir):
    '''What could be written, made, moved or locked there.'''
    done = []
    for folder, folders, files in os.walk(run_dir):
        for name in [*folders, *files]:
            path = os.path.join(folder, name)
            try:
                os.rename(path, path + "~")
                os.rename(path + "~", path)
                done.append("moved " + path)
            except OSError:
                pass
        for name in ("credentials", "openrc", "sessions", "failed", "planted"):
            path = os.path.join(folder, name)
            try:
                os.mkdir(path)
                os.rmdir(path)
                done.append("made " + path)
            except OSError:
                pass
        for name in files:
            path = os.path.join(folder, name)
            for flags in (os.O_RDWR, os.O_RDONLY):
                try:
                    file = os.open(path, flags)
                except OSError:
                    continue
                if flags == os.O_RDWR:
                    done.append("opened " + path)
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except OSError:
                    pass
                held.append(file)
                if "/locks" in path:
                    done.append("locked " + path)
    return done
"""
AS_A_USER = "setpriv --reuid=plain --regid=plain --clear-groups"
AS_THE_MASTER = "setpriv --reuid=pyboot --regid=pyboot --clear-groups"


@pytest.fixture(autouse=True)
def hosts(machine: Machine) -> Iterator[None]:
    """A hostile instance and its victim, both up; a user without rights."""
    machine.sh("id plain >/dev/null 2>&1 || useradd --create-home plain")
    text = config(
        edge("hostile", "attack"),
        edge("victim", "fail", on_error={"retries": 0}),
    )
    set_up(machine, text, MODELS)
    machine.reload()
    machine.control("start", HOSTILE, VICTIM)
    machine.wait_up(HOSTILE, VICTIM)
    yield
    machine.end("holder")


def attack_as(machine: Machine, prefix: str) -> list[str]:
    code = "import json, sys; sys.path.append('/etc/pyboot/models')\n"
    code += "import test_models; print(json.dumps(test_models.attack('/run/pyboot')))"
    found: list[str] = json.loads(machine.sh(f"{prefix} python3 -B -c {quote(code)}"))
    return found


def outside(found: list[str], own: str) -> list[str]:
    """What was done elsewhere than in one's own folder."""
    return [line for line in found if f" {own}/" not in line]


def test_only_the_folders_of_those_who_write_there_are_not_roots(machine: Machine) -> None:
    found = machine.sh("find /run/pyboot -mindepth 1 ! -user root ! -type s").split()
    theirs = {f"/run/pyboot/workers/{name}" for name in (HOSTILE, VICTIM)}
    theirs |= {"/run/pyboot/master", "/run/pyboot/master/web.json"}
    assert set(found) <= theirs
    if machine.init == "openrc":
        assert set(found) == theirs
    assert machine.sh("stat -c '%U %G %a' /run/pyboot").strip() == "root root 755"
    sockets = machine.sh("find /run/pyboot -type s ! -user root -printf '%h\\n'").split()
    assert set(sockets) <= set(found)


def test_a_model_can_write_and_lock_nothing_of_roots(machine: Machine) -> None:
    found = json.loads(machine.ask("hostile/in", "hostile/out", '"/run/pyboot"'))
    assert outside(found, f"/run/pyboot/workers/{HOSTILE}") == []


def test_the_master_and_a_user_can_neither(machine: Machine) -> None:
    assert outside(attack_as(machine, AS_THE_MASTER), "/run/pyboot/master") == []
    assert outside(attack_as(machine, AS_A_USER), "/nowhere") == []


READS_ALL = """

def read_all(payload):
    '''What can be read of compiled files, wherever they or copies of them are.'''
    seen = {}
    for top in ("/run/pyboot", "/run/credentials", os.environ["CREDENTIALS_DIRECTORY"]):
        for folder, folders, files in os.walk(top):
            for name in files:
                if name.endswith(".json") or name == "compiled":
                    try:
                        with open(os.path.join(folder, name)) as file:
                            seen[os.path.join(folder, name)] = file.read()
                    except OSError:
                        pass
    return seen
"""


def test_nobody_reads_what_an_instance_was_compiled_to_but_itself(machine: Machine) -> None:
    """Nor does another instance: options and brokers are the plant's matter."""
    files = f"/run/pyboot/instances/{HOSTILE}.json /run/pyboot/instances/{VICTIM}.json"
    kept = machine.sh(f"stat -c '%U %G %a' {files}")
    assert set(kept.splitlines()) == {"root root 600"}
    in_the_group = "setpriv --reuid=plain --regid=pyboot --clear-groups"
    for prefix in (AS_A_USER, AS_THE_MASTER, in_the_group):
        assert machine.sh(f"{prefix} cat {files} 2>/dev/null", check=False) == ""
    set_up(
        machine,
        config(edge("hostile", "read_all"), edge("victim", "fail", options={"recipe": "secret"})),
        MODELS + READS_ALL,
    )
    machine.reload()
    machine.wait_up(HOSTILE, VICTIM)
    seen = json.loads(machine.ask("hostile/in", "hostile/out", "1"))
    assert seen, "not even its own"
    assert not [file for file, text in seen.items() if "recipe" in text]
    planned = machine.sh(f"{AS_A_USER} pyboot plan 2>&1", check=False)
    assert "is for its owner alone: run this by sudo" in planned


# Says hello as the instance that it is given, with what token of it can be read.
IMPOSTOR = """
import json, os, socket, sys
token = ""
run = "/run/pyboot/"
for file in (f"{run}tokens/{sys.argv[1]}", f"{run}credentials/{sys.argv[1]}/report-token"):
    try:
        token = open(file).read().strip()
    except OSError:
        pass
connection = socket.socket(socket.AF_UNIX)
connection.settimeout(10)
connection.connect("/run/pyboot/metrics.sock")
hello = {"instance": sys.argv[1], "pid": os.getpid(), "token": token}
connection.sendall(json.dumps(hello).encode() + b"\\n")
print("dropped" if connection.recv(10) == b"" else "taken", bool(token))
"""


def test_nobody_speaks_for_an_instance_without_its_token(machine: Machine) -> None:
    """Neither the master, nor whoever is in the group that may connect, though it isn't there."""
    kept = machine.sh(f"stat -c '%U %a' /run/pyboot/tokens /run/pyboot/tokens/{VICTIM}")
    assert kept.splitlines() == ["root 700", "root 600"]
    machine.control("stop", VICTIM)
    in_the_group = "setpriv --reuid=plain --regid=pyboot --clear-groups"
    for prefix in (AS_THE_MASTER, in_the_group):
        said = machine.sh(f"{prefix} python3 -c {quote(IMPOSTOR)} {VICTIM}")
        assert said.split() == ["dropped", "False"]
    machine.control("start", VICTIM)
    machine.wait_up(VICTIM)
    shown = machine.get("/api/instances")
    states = {row["instance"]: row["state"] for row in shown["instances"]}
    assert states == {HOSTILE: "ready", VICTIM: "ready"}
    assert shown["refused_connections"]["a hello without a token"] >= 2


def test_locks_that_others_hold_hold_up_nothing(machine: Machine) -> None:
    """As `flock /run/pyboot/apply.lock sleep 300` did."""
    places = "/run/pyboot /run/pyboot/* /run/pyboot/instances/*"
    hold = f"for place in {places}; do flock $place sleep 300 2>/dev/null & done; wait"
    machine.begin("holder", f"{AS_A_USER} sh -c {quote(hold)}")
    machine.ask("hostile/in", "hostile/out", '"/run/pyboot"')  # the model holds what it can
    began = time.monotonic()
    assert "nothing to do" in machine.run("pyboot", "apply", timeout=50.0).stdout
    machine.reload()
    assert time.monotonic() - began < 50


def test_one_that_applies_for_too_long_is_named(machine: Machine) -> None:
    """Of root's own: a second one waits a minute, and then says for whom."""
    machine.begin("holder", "cd /run/pyboot/locks; printf %s $$ >apply; exec flock apply sleep 300")
    refused = machine.run("pyboot", "apply", check=False, timeout=100.0)
    assert refused.returncode == 69
    assert "another apply has not finished within 60 s: process " in refused.stderr
    assert "flock apply sleep 300" in refused.stderr


@pytest.mark.systemd
def test_a_reload_has_a_time_limit_and_gets_more_as_it_gets_on(machine: Machine) -> None:
    assert machine.show("pyboot.service", "TimeoutStartUSec") == "3min"
    # What isn't up is started at once: one after the other are restarted those that are.
    set_up(machine, config(edge("victim", instance=2)))
    machine.reload()
    machine.wait_up(VICTIM, "victim-2")
    folder = "/run/systemd/system/pyboot.service.d"
    machine.write(f"{folder}/90-test.conf", "[Service]\nTimeoutStartSec=10s\n")
    machine.run("systemctl", "daemon-reload")
    try:
        slow = "\n\nclass slow:\n    def __init__(self):\n        import time; time.sleep(6)\n"
        slow += "    def __call__(self, payload):\n        return payload\n"
        set_up(machine, config(edge("victim", "slow", instance=2, options={"a": 1})), MODELS + slow)
        began = time.monotonic()
        machine.reload()
        assert time.monotonic() - began > 10
        machine.wait_up(VICTIM, "victim-2")
        assert machine.is_active("pyboot.service")
    finally:
        machine.sh(f"rm -r {folder}")
        machine.run("systemctl", "daemon-reload")


def state_file(instance: str) -> str:
    return f"/var/lib/edge-model/{instance}/worker.sqlite"


def remove(machine: Machine, instance: str) -> None:
    """Its database, to be made anew."""
    file = state_file(instance)
    machine.run("rm", "-f", file, f"{file}-wal", f"{file}-shm")


def edit(machine: Machine, instance: str, statements: str) -> None:
    """What a model may do in its own folder."""
    code = (
        "import os, sqlite3, sys\n"
        "file = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "[file.execute(statement) for statement in sys.argv[2].split(';')]\n"
        "file.close()\n"
        "owner = os.stat(os.path.dirname(sys.argv[1]))\n"
        "os.chown(sys.argv[1], owner.st_uid, owner.st_gid)\n"
    )
    machine.run("python3", "-c", code, state_file(instance), statements)


def bury(machine: Machine) -> None:
    machine.publish("victim/in", "1", qos=1)
    for _ in range(100):
        listed = machine.sh(f"pyboot dead list {VICTIM}", check=False)
        if VICTIM in listed:
            return
        time.sleep(0.1)
    pytest.fail("the victim has no dead letter")


ENDLESS = (
    "DROP TABLE IF EXISTS dead; CREATE VIEW dead AS "
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 0 OR i > 0) "
    "SELECT i AS id, 'a' AS topic, x'00' AS payload, 'k' AS kind, "
    "'e' AS error, 1 AS attempts, 'm' AS model, 'v' AS version, 1 AS created, NULL AS request "
    "FROM n WHERE i < 0"
)


def test_a_view_that_never_ends_ends_no_list(machine: Machine) -> None:
    bury(machine)
    machine.control("stop", HOSTILE)
    edit(machine, HOSTILE, ENDLESS)
    began = time.monotonic()
    listed = machine.run("pyboot", "dead", "list", check=False, timeout=60.0)
    assert time.monotonic() - began < 40
    assert listed.returncode == 69
    assert VICTIM in listed.stdout
    assert f"{HOSTILE}: " in listed.stderr
    assert "takes longer than 10 s" in listed.stderr
    remove(machine, HOSTILE)


def test_a_link_to_anothers_letters_leads_nowhere(machine: Machine) -> None:
    bury(machine)
    machine.control("stop", HOSTILE, VICTIM)
    file, other = state_file(HOSTILE), state_file(VICTIM)
    remove(machine, HOSTILE)
    machine.sh(
        f"ln -s $(realpath {other}) {file}; "
        f"chown -h --reference=/var/lib/edge-model/{HOSTILE}/. {file}"
    )
    try:
        for action in (["list", HOSTILE], ["drop", HOSTILE, "--all"], ["show", HOSTILE, "--all"]):
            done = machine.run("pyboot", "dead", *action, check=False)
            assert done.returncode == 69, done.stdout
            assert "victim/in" not in done.stdout
        assert "victim/in" in machine.run("pyboot", "dead", "list", VICTIM).stdout
    finally:
        remove(machine, HOSTILE)


def test_a_link_in_the_state_is_not_followed_by_try(machine: Machine) -> None:
    models = MODELS + (
        "\n\ndef look(payload, context):\n"
        "    secret = context.state_dir / 'secret'\n"
        "    try:\n"
        "        return [os.getuid(), secret.read_text()]\n"
        "    except OSError as error:\n"
        "        return [os.getuid(), error.strerror]\n"
    )
    set_up(machine, config(edge("hostile", "look"), edge("victim", "fail")), models)
    machine.control("stop", HOSTILE)
    folder = f"/var/lib/edge-model/{HOSTILE}/"
    machine.sh(
        f"echo secret >/root/secret; chmod 600 /root/secret; ln -sf /root/secret {folder}secret"
    )
    machine.write("/var/tmp/message", "1")
    shown = machine.run("pyboot", "try", "hostile", "--payload", "/var/tmp/message").stdout
    uid, said = json.loads(shown.split(" ", 1)[1])
    assert uid == int(machine.sh(f"stat -L -c %u {folder}"))
    assert uid != 0
    assert said == "Permission denied"
    machine.run("rm", f"{folder}secret", "/root/secret")


def test_root_applies_no_configuration_that_others_can_write(machine: Machine) -> None:
    machine.sh("chmod 666 /etc/pyboot/config.yaml")
    try:
        refused = machine.run("pyboot", "apply", check=False)
        assert refused.returncode == 78
        assert "`chmod go-w /etc/pyboot/config.yaml`" in refused.stderr
    finally:
        machine.sh("chmod 644 /etc/pyboot/config.yaml")
    machine.sh("cp /etc/pyboot/config.yaml /tmp/theirs.yaml")
    refused = machine.run("pyboot", "apply", "-c", "/tmp/theirs.yaml", check=False)
    assert refused.returncode == 78
    assert "anybody can make files in /tmp" in refused.stderr


def test_root_imports_no_model_that_others_can_write_and_none_as_root(machine: Machine) -> None:
    models = MODELS + "\nimport sys\nprint('imported by', os.getuid(), file=sys.stderr)\n"
    set_up(machine, config(edge("victim", "echo")), models)
    checked = machine.run("pyboot", "check", "--models")
    nobody = machine.sh("id -u nobody").strip()
    assert f"imported by {nobody}\n" in checked.stderr
    machine.sh("chown plain /etc/pyboot/models/test_models.py")
    try:
        refused = machine.run("pyboot", "check", "--models", check=False)
        assert refused.returncode == 78
        assert "belongs to plain; `chown root /etc/pyboot/models/test_models.py`" in refused.stdout
        assert "imported by" not in refused.stderr
    finally:
        machine.sh("chown root /etc/pyboot/models/test_models.py")


@pytest.mark.openrc
def test_each_instance_has_a_user_whose_files_no_other_can_read(machine: Machine) -> None:
    owners = machine.sh(
        "stat -c '%U %a' /var/lib/edge-model/hostile-1 /var/lib/edge-model/victim-1"
    )
    (first, mode), (second, _) = (line.split() for line in owners.splitlines())
    assert first != second
    assert (first[:3], second[:3], mode) == ("em-", "em-", "700")
    machine.control("stop", HOSTILE)
    set_up(machine, config(edge("victim", "fail")), MODELS)
    machine.reload()
    assert machine.run("getent", "passwd", first).returncode == 0  # its state is still there
    machine.run("pyboot", "purge", HOSTILE, "--yes")
    assert machine.run("getent", "passwd", first, check=False).returncode != 0


@pytest.mark.openrc
def test_what_somebody_has_put_in_roots_place_is_not_read_by_root(machine: Machine) -> None:
    """As the master once could: a line in openrc/ ran as root."""
    machine.control("stop", HOSTILE)
    machine.sh(
        "rm -rf /run/pyboot/openrc; mkdir /run/pyboot/openrc; "
        f"echo 'touch /root/broken' >/run/pyboot/openrc/{HOSTILE}; "
        "chown -R pyboot: /run/pyboot/openrc"
    )
    machine.run("rc-service", f"edge-model.{HOSTILE}", "start", check=False)
    machine.run("pyboot", "apply", check=False, timeout=100.0)
    machine.wait_up(HOSTILE, VICTIM)
    assert machine.run("test", "-e", "/root/broken", check=False).returncode != 0
    # Without settings it had the user that all share; what it wrote goes back to its own.
    machine.control("restart", HOSTILE)
    machine.wait_up(HOSTILE)
    owner = machine.sh(f"stat -c %U /var/lib/edge-model/{HOSTILE}")
    assert owner.startswith("em-")
