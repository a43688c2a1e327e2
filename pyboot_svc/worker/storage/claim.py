"""An instance is one process at a time: its state directory is claimed by who runs it."""

from __future__ import annotations

import fcntl
import logging
import os
from pathlib import Path

from pyboot_svc.errors import UnavailableError
from pyboot_svc.identity import MASTER_TITLE, InstanceId

_LOCK_NAME = "lock"

log = logging.getLogger(__name__)


def claim_state(folder: Path, identity: InstanceId) -> int | None:
    """Make the state directory and hold it until this process ends, however that is.

    Gives the descriptor that holds it, None where nothing can be kept: then the worker goes on
    without. Raises UnavailableError when another process has it: the two would take over each
    other's session at the broker, again and again.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        _refuse_a_stranger(folder, identity)
        log.warning(
            "state directory %s can't be made: %s; the model can keep no files; "
            "name another with --state-dir",
            folder,
            error.strerror,
        )
        return None
    try:
        lock = os.open(folder / _LOCK_NAME, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError:
        _refuse_a_stranger(folder, identity)
        return None  # a disk that can't be written is said by all who need it
    try:
        # Not inherited by what a model forks, which may outlive this process.
        fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(lock, 0)
        os.write(lock, str(os.getpid()).encode())
    except BlockingIOError:
        holder = os.read(lock, 20).decode("ascii", "replace")
        os.close(lock)
        raise UnavailableError(
            f"{identity} runs already, as process {holder or 'of another host'}, which holds "
            f"{folder}; {_how_to_stop(identity, holder)}"
        ) from None
    except OSError:
        pass  # a file system without locks, or without room for a number
    return lock


def is_claimed(folder: Path) -> bool:
    """Whether a process runs the instance whose state directory this is."""
    try:
        lock = os.open(folder / _LOCK_NAME, os.O_RDWR)
    except OSError:
        return False
    try:
        fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False


def _refuse_a_stranger(folder: Path, identity: InstanceId) -> None:
    """A directory that is there and closed is that of the service, which may be running."""
    if os.path.lexists(folder) and not os.access(folder, os.X_OK, effective_ids=True):
        raise UnavailableError(
            f"{identity} belongs to another user, who may be running it: {folder} can't be "
            f"entered; stop that one first, or name another folder with --state-dir"
        )


def _how_to_stop(identity: InstanceId, holder: str) -> str:
    """By who has started it, and would start it again."""
    unit = f"edge-model@{identity}.service"
    if unit in _of_process(holder, "cgroup"):
        return f"stop that one first: `systemctl stop {unit.removesuffix('.service')}`"
    parent = _parent_of(holder)
    command = _of_process(parent, "cmdline")
    if "supervise-daemon" in command:
        return f"stop that one first: `rc-service edge-model.{identity} stop`"
    if command.startswith(MASTER_TITLE):
        return f"stop that `pyboot up` first, process {parent}"
    return "stop that one first"


def _parent_of(pid: str) -> str:
    """Empty where nobody knows."""
    status = dict(
        line.split(":\t", 1) for line in _of_process(pid, "status").splitlines() if ":\t" in line
    )
    return status.get("PPid", "")


def _of_process(pid: str, file: str) -> str:
    """Empty of one that has ended, or that is another host's."""
    if not pid.isdecimal():
        return ""
    try:
        return Path("/proc", pid, file).read_text(errors="replace")
    except OSError:
        return ""
