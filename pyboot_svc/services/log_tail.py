"""One log file, read to its end and on from there: nothing in between is missed, or read twice."""

from __future__ import annotations

import grp
import gzip
import os
import re
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from pyboot_svc.errors import UnavailableError

_READ_BYTES = 64 * 1024
# Of what was read last: where a file has something else, it was truncated and written anew.
_MARK_BYTES = 64


class LogTail:
    """Lines of a file that may be renamed, or truncated, and written anew."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: BinaryIO | None = None
        self._begun = b""
        self._mark = b""
        self._refused = False
        try:
            self._open()
        except PermissionError:
            self._refused = True
        except OSError:
            pass  # it isn't there yet

    def so_far(self) -> Iterator[str]:
        """Of the rotated files, the oldest first, and of the current one.

        Raises UnavailableError where this user may not read it.
        """
        if self._refused:
            raise not_allowed(self._path)
        own = None if self._file is None else os.fstat(self._file.fileno())
        for older in _rotated(self._path):
            opener = gzip.open if older.suffix == ".gz" else open
            with suppress(OSError, EOFError), opener(older, "rb") as lines:
                if own is None or not os.path.samestat(own, os.fstat(lines.fileno())):
                    yield from map(_text, lines)
        yield from self._rest()

    def begun(self) -> Iterator[str]:
        """The line that isn't complete, if there is one."""
        if self._begun:
            yield _text(self._begun)

    def more(self) -> Iterator[str]:
        """What was written since."""
        self._rewind_truncated()
        yield from self._rest()
        if self._renamed():
            yield from self._rest()  # written before it was renamed
            with suppress(OSError):  # it isn't there yet, or nobody's yet
                self._open()
            yield from self._rest()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
        self._file = None

    def _open(self) -> None:
        opened = self._path.open("rb", buffering=0)
        self.close()
        self._file, self._mark = opened, b""

    def _renamed(self) -> bool:
        if self._file is None:
            return True
        try:
            return not os.path.samestat(self._path.stat(), os.fstat(self._file.fileno()))
        except OSError:
            return False  # and the next one isn't there yet

    def _rewind_truncated(self) -> None:
        if self._file is not None:
            at = self._file.tell() - len(self._mark)
            if os.pread(self._file.fileno(), len(self._mark), at) != self._mark:
                self._file.seek(0)
                self._mark = b""

    def _rest(self) -> Iterator[str]:
        while self._file is not None and (data := self._file.read(_READ_BYTES)):
            self._mark = (self._mark + data)[-_MARK_BYTES:]
            *lines, self._begun = (self._begun + data).split(b"\n")
            yield from map(_text, lines)


def not_allowed(path: Path) -> UnavailableError:
    """Says who may read a file or folder, and what to do about it."""
    with suppress(OSError, KeyError):
        status = path.stat()
        if status.st_mode & stat.S_IRGRP:
            group = grp.getgrgid(status.st_gid).gr_name
            return UnavailableError(
                f"{path} is for root and the group {group}: try as root (sudo), or join the group "
                f"(sudo usermod -aG {group} USER) and log in again"
            )
    return UnavailableError(f"{path} can't be read: permission denied; try as root (sudo)")


def _rotated(file: Path) -> list[Path]:
    """The oldest first: by their numbers, and among them the one that was full."""
    numbered = [(_number(other.name), other) for other in file.parent.glob(f"{file.name}.*")]
    older = [other for number, other in sorted(numbered, reverse=True) if number]
    full = file.with_name(f"{file.name}.full")
    with suppress(OSError):
        moment = full.stat().st_mtime
        newer = [other for other in older if other.stat().st_mtime > moment]
        older.insert(len(older) - len(newer), full)
    return older


def _number(name: str) -> int:
    """Of a rotated file; 0 of another one."""
    found = re.search(r"\.log\.([0-9]+)(\.gz)?$", name)
    return int(found[1]) if found else 0


def _text(line: bytes) -> str:
    return line.decode("utf-8", "replace").rstrip("\r\n")
