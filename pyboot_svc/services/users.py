"""A user of the host for each instance, so that none can meddle with another's files.

systemd makes it by DynamicUser= while the instance runs; elsewhere it is made here.
"""

from __future__ import annotations

import hashlib
import pwd
import shutil
import subprocess
from collections.abc import Sequence

from pyboot_svc.errors import UnavailableError
from pyboot_svc.identity import InstanceId

# Where systemd takes its dynamic users from: nobody else's, and far more than system users.
_FIRST, _LAST = 61184, 65519
_LIMITS = (
    *("-K", f"SYS_UID_MIN={_FIRST}", "-K", f"SYS_UID_MAX={_LAST}"),
    *("-K", f"SYS_GID_MIN={_FIRST}", "-K", f"SYS_GID_MAX={_LAST}"),
)
_ABSENT = "/nonexistent"


def user_of(identity: InstanceId) -> str:
    """Its user's name, and its group's; a user's name is too short for that of an instance."""
    return f"em-{hashlib.sha256(str(identity).encode()).hexdigest()[:16]}"


def ensure_user(identity: InstanceId) -> None:
    """Make it, unless it is there; raises UnavailableError with what went wrong."""
    name = user_of(identity)
    if _is_there(name):
        return
    commands = _shadow(name, identity) if shutil.which("useradd") else _busybox(name, identity)
    complaints = [_complaint(command) for command in commands]
    if not _is_there(name):
        why = "; ".join(filter(None, complaints)) or "nothing was said of why"
        raise UnavailableError(f"the user {name} of {identity} can't be made: {why}")


def remove_user(identity: InstanceId) -> None:
    """Unless it isn't there; its group goes with it. One that can't be removed does no harm."""
    name = user_of(identity)
    if _is_there(name):
        _complaint(["userdel" if shutil.which("userdel") else "deluser", name])


def _is_there(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


def _complaint(command: Sequence[str]) -> str:
    try:
        ended = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
    except OSError as error:
        return f"{command[0]} can't be run: {error.strerror}"
    return (ended.stderr + ended.stdout).strip() if ended.returncode else ""


def _shadow(name: str, identity: InstanceId) -> list[list[str]]:
    command = ["useradd", "--system", *_LIMITS, "--user-group", "--no-create-home"]
    command += ["--home-dir", _ABSENT, "--shell", "/usr/sbin/nologin"]
    return [[*command, "--comment", f"pyboot edge model {identity}", name]]


def _busybox(name: str, identity: InstanceId) -> list[list[str]]:
    """As on Alpine."""
    command = ["adduser", "-S", "-D", "-H", "-h", _ABSENT, "-s", "/sbin/nologin"]
    about = f"pyboot edge model {identity}"
    return [["addgroup", "-S", name], [*command, "-g", about, "-G", name, name]]
