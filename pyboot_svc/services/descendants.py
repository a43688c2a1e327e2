"""Ends what this process has started and left, with all that was started by that."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

# From <sys/prctl.h>.
_PR_SET_CHILD_SUBREAPER = 36
_LOOK_SECONDS = 0.01
# What takes no SIGKILL waits for a disk.
_MOST_SECONDS = 2.0


def adopt_orphans() -> None:
    """From here on what outlives the child that started it is a child of this process."""
    # A Python that was built without ctypes ends the children alone.
    with suppress(ImportError, OSError, AttributeError):
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def end_descendants() -> None:
    """By SIGKILL: each one's own children come to this process then, and are ended, too."""
    deadline = time.monotonic() + _MOST_SECONDS
    while (children := _children()) and time.monotonic() < deadline:
        for child in children:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(child, signal.SIGKILL)
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        time.sleep(_LOOK_SECONDS)


def _children() -> list[int]:
    found: list[int] = []
    with suppress(OSError):
        for thread in Path("/proc/self/task").iterdir():
            with suppress(OSError):
                found += map(int, (thread / "children").read_text().split())
    return found
