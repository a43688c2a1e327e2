"""Asks a worker, or the master, at its health socket how it does."""

from __future__ import annotations

import os
import socket
import stat
import time
import zlib
from pathlib import Path

from pyboot_svc.errors import in_words
from pyboot_svc.files import names_in
from pyboot_svc.health.loading import is_loading
from pyboot_svc.health.record import Health, read_health
from pyboot_svc.identity import MASTER, InstanceId
from pyboot_svc.sockets.lines import MAX_LINE, decode_line

_FOLDER = "workers"
_NAME = "health.sock"
# The longest path of a socket is 107 bytes, and a name may be longer.
_LONGEST_NAME = 56


def worker_folder(identity: InstanceId) -> str:
    """The name of an instance's own folder: there it makes its socket, and nobody else anything."""
    return _folder_name(str(identity))


def _folder_name(name: str) -> str:
    if len(name) > _LONGEST_NAME:
        # No name has a `~` in it.
        name = f"{name[: _LONGEST_NAME - 9]}~{zlib.crc32(name.encode()):08x}"
    return name


def health_socket(run_dir: Path, identity: InstanceId) -> Path:
    return run_dir / _FOLDER / worker_folder(identity) / _NAME


def master_health_socket(run_dir: Path) -> Path:
    """In the one folder that is the master's own where `run_dir` is root's."""
    return run_dir / MASTER / _NAME


def health_sockets(run_dir: Path) -> list[Path]:
    """Those of all instances that run, or were killed, in the order of their names.

    Raises UnavailableError where one can't look.
    """
    folder = run_dir / _FOLDER
    sockets = (folder / name / _NAME for name in sorted(names_in(folder)))
    return [socket for socket in sockets if _may_be_there(socket)]


def _may_be_there(path: Path) -> bool:
    try:
        path.lstat()
    except PermissionError:
        return True
    except OSError:
        return False
    return True


def folder_of(socket: Path) -> str:
    """The `worker_folder` whose socket this is, or MASTER."""
    return socket.parent.name


def ask_health(path: Path, seconds: float) -> Health:
    """What is answered at `path`; whoever doesn't answer is not alive, as far as one may ask."""
    try:
        health = read_health(decode_line(_read_line(path, seconds)))
        if _folder_name(health.instance) != folder_of(path):
            raise ValueError("it answers for another instance")
        return health
    except FileNotFoundError:
        reason = f"it isn't running: there is no {path}"
    except ConnectionRefusedError:
        reason = f"it was killed: nobody listens at {path}"
    except TimeoutError:
        if is_loading(path):
            return Health(folder_of(path), alive=True, reasons=("the model is being loaded",))
        reason = f"no answer within {seconds:g} s"
    except PermissionError as error:
        reason = f"it can't be asked: {path}: {in_words(error)}"
        return Health(folder_of(path), reasons=(reason,), unasked=True)
    except OSError as error:
        reason = f"{path}: {in_words(error)}"
    except ValueError as error:
        reason = f"{path}: {error}"
    return Health(folder_of(path), reasons=(reason,))


def _read_line(path: Path, seconds: float) -> bytes:
    deadline = time.monotonic() + seconds
    # The folder is the worker's, and who asks may be root: what lies there may lead elsewhere.
    place = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if not stat.S_ISSOCK(os.fstat(place).st_mode):
            raise ValueError("it is no socket")
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(seconds)
            connection.connect(f"/proc/self/fd/{place}")
            return _until_line_end(connection, deadline)
    finally:
        os.close(place)


def _until_line_end(connection: socket.socket, deadline: float) -> bytes:
    """The answer as a whole has the time, not each byte of it; raises TimeoutError."""
    answer = b""
    while b"\n" not in answer and len(answer) < MAX_LINE:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        connection.settimeout(left)
        more = connection.recv(MAX_LINE)
        if not more:
            break
        answer += more
    return answer.partition(b"\n")[0]
