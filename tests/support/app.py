"""Real pyboot processes, run as a user runs them."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from support.poll import until

PYBOOT = [sys.executable, "-P", "-m", "pyboot_svc"]
# `bulk` or `plain`: what the configurations of the integration and chaos tests have.
DATA_PLANE = "PYBOOT_TEST_DATA_PLANE"


def data_plane() -> str:
    return os.environ.get(DATA_PLANE, "bulk")


def complaints(stderr: str) -> str:
    """Without what is said of a Python in root's home, which nobody else can run."""
    return "".join(
        line
        for line in stderr.splitlines(True)
        if not line.endswith("the model has root's rights\n")
    )


class Running:
    """A `pyboot` command at work; its standard error goes to `log`."""

    def __init__(
        self,
        folder: Path,
        *arguments: str,
        env: dict[str, str] | None = None,
        within: Sequence[str] = (),
    ) -> None:
        """`within` stands in front of the command, as `ip netns exec` does."""
        folder.mkdir(parents=True, exist_ok=True)
        self.log_file = folder / f"{arguments[0]}.log"
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(
                [*within, *PYBOOT, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                # Where `up` leaves a note: others don't find it by themselves.
                env={**os.environ, "XDG_RUNTIME_DIR": str(folder), **(env or {})},
                process_group=0,
            )

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def log(self) -> str:
        return self.log_file.read_text(errors="replace")

    def stop(self, number: signal.Signals = signal.SIGTERM, timeout: float = 20.0) -> int:
        """Signal it and wait for its end; gives the exit code."""
        self.process.send_signal(number)
        return self.process.wait(timeout)

    def close(self) -> None:
        """End it whatever state it is in; nothing of it is left."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()

    def wait_log(self, text: str, timeout: float = 20.0) -> None:
        until(lambda: text in self.log, f"{text!r} in the log of {self.log_file}", timeout)


class Up(Running):
    """`pyboot up` or `pyboot master`: answers HTTP at the address that it printed."""

    def __init__(
        self,
        folder: Path,
        config: Path,
        *more: str,
        command: str = "up",
        ready: bool = True,
        within: Sequence[str] = (),
        listen: bool = True,
        env: dict[str, str] | None = None,
    ) -> None:
        """Without `listen`: where the configuration says, as at a UNIX socket."""
        where = ("--listen", "127.0.0.1:0") if listen else ()
        super().__init__(
            folder, command, "--config", str(config), *where, *more, within=within, env=env
        )
        assert self.process.stdout is not None
        self.first_line = self.process.stdout.readline().decode().strip()
        said = self.first_line
        self.url = json.loads(said)["url"] if said.startswith("{") else said
        assert self.url.startswith(("http://", "https://", "unix:")), self.log
        if ready:
            self.wait_ready()

    def get(self, path: str) -> tuple[int, Any]:
        """Status and document (decoded when it is JSON) of a GET."""
        host = self.url.removeprefix("http://")
        connection = http.client.HTTPConnection(host, timeout=10)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            body = response.read()
            kind = response.getheader("Content-Type", "")
            return response.status, json.loads(body) if "json" in kind else body.decode()
        finally:
            connection.close()

    def wait_ready(self, timeout: float = 30.0) -> None:
        until(lambda: self.get("/readyz")[0] == 200, "all instances are ready", timeout)

    def instance(self, name: str) -> dict[str, Any]:
        """What /api/instances says of NAME-N."""
        rows = self.get("/api/instances")[1]["instances"]
        found: dict[str, Any] = next(row for row in rows if row["instance"] == name)
        return found


def run_pyboot(
    *arguments: str,
    timeout: float = 30.0,
    env: dict[str, str] | None = None,
    input: str = "",
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end; `input` is all that it can read."""
    return subprocess.run(
        [*PYBOOT, *arguments],
        input=input,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        env={**os.environ, **(env or {})},
    )
