"""Passwords and keys that only root can read reach the workers, and nobody else."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from machine import Machine
from support.certificates import Authority
from support.poll import until

pytestmark = pytest.mark.systemd

FOLDER = "/etc/pyboot/secrets"
PASSWORD = "Chrysler-Gantry-1907"
WRONG_PASSWORD = "Zeppelin-Rivet-0042"
API_KEY = "Osmium-Lathe-7731"
NEW_API_KEY = "Gasket-Quartz-55"

MODELS = """
def read(paths):
    found = []
    for path in paths:
        try:
            found.append(open(path).read())
        except OSError as error:
            found.append(error.strerror)
    return found

def tell(payload, context):
    key = context.secret("API_KEY")
    return [len(key), hash(key) == hash(payload)]
"""

BROKER = """
per_listener_settings true
listener 1883 127.0.0.1
allow_anonymous true

listener 1885 127.0.0.1
password_file /etc/mosquitto/passwords

listener 8883 127.0.0.1
cafile /etc/mosquitto/tls/ca.pem
certfile /etc/mosquitto/tls/server.pem
keyfile /etc/mosquitto/tls/server.key
require_certificate true
use_identity_as_username true
"""

CONFIG = f"""
brokers:
  sealed:
    host: 127.0.0.1
    tls: {{ca: {FOLDER}/ca.pem, cert: {FOLDER}/client.pem, key: {FOLDER}/client.key}}
  locked: {{host: 127.0.0.1, port: 1885, username: plant, password_file: {FOLDER}/password}}
  barred: {{host: 127.0.0.1, port: 1885, username: plant, password_file: {FOLDER}/wrong}}
defaults: {{edge_mode: test_models.read, pre_broker: sealed}}
edge:
  - {{name: trusted, pre_topic: trusted/in, post_broker: locked, post_topic: trusted/out}}
  - {{name: refused, pre_topic: refused/in, post_broker: barred, post_topic: refused/out}}
  - {{name: keyed, edge_mode: test_models.tell, pre_broker: 127.0.0.1, pre_topic: keyed/in,
     post_broker: 127.0.0.1, post_topic: keyed/out, secrets: {{API_KEY: {FOLDER}/api}}}}
