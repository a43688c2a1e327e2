"""A container of the image, run by systemd-nspawn as strictly as an engine can be told to."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Self

from image import Image
from support.poll import until

UID = 10001
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Container:
    """Runs the image's entry point as PID 1, by the image's user, on a read-only root.

    No capabilities, no new privileges; the host's network. `state` is the volume, `mounts` are
    read-only files and folders by their place inside.
    """

    def __init__(
        self, name: str, image: Image, folder: Path, mounts: dict[str, Path], *command: str
    ) -> None:
        self._image = image
        self.state = folder / "state"
        self.log_file = folder / "log"
        self.state.mkdir(exist_ok=True)
        os.chown(self.state, UID, UID)
        binds = [f"--bind-ro={source}:{place}" for place, source in mounts.items()]
        with self.log_file.open("ab") as log:
            self._nspawn = subprocess.Popen(
                [
                    *("systemd-nspawn", "--quiet", f"--directory={image.root}", "--read-only"),
                    *("--register=no", "--keep-unit", f"--machine={name}", "--console=pipe"),
                    *("--resolv-conf=off", "--timezone=off", "--link-journal=no"),
                    *("--drop-capability=all", "--no-new-privileges=yes", "--user=pyboot"),
                    *("--kill-signal=SIGTERM", f"--tmpfs=/run/pyboot:uid={UID},gid={UID}"),
                    *(f"--bind={self.state}:/var/lib/edge-model", *binds, "--"),
                    *image.config["Entrypoint"],
                    *(command or image.config["Cmd"]),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={"PATH": _PATH},
                start_new_session=True,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    @property
    def log(self) -> str:
        return self.log_file.read_text(errors="replace")

    def leader(self) -> int:
        """The container's PID 1, by its number on this machine; 0 while there is none."""
        nspawn = self._nspawn.pid
        with suppress(OSError):
            for child in Path(f"/proc/{nspawn}/task/{nspawn}/children").read_text().split():
                status = Path(f"/proc/{child}/status").read_text()
                if re.search(r"^NSpid:\t\d+\t1$", status, re.MULTILINE):
                    return int(child)
        return 0

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """What `docker exec` does: a command in the container, by the image's user."""
        leader = until(self.leader, "the container has a first process")
        inside = ["nsenter", f"--target={leader}", "--mount", "--uts", "--ipc", "--pid", "--root"]
        return subprocess.run(
            [*inside, f"--setuid={UID}", f"--setgid={UID}", "--", *command],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
            env={"PATH": _PATH},
        )

    def healthy(self) -> bool:
        """What the engine finds by the image's own health check."""
        kind, *command = self._image.config["Healthcheck"]["Test"]
        assert kind == "CMD"
        return self.run(*command).returncode == 0

    def stop(self) -> int:
        """What `docker stop` does: a signal to PID 1; gives the exit code."""
        os.kill(self.leader(), signal.SIGTERM)
        return self._nspawn.wait(40)

    def kill(self) -> None:
        if self._nspawn.poll() is None:
            if leader := self.leader():
                with suppress(ProcessLookupError):
                    os.kill(leader, signal.SIGKILL)
            else:
                self._nspawn.kill()
            self._nspawn.wait(20)
