"""A mark beside the health socket of a worker that is loading its model.

An import may hold the GIL for as long as it likes: then nobody answers at the socket, though all is
well. Whoever asks looks for the mark.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

# A model that takes longer to load than this hangs.
LONGEST_LOAD_SECONDS = 1800.0
_LONGEST_NUMBER = 64


@contextmanager
def loading_mark(socket: Path) -> Iterator[None]:
    """Has the mark there meanwhile; where it can't be made, there is no socket either."""
    mark = _mark(socket)
    with suppress(OSError):
        # By a clock that nobody sets, and that all processes of the host share.
        mark.write_text(str(time.monotonic()), encoding="ascii")
    try:
        yield
    finally:
        with suppress(OSError):
            mark.unlink(missing_ok=True)


def is_loading(socket: Path) -> bool:
    try:
        begun = float(_beginning(_mark(socket)))
    except (OSError, ValueError):
        return False
    return 0 <= time.monotonic() - begun < LONGEST_LOAD_SECONDS


def _beginning(mark: Path) -> bytes:
    """Of a file that the worker has made, and nothing that leads elsewhere, or never ends."""
    file = os.open(mark, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        return os.read(file, _LONGEST_NUMBER) if stat.S_ISREG(os.fstat(file).st_mode) else b""
    finally:
        os.close(file)


def _mark(socket: Path) -> Path:
    return socket.with_suffix(".loading")
