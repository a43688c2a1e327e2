"""A mosquitto of the tests' own, on a free loopback port."""

from __future__ import annotations

import fcntl
import functools
import os
import random
import shutil
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path

from support.poll import until

_ATTEMPTS = 5


def free_port() -> int:
    """Below the range that the kernel gives to clients: no connection takes it meanwhile. No other
    process of tests gets it as long as this one runs."""
    chance = random.SystemRandom()  # the global one may be seeded, for each process alike
    while True:
        port = chance.randint(10_000, 30_000)
        with socket.socket() as probe:
            try:
                fcntl.lockf(_claims(), fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


@functools.cache
def _claims() -> int:
    """A file of whose bytes each stands for a port: who has it locked has claimed the port."""
    # For all runs on this machine, whatever temporary directory each of them has.
    file = Path("/tmp", f"pyboot-test-ports-{os.getuid()}")
    return os.open(file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def mosquitto() -> str:
    """The program; Debian installs it where an ordinary user's PATH doesn't look."""
    found = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/sbin")
    assert found, "mosquitto is not installed: run `make test`, which brings it"
    return found


class Broker:
    """Runs mosquitto with `lines` of configuration; `{port}` in them is the listener's port.

    Without `lines` it is open to everybody. It keeps its port over `stop` and `start`; `program` is
    the mosquitto that starts next, when it isn't this host's own. `within`
    stands in front of the command; what listens elsewhere, at a UNIX socket, names it `socket`.
    """

    def __init__(
        self,
        folder: Path,
        lines: str = "",
        within: Sequence[str] = (),
        socket: Path | None = None,
    ) -> None:
        self._folder = folder
        self._within = within
        self.socket = socket
        self._lines = lines or "listener {port} 127.0.0.1\nallow_anonymous true\n"
        self._process: subprocess.Popen[bytes] | None = None
        self.port = free_port()
        self.program: Sequence[str] = ()

    def start(self) -> Broker:
        for _ in range(_ATTEMPTS):
            if self._launch():
                return self
            self.port = free_port()  # somebody else was quicker
        raise AssertionError(f"mosquitto didn't start: {self.log.read_text()}")

    @property
    def log(self) -> Path:
        return self._folder / "mosquitto.log"

    @property
    def pid(self) -> int:
        assert self._process is not None, "it doesn't run"
        return self._process.pid

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None

    def _launch(self) -> bool:
        self._folder.mkdir(parents=True, exist_ok=True)
        file = self._folder / "mosquitto.conf"
        # As root, mosquitto becomes another user, who can't read a private test folder.
        usual = "user root\nmax_queued_messages 0\n"
        file.write_text(usual + self._lines.replace("{port}", str(self.port)))
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                [*self._within, *(self.program or [mosquitto()]), "-c", str(file)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self._process = process
        until(lambda: process.poll() is not None or self._listens(), "mosquitto listens")
        if process.poll() is not None:
            self._process = None
            return False
        return True

    def _listens(self) -> bool:
        if self.socket is not None:
            return self.socket.is_socket()
        return listens(self.port)