"""
TRUSTED, REFUSED = "edge-model@trusted-1.service", "edge-model@refused-1.service"
KEYED = "edge-model@keyed-1.service"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls"), "ca")


@pytest.fixture(scope="module", autouse=True)
def secrets(machine: Machine, authority: Authority) -> list[str]:
    """What must not be seen anywhere; the broker, and workers that use it, are up."""
    server = authority.issue("server", "IP:127.0.0.1")
    client = authority.issue("client", "DNS:client")
    for file in (authority.ca, server.cert, server.key):
        machine.push(file, f"/etc/mosquitto/tls/{file.name}")
    for file in (authority.ca, client.cert, client.key):
        machine.push(file, f"{FOLDER}/{file.name}")
    machine.write("/etc/mosquitto/passwords", f"plant:{PASSWORD}\n")
    machine.run("mosquitto_passwd", "-U", "/etc/mosquitto/passwords")
    machine.run("chown", "-R", "mosquitto:", "/etc/mosquitto/tls", "/etc/mosquitto/passwords")
    machine.write("/etc/mosquitto/conf.d/test.conf", BROKER)
    machine.run("systemctl", "restart", "mosquitto")
    machine.record()
    machine.write(f"{FOLDER}/password", f"{PASSWORD}\n")
    machine.write(f"{FOLDER}/wrong", f"{WRONG_PASSWORD}\n")
    machine.write(f"{FOLDER}/api", f"{API_KEY}\n")
    machine.sh(f"chmod 600 {FOLDER}/*")
    machine.write("/etc/pyboot/models/test_models.py", MODELS)
    machine.write("/etc/pyboot/config.yaml", CONFIG)
    machine.run("systemctl", "reload", "pyboot")
    machine.wait_active(TRUSTED, REFUSED, KEYED)
    return [PASSWORD, WRONG_PASSWORD, API_KEY, NEW_API_KEY, *_body(client.key)]


def _body(key: Path) -> list[str]:
    """The lines of a key that are its own."""
    return [line for line in key.read_text().splitlines() if not line.startswith("-----")]


def read_in_worker(machine: Machine, *paths: str) -> list[str]:
    """What the model can read: the files' texts, or why it can't."""
    before = len(machine.published("trusted/out"))
    machine.publish("trusted/in", json.dumps(paths))
    until(lambda: len(machine.published("trusted/out")) > before, "an answer")
    found: list[str] = json.loads(machine.published("trusted/out")[-1])
    return found


def test_the_worker_of_another_user_logs_in_with_them(machine: Machine) -> None:
    assert machine.sh(f"ps -o uid= -p {machine.main_pid(TRUSTED)}").strip() != "0"
    assert read_in_worker(machine) == []
    rows = machine.get("/api/instances")["instances"]
    brokers = next(row for row in rows if row["instance"] == "trusted-1")["brokers"]
    links = {role: (link["address"], link["state"]) for role, link in brokers.items()}
    assert links == {
        "pre": ("127.0.0.1:8883", "connected"),
        "post": ("127.0.0.1:1885", "connected"),
    }


def test_a_worker_cannot_read_them_where_they_are(machine: Machine) -> None:
    paths = [f"{FOLDER}/{name}" for name in ("password", "wrong", "client.key")]
    assert read_in_worker(machine, *paths) == ["Permission denied"] * 3


def test_a_worker_cannot_read_those_of_another(machine: Machine) -> None:
    password = f"/run/credentials/{REFUSED}/post.password"
    assert machine.read(password) == f"{WRONG_PASSWORD}\n"
    (found,) = read_in_worker(machine, password)
    assert found in {"Permission denied", "No such file or directory"}


PLACES: dict[str, tuple[Callable[[Machine], str], str]] = {
    "journal": (lambda m: m.journal("--all", "--output=json"), "127.0.0.1:1885"),
    "systemctl show": (lambda m: m.sh("systemctl show --all '*'"), "trusted-1"),
    "systemctl status": (
        lambda m: m.sh("systemctl status --full --lines=1000 '*'", check=False),
        "trusted-1",
    ),
    "command lines": (
        lambda m: m.sh("cat /proc/[0-9]*/cmdline", check=False),
        "edge-model: trusted-1",
    ),
    "environments": (lambda m: m.sh("cat /proc/[0-9]*/environ", check=False), "NOTIFY_SOCKET"),
    "compiled files": (lambda m: m.sh("cat /run/pyboot/instances/*"), f"{FOLDER}/password"),
    "units": (
        lambda m: m.sh("find /run/systemd /etc/systemd -type f -exec cat {} +"),
        f"LoadCredential=post.password:{FOLDER}/password",
    ),
    "/api/instances": (lambda m: json.dumps(m.get("/api/instances")), "127.0.0.1:1885"),
    "/metrics": (lambda m: m.sh("curl -s http://127.0.0.1:5888/metrics"), "trusted"),
    "/": (lambda m: m.sh("curl -s http://127.0.0.1:5888/"), "trusted"),
    "pyboot status": (lambda m: m.sh("pyboot status --json", check=False), "trusted-1"),
    "pyboot plan": (lambda m: m.sh("pyboot plan --json", check=False), "trusted-1"),
}


@pytest.mark.parametrize("place", PLACES)
def test_they_are_seen_nowhere(machine: Machine, secrets: list[str], place: str) -> None:
    look, known = PLACES[place]
    seen = look(machine)
    assert known in seen, "this is not the place that it is taken for"
    assert [secret for secret in secrets if secret in seen] == []


def test_a_refused_password_is_said_to_be_one(machine: Machine) -> None:
    wanted = "post broker 127.0.0.1:1885: the broker refused: Not authorized"
    wanted += " (client id pyboot-refused-1-post)"
    until(lambda: wanted in machine.show(REFUSED, "StatusText"), "the reason in the status")
    assert wanted in machine.journal("-u", REFUSED, "--priority=warning")
    rows = machine.get("/api/instances")["instances"]
    assert next(row for row in rows if row["instance"] == "refused-1")["reasons"] == [wanted]
    assert wanted in machine.sh("pyboot status", check=False)


def test_a_models_secret_and_the_next_one(machine: Machine) -> None:
    """It is root's alone, and what replaces it comes with a roll."""

    def told() -> list[object]:
        before = len(machine.published("keyed/out"))
        machine.publish("keyed/in", json.dumps("no key"))
        until(lambda: len(machine.published("keyed/out")) > before, "an answer")
        found: list[object] = json.loads(machine.published("keyed/out")[-1])
        return found

    assert machine.sh(f"stat -c '%U %a' {FOLDER}/api") == "root 600\n"
    assert told() == [len(API_KEY), False]
    assert "unchanged  keyed-1\n" in machine.sh("pyboot plan")
    machine.write(f"{FOLDER}/api", f"{NEW_API_KEY}\n")
    planned = machine.sh("pyboot plan", check=False)
    assert "restart    keyed-1  (file of secret.API_KEY changed)" in planned
    machine.run("systemctl", "reload", "pyboot")
    machine.wait_active(KEYED)
    assert told() == [len(NEW_API_KEY), False]
