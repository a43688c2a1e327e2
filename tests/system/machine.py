"""A booted host with pyboot on it, in the words of the tests."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
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

    def show(self, unit: str, name: str) -> str:
        """A property of a unit."""
        shown = self.run("systemctl", "show", "--value", f"--property={name}", unit).stdout
        return shown.strip()

    def main_pid(self, unit: str) -> int:
        return int(self.show(unit, "MainPID"))

    def is_active(self, unit: str) -> bool:
        return self.show(unit, "ActiveState") == "active"

    def wait_active(self, *units: str, timeout: float = 30.0) -> None:
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
        command = ["mosquitto_sub", "-t", "#", "-q", "2", "-v"]
        self.run("systemd-run", f"--property=StandardOutput=file:{_RECORD}", *command)

        def heard() -> bool:
            self.publish("recorder", "on")
            return bool(self.published("recorder"))

        until(heard, "the recorder listens")

    def published(self, topic: str) -> list[str]:
        """The messages that the broker has delivered on a topic so far; each of one line."""
        *complete, _rest = self.read(_RECORD).split("\n")
        lines = (line.partition(" ") for line in complete)
        return [payload for name, _, payload in lines if name == topic]
