"""Commands that end in time, whole process group and all, and waiting with a deadline."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress


class RigError(Exception):
    """The rig itself failed: no image, no boot, or something that can't be removed."""


class CommandFailed(subprocess.CalledProcessError):
    """A command in a host failed; its text carries what the command printed."""

    def __str__(self) -> str:
        return f"{super().__str__()}\n{self.stdout}{self.stderr}".rstrip()


def finish(
    command: Sequence[str],
    *,
    environment: dict[str, str],
    stdin: bytes | None = None,
    timeout: float = 60.0,
) -> subprocess.CompletedProcess[str]:
    out, err, code = finish_bytes(command, environment, stdin, timeout)
    text, errors = out.decode(errors="replace"), err.decode(errors="replace")
    return subprocess.CompletedProcess(list(command), code, text, errors)


def finish_bytes(
    command: Sequence[str], environment: dict[str, str], stdin: bytes | None, timeout: float
) -> tuple[bytes, bytes, int]:
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
        umask=0o022,
        start_new_session=True,  # no controlling terminal, and a group to kill as one
    ) as process:
        try:
            out, err = process.communicate(stdin, timeout)
        except BaseException:
            # The group, because nsenter and mmdebstrap have children that outlive them.
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            raise
    return out, err, process.returncode


def poll(what: str, check: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not check():
        if time.monotonic() > deadline:
            raise RigError(f"{what}: not within {seconds:g} s")
        time.sleep(0.05)
