"""The workers of a configuration without a master, for tests that are about workers."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from pyboot_svc.config.compiled import write_compiled
from pyboot_svc.config.loader import load_config
from pyboot_svc.master.hub import Hub
from pyboot_svc.master.view import View
from pyboot_svc.metrics.protocol import listening_path
from pyboot_svc.services.base import NoServices
from pyboot_svc.sockets.unix import open_listener
from support.app import PYBOOT
from support.poll import until


class Workers:
    """Each instance is a `pyboot worker`, as its unit runs it; this process asks for their figures.

    A master takes as much CPU to start as several workers. But it restarts those that end; here,
    nobody does.
    """

    def __init__(self, folder: Path, config_file: Path, *more: str) -> None:
        """`more` are options of `pyboot worker`."""
        folder.mkdir(parents=True, exist_ok=True)
        config = load_config(config_file)
        instances = list(config.instances())
        identities = [instance.identity for instance in instances]
        self.log_file = folder / "workers.log"
        # Sockets have short paths.
        self._run_dir = tempfile.TemporaryDirectory(prefix="pyboot-")
        run_dir = Path(self._run_dir.name)
        self._listener = open_listener(listening_path(run_dir))
        self._hub = Hub([self._listener], identities)
        self._view = View(config, self._hub, NoServices(), identities)
        self._hub.start()
        places = ("--run-dir", str(run_dir), "--state-dir", str(run_dir / "state"))
        self._running: list[subprocess.Popen[bytes]] = []
        with self.log_file.open("ab") as log:
            for instance in instances:
                write_compiled(instance, run_dir)
                name = str(instance.identity)
                self._running.append(
                    subprocess.Popen(
                        [*PYBOOT, "worker", name, *places, "--stop-at-eof", *more],
                        stdin=subprocess.PIPE,  # closed by whatever ends this process, too
                        stdout=log,
                        stderr=log,
                        env={**os.environ, "PYTHONUNBUFFERED": "1", **instance.edge.variables},
                        process_group=0,
                    )
                )

    @property
    def log(self) -> str:
        """Of all of them, with what their models print."""
        return self.log_file.read_text(errors="replace")

    def wait_log(self, text: str, timeout: float = 20.0) -> None:
        until(lambda: text in self.log, f"{text!r} in the log of {self.log_file}", timeout)

    @property
    def alive(self) -> bool:
        """Whether none has ended."""
        return all(process.poll() is None for process in self._running)

    def instance(self, name: str) -> dict[str, Any]:
        """What /api/instances would say of NAME-N."""
        rows = self._view.instances()["instances"]
        found: dict[str, Any] = next(row for row in rows if row["instance"] == name)
        return found

    @property
    def reasons(self) -> list[str]:
        """Why not all are ready, as /readyz would say."""
        return self._view.readiness()[0]

    @property
    def notices(self) -> list[str]:
        """What brokers grant less than they were asked for, as /readyz would say."""
        return self._view.readiness()[1]

    def wait_ready(self, timeout: float = 30.0) -> None:
        until(lambda: not self.reasons, "all instances are ready", timeout)

    def stop(self, number: signal.Signals = signal.SIGTERM, timeout: float = 20.0) -> int:
        """Signal all and wait for their ends; gives the highest exit code."""
        for process in self._running:
            process.send_signal(number)
        return max(process.wait(timeout) for process in self._running)

    def close(self) -> None:
        """End them whatever state they are in; nothing of them is left."""
        for process in self._running:
            process.terminate()
        for process in self._running:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            assert process.stdin is not None
            process.stdin.close()
        self._hub.stop()
        self._listener.close()
        self._run_dir.cleanup()
