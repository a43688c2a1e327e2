"""Makes a socket to listen at, or takes over one that a dead process left behind."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from pyboot_svc.errors import UnavailableError

_BACKLOG = 1024
_FIRST_PASSED_FD = 3
# Of sockaddr_un: 108 bytes with the closing zero.
_LONGEST_PATH = 107
_RETRY_SECONDS = 1.0


class Occupied(UnavailableError):
    """Another process listens there."""


def open_listener(path: Path, name: str = "metrics", owner: str = "master") -> socket.socket:
    """Listen at `path`; raises UnavailableError when that can't be done.

    `name` of the socket and `owner`, who listens there, are for what an error says.
    """
    if len(os.fsencode(path)) > _LONGEST_PATH:
        raise UnavailableError(
            f"the {name} socket's path is longer than {_LONGEST_PATH} bytes: {path}; "
            "choose a shorter --run-dir"
        )
    listener = socket.socket(socket.AF_UNIX)
    try:
        listener.settimeout(None)  # a model may have set another default
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_stale(path, owner)
        listener.bind(str(path))
        path.chmod(0o660)
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise UnavailableError(
            f"the {name} socket {path} can't be made: {error.strerror}; "
            "choose a writable folder with --run-dir"
        ) from error
    except UnavailableError:
        listener.close()
        raise
    return listener


def answer_each(listener: socket.socket, answer: Callable[[socket.socket], None]) -> None:
    """Have each that connects answered, one at a time, for ever; if the listener has a timeout,
    until none has come for so long.

    An OSError of one is its own: it has gone, reads nothing, or took too long.
    """
    while True:
        try:
            connection, _ = listener.accept()
        except TimeoutError:
            return
        except OSError:
            time.sleep(_RETRY_SECONDS)  # too many open files, say: it may pass
            continue
        with connection, suppress(OSError):
            answer(connection)


def inherited_listener() -> socket.socket | None:
    """The socket that the service manager listens at for us (sd_listen_fds(3)), if it does."""
    # Taken out of the environment: cheroot would serve HTTP at it, too.
    pid, count = os.environ.pop("LISTEN_PID", ""), os.environ.pop("LISTEN_FDS", "")
    if pid != str(os.getpid()) or count != "1":
        return None
    os.set_inheritable(_FIRST_PASSED_FD, False)
    return socket.socket(fileno=_FIRST_PASSED_FD)


def is_listening(path: Path) -> bool:
    """Whether a process listens there: one that died may have left the socket."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except (FileNotFoundError, ConnectionRefusedError):
            return False
        except (BlockingIOError, TimeoutError):
            pass  # so many wait already
    return True


def _remove_stale(path: Path, owner: str) -> None:
    if not path.exists():
        return
    if not path.is_socket():
        raise UnavailableError(f"{path} exists and is not a socket; remove it")
    if is_listening(path):
        raise Occupied(f"another {owner} is already running: it listens at {path}")
    path.unlink()
