"""Lets only one at a time change what the host runs, and nobody but root hold that up."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pyboot_svc.errors import UnavailableError
from pyboot_svc.services.folders import LOCKS
from pyboot_svc.text import printable

_WAIT_SECONDS = 60.0
_POLL_SECONDS = 0.1


@contextmanager
def alone(
    run_dir: Path, say: Callable[[str], object], seconds: float = _WAIT_SECONDS
) -> Iterator[None]:
    """Hold the lock; raises UnavailableError when another process has it for longer than `seconds`.

    It lies in a folder of root's: who can't open it can't hold it.
    """
    file = run_dir / LOCKS / "apply"
    try:
        lock = os.open(file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise UnavailableError(f"the lock {file} can't be opened: {error.strerror}") from error
    try:
        _take(lock, say, seconds)
        os.ftruncate(lock, 0)
        os.pwrite(lock, str(os.getpid()).encode(), 0)
        yield
        os.ftruncate(lock, 0)
    finally:
        os.close(lock)


def _take(lock: int, say: Callable[[str], object], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    told = False
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            holder = _holder(lock)
        if time.monotonic() >= deadline:
            raise UnavailableError(
                f"another apply has not finished within {seconds:.0f} s: {holder}; wait for it, or "
                "end it, and apply again"
            )
        if not told:
            say(f"another apply is running; waiting for it to finish: {holder}")
            told = True
        time.sleep(_POLL_SECONDS)


def _holder(lock: int) -> str:
    pid = os.pread(lock, 20, 0).decode("ascii", "replace").strip("\0\n")
    if not pid.isdecimal():
        return "a process that has just begun"
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return f"process {pid}"
    return f"process {pid}, {printable(b' '.join(words).decode(errors='replace').strip())}"
