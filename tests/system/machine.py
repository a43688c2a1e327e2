"""A booted host with pyboot on it, in the words of the tests."""

from __future__ import annotations

import json
import subprocess
import tempfile
from pathlib import Path
from shlex import quote
from typing import Any

from rig import Host
from support.poll import until

_RECORD = "/var/tmp/published"


class Machine(Host):
    """Commands, files and units of one booted Debian."""

    def install(self, package: Path) -> str:
        """As a user does; gives what apt printed."""
        self.push(package, f"/var/tmp/{package.name}")
        return self.sh(
            "DEBIAN_FRONTEND=noninteractive apt-get install -y "
            f"-o Dpkg::Options::=--force-confold /var/tmp/{package.name} 2>&1"
        )

    def sh(self, script: str, *, check: bool = True, timeout: float = 120.0) -> str:
        """Run a shell script; gives its standard output."""
        return self.run("sh", "-c", script, check=check, timeout=timeout).stdout

    def read(self, path: str) -> str:
        return self.run("cat", path).stdout

    def write(self, path: str, text: str) -> None:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "file"
            file.write_text(text)
            self.push(file, path)

    # Services, in words that mean the same under each init system; instances are NAME-N.

    def reload(self, *, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Have the service pyboot apply the configuration."""
        commands = {
            "systemd": ("systemctl", "reload-or-restart", "pyboot"),
            "openrc": ("rc-service", "pyboot", "reload"),
        }
        return self.run(*commands[self.init], check=check, timeout=120.0)

    def control(self, verb: str, *instances: str) -> None:
        """start, stop or restart instances, as an administrator does."""
        if self.init == "systemd":
            self.run("systemctl", verb, *(f"edge-model@{name}.service" for name in instances))
        else:
            for name in instances:
                self.run("rc-service", f"edge-model.{name}", verb)

    def state(self, instance: str) -> str:
        """active (ready), inactive, failed (it gave up), or what it is at meanwhile."""
        if self.init == "systemd":
            return self.show(f"edge-model@{instance}.service", "ActiveState")
        if not self.run("test", "-e", f"/run/pyboot/failed/{instance}", check=False).returncode:
            return "failed"
        if self._rc_status(instance) == 3:
            return "inactive"
        asked = self.run("pyboot", "health", instance, "--json", check=False)
        return "active" if asked.stdout and json.loads(asked.stdout)["started"] else "activating"

    def _rc_status(self, instance: str) -> int:
        command = ("rc-service", f"edge-model.{instance}", "status")
        try:
            return self.run(*command, check=False, timeout=20.0).returncode
        except subprocess.TimeoutExpired:  # on a busy host it may print it, and never end
            return self.run(*command, check=False).returncode

    def is_up(self, instance: str) -> bool:
        return self.state(instance) == "active"

    def wait_up(self, *instances: str, timeout: float = 90.0) -> None:
        until(lambda: all(map(self.is_up, instances)), f"up: {instances}", timeout)

    def pid(self, instance: str) -> int:
        """The worker's; 0 while it has none."""
        if self.init == "systemd":
            return self.main_pid(f"edge-model@{instance}.service")
        # The oldest: what it starts has its title, too, until it is another program.
        found = self.run("pgrep", "-o", "-f", f"^edge-model: {instance} ", check=False).stdout
        return int(found or 0)

    def log_of(self, instance: str) -> str:
        """All that a worker wrote, and its end."""
        if self.init == "systemd":
            return self.journal("-u", f"edge-model@{instance}.service")
        return self.read(f"/var/log/edge-model/{instance}.log")

    def restarts(self, instance: str) -> int:
        """How often the service manager has started it again by itself."""
        if self.init == "systemd":
            return int(self.show(f"edge-model@{instance}.service", "NRestarts"))
        return max(self.log_of(instance).count(f"{instance}: loaded ") - 1, 0)

    @property
    def unit_dir(self) -> str:
        """Where `apply` writes what the service manager reads."""
        return {"systemd": "/run/systemd/system", "openrc": "/run/pyboot/openrc"}[self.init]

    def unit_file(self, instance: str) -> str:
        if self.init == "systemd":
            return f"{self.unit_dir}/edge-model@{instance}.service.d/50-pyboot.conf"
        return f"{self.unit_dir}/{instance}"

    def said(self, done: subprocess.CompletedProcess[str]) -> str:
        """What a reload complained of: under systemd that is in the journal."""
        if self.init == "systemd":
            return self.journal("-u", "pyboot")
        return done.stdout + done.stderr

    def instances(self) -> dict[str, str]:
        """The state of every instance that the service manager knows."""
        if self.init == "systemd":
            listed = self.sh(
                "systemctl list-units --all --plain --no-legend 'edge-model@*.service'"
            )
            words = [line.split() for line in listed.splitlines()]
            return {
                name.removeprefix("edge-model@").removesuffix(".service"): active
                for name, _load, active, *_ in words
            }
        listed = self.sh("cd /etc/init.d; ls -d edge-model.* 2>/dev/null", check=False)
        names = [name.removeprefix("edge-model.") for name in listed.split()]
        return {name: self.state(name) for name in names}

    def begin(self, name: str, script: str) -> None:
        """Run a shell script in the background, until it ends or `end` does it."""
        # A session of its own: it is signalled as a whole.
        self.sh(
            f"setsid sh -c {quote(f'echo $$ >/var/tmp/{name}.pid; {script}')}"
            " </dev/null >/dev/null 2>&1 & "
            f"until [ -s /var/tmp/{name}.pid ]; do sleep 0.01; done"
        )

    def is_at_work(self, name: str) -> bool:
        group = f"/var/tmp/{name}.pid"
        return bool(self.sh(f"pgrep -g $(cat {group}) 2>/dev/null", check=False))

    def end(self, *names: str) -> None:
        for name in names:
            file = f"/var/tmp/{name}.pid"
            self.sh(f"kill -- -$(cat {file}) 2>/dev/null; rm -f {file}", check=False)

    # Of systemd alone.

    def show(self, unit: str, name: str) -> str:
        """A property of a unit."""
        shown = self.run("systemctl", "show", "--value", f"--property={name}", unit).stdout
        return shown.strip()

    def main_pid(self, unit: str) -> int:
        return int(self.show(unit, "MainPID"))

    def is_active(self, unit: str) -> bool:
        return self.show(unit, "ActiveState") == "active"

    def wait_active(self, *units: str, timeout: float = 90.0) -> None:
        until(lambda: all(map(self.is_active, units)), f"active: {units}", timeout)

    def journal(self, *arguments: str) -> str:
        return self.run("journalctl", "--no-pager", "--output=cat", *arguments).stdout

    def get(self, path: str) -> Any:
        """The JSON document of the master's web; None while it doesn't answer."""
        text = self.sh(f"curl -s --max-time 5 http://127.0.0.1:5888{path}", check=False)
        return json.loads(text) if text else None

    def publish(self, topic: str, payload: str, qos: int = 0) -> None:
        self.run("mosquitto_pub", "-t", topic, "-q", str(qos), "-s", input=payload)

    def ask(self, topic_in: str, topic_out: str, payload: str) -> str:
        """Publish one message and give the result that comes for it."""
        return self.sh(
            f"mosquitto_sub -t {topic_out} -C 1 -W 10 >/var/tmp/answer & "
            "sub=$!; until ss -Htn state established dport = 1883 | grep -q . "
            "&& kill -0 $sub && sleep 0.2; do sleep 0.05; done; "
            f"printf %s '{payload}' | mosquitto_pub -t {topic_in} -s; "
            "wait $sub; cat /var/tmp/answer"
        ).strip()

    def record(self) -> None:
        """Write down from now on what the machine's broker delivers, for `published`."""
        self.write(_RECORD, "")
        self.begin("recorder", f"exec mosquitto_sub -t '#' -q 2 -v >>{_RECORD}")

        def heard() -> bool:
            self.publish("recorder", "on")
            return bool(self.published("recorder"))

        until(heard, "the recorder listens")

    def published(self, topic: str) -> list[str]:
        """The messages that the broker has delivered on a topic so far; each of one line."""
        *complete, _rest = self.read(_RECORD).split("\n")
        lines = (line.partition(" ") for line in complete)
        return [payload for name, _, payload in lines if name == topic]
