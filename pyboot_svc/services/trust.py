"""Whether what root is about to take is root's alone, all the way up, as sshd's StrictModes asks.

Who can write to a file, or to a folder on the way to it, decides what root reads or runs. Of a
folder such as /tmp, whose sticky bit leaves to root what is root's, only what lies in it counts.
"""

from __future__ import annotations

import os
import pwd
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from pyboot_svc.errors import ExitCode, PybootError

_MOST_LINKS = 40


class Untrusted(PybootError):
    """Somebody else could have written what root was to take."""

    exit_code = ExitCode.CONFIG


def trouble_with(path: Path, *, for_good: bool = False) -> str:
    """Who else than root could change it, and what to do; empty where nobody could.

    What is taken `for_good` is read again at each boot: it can't be below a folder such as /tmp,
    which is cleaned, and where anybody may put something in its place then. For who isn't root
    nothing has to be so; nor for what isn't there, which can't be taken.
    """
    if os.geteuid() != 0:
        return ""
    try:
        *way, last = _way(path.absolute())
        if not for_good:
            way = [one for one in way if not _keeps_roots(one[1])]
        for place, status in (*way, last):
            if trouble := _trouble(place, status):
                return f"{path} isn't root's alone: {trouble}"
    except OSError:
        return ""
    return ""


def require_roots_own(paths: Iterable[Path], *, for_good: bool = False) -> None:
    """Raises Untrusted with all that isn't, once each."""
    found = (trouble_with(path, for_good=for_good) for path in paths)
    troubles = dict.fromkeys(filter(None, found))
    if troubles:
        raise Untrusted("\n".join(troubles))


def _way(path: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Each folder and link on the way, from `/` on, and at last what it leads to."""
    current, links = "/", 0
    yield current, os.stat(current)
    waiting = list(path.parts[1:])[::-1]
    while waiting:
        part = waiting.pop()
        if part == "..":
            current = os.path.dirname(current)
            continue
        place = os.path.join(current, part)
        status = os.lstat(place)
        if stat.S_ISLNK(status.st_mode):
            yield place, status
            links += 1
            if links > _MOST_LINKS:
                raise OSError(f"too many links on the way to {path}")
            target = Path(os.readlink(place))
            current = "/" if target.is_absolute() else current
            waiting += [name for name in target.parts if name != "/"][::-1]
            continue
        yield place, status
        current = place
    yield current, os.stat(current)


def _keeps_roots(status: os.stat_result) -> bool:
    """Whether anybody may make files there, and nobody touch those of root."""
    return status.st_uid == 0 and bool(status.st_mode & stat.S_ISVTX)


def _trouble(place: str, status: os.stat_result) -> str:
    if status.st_uid != 0:
        return (
            f"{place} belongs to {_user(status.st_uid)}; `chown root {place}`, or put it elsewhere"
        )
    if stat.S_ISLNK(status.st_mode):
        return ""  # its mode means nothing
    others = status.st_mode & stat.S_IWOTH
    group = status.st_mode & stat.S_IWGRP and status.st_gid != 0
    if not (others or group) or _is_read_only(place):
        return ""
    if status.st_mode & stat.S_ISVTX:
        return f"anybody can make files in {place}; put it elsewhere, as into /etc/pyboot"
    return f"others can write to {place}; `chmod go-w {place}`, or put it elsewhere"


def _is_read_only(place: str) -> bool:
    """As a ConfigMap is mounted, whatever modes it shows."""
    return bool(os.statvfs(place).f_flag & os.ST_RDONLY)


def _user(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"user {number}"
