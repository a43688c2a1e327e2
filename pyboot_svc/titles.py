"""What `ps` and `htop` show of a process and its threads."""

from __future__ import annotations

import threading
from pathlib import Path

try:
    import setproctitle
except ImportError:  # it is made for one version of Python, and a model may bring another
    setproctitle = None  # type: ignore[assignment]

_LONGEST_NAME = 15


def show_title(text: str) -> None:
    """Of the process; without the library there is none."""
    if setproctitle is not None:
        setproctitle.setproctitle(text)


def name_thread(name: str) -> None:
    """The thread that calls it."""
    if setproctitle is not None:
        setproctitle.setthreadtitle(name)
        return
    try:
        comm = Path(f"/proc/self/task/{threading.get_native_id()}/comm")
        comm.write_bytes(name.encode()[:_LONGEST_NAME])
    except OSError:
        pass  # it has no name then
