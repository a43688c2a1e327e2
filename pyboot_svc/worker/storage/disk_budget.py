"""What an instance may take of the disk, and what it takes: the database with its log, dead letters
in it, and damaged files that were put aside.

Measured as the disk does it, in pages and blocks: small results take several times their payload.
"""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import sqlite3

log = logging.getLogger(__name__)

_KIB = 1024
_SHARE = 16
_LEAST_LOG_BYTES, _MOST_LOG_BYTES = 16 * _KIB, 4 * _KIB**2
# The log, with what the next commits add before it can begin anew: so many times what it may have.
_LOG_RESERVE = 4
# The log's index, the mark, the crash journal and other small files, and what the next rows begin.
_BESIDE_BYTES = 80 * _KIB
# A database without a row.
EMPTY_BYTES = 64 * _KIB
_BLOCK_BYTES = 512
_PAGE_BYTES = 4096
# What a page holds of rows; a longer row goes on in pages of its own.
_LEAF_BYTES, _OVERFLOW_BYTES, _LONGEST_IN_LEAF = 4084, 4092, 4061
_ROW_HEAD_BYTES = 12
# Of the disk this stays free for others: a twentieth, and no more than they need.
_RESERVED_SHARE, _MOST_RESERVED_BYTES = 20, 256 * _KIB**2
_ASIDE = re.compile(r"\.damaged-(?:(\d{1,7})-)?(\d{8}T\d{6}(?:-\d+)?)(-wal|-shm)?")


def log_bytes(most: int) -> int:
    """How long the database's log may grow before it is worked in, and what one commit may write,
    of a budget of `most` bytes, or of a disk that has no more."""
    return min(max(most // _SHARE, _LEAST_LOG_BYTES), _MOST_LOG_BYTES)


def _disk(folder: Path) -> os.statvfs_result | None:
    """The disk that `folder` lies on; None when it can't be asked, or says nothing about its size,
    as ramfs and a tmpfs without a bound."""
    try:
        disk = os.statvfs(folder)
    except OSError:
        return None
    return disk if disk.f_blocks else None


def disk_bytes(folder: Path) -> int:
    """The size of the disk that `folder` lies on; without bounds when it isn't known."""
    disk = _disk(folder)
    return sys.maxsize if disk is None else disk.f_blocks * disk.f_frsize


def dead_letter_bytes(most: int, wanted: int) -> int:
    """What dead letters may take: `wanted`, and a quarter of the budget at most."""
    return min(wanted, most // 4)


def bytes_on_pages(size: int) -> int:
    """What a row of `size` bytes takes, about."""
    if size <= _LONGEST_IN_LEAF:
        return _PAGE_BYTES // max(_LEAF_BYTES // (size + _ROW_HEAD_BYTES), 1)
    return -(-size // _OVERFLOW_BYTES) * _PAGE_BYTES + _PAGE_BYTES // 4


class Usage(NamedTuple):
    """What the database takes by its last commit, without its free pages, and its log; by how many
    bytes it will have grown when all is written and deleted that is to be."""

    database: int
    log: int
    growth: int


class Aside(NamedTuple):
    """A damaged file that was put aside, with its log: `order` is greater for later ones."""

    order: tuple[int, str]
    files: tuple[Path, ...]
    size: int


class DiskBudget:
    """Says how much room is left for results of `most` bytes."""

    def __init__(self, file: Path, most: int, used: Callable[[], Usage]) -> None:
        self.most = most
        self._file = file
        self._used = used
        # Whether it is the disk that lacks what was wanted last: others may have filled it.
        self.disk_is_low = False
        self._aside: list[Aside] = []

    def look(self, connection: sqlite3.Connection) -> None:
        """A database was opened; another may have been put aside just now."""
        self._aside = put_aside(self._file)
        self.room(0)

    def room(self, wanted: int) -> int:
        """How many bytes may still be written. For want of `wanted`, or of any, what was put aside
        is given up, the oldest first: what could be read of it was carried over."""
        left = self._left(wanted)
        while left < wanted or left < 0:
            if not self._aside:
                break
            _remove(self._aside.pop(0))
            left = self._left(wanted)
        return left

    def _left(self, wanted: int) -> int:
        database, log_size, growth = self._used()
        once = log_bytes(self.most)
        reserved = max(_LOG_RESERVE * once, log_size + 2 * once) + _BESIDE_BYTES
        aside = sum(one.size for one in self._aside)
        own = self.most - reserved - database - growth - aside
        free = self._free_bytes(database, log_size) - growth
        self.disk_is_low = free < own and free < max(wanted, _BLOCK_BYTES)
        return min(own, free)

    def _free_bytes(self, database: int, log_size: int) -> int:
        """What the database may still grow by on this disk, which keeps its reserve.

        What is written goes to the log first, and is there twice when that is worked in.
        """
        disk = _disk(self._file.parent)
        if disk is None:
            return self.most  # whoever writes there will say what is wrong
        size = disk.f_blocks * disk.f_frsize
        free = disk.f_bavail * disk.f_frsize - min(size // _RESERVED_SHARE, _MOST_RESERVED_BYTES)
        # The file has free pages, or lacks those that are in the log alone.
        free += _blocks(self._file) - database
        longest = _LOG_RESERVE * log_bytes(min(self.most, size))
        return max(free - max(longest - log_size, 0), free // 2)


def put_aside(file: Path) -> list[Aside]:
    """The damaged files beside the database, the oldest first."""
    found: dict[tuple[int, str], list[Path]] = {}
    try:
        names = os.listdir(file.parent)
    except OSError:
        return []
    for name in names:
        match = _ASIDE.fullmatch(name.removeprefix(file.name))
        if match and name.startswith(file.name):
            found.setdefault((int(match[1] or 0), match[2]), []).append(file.with_name(name))
    return [
        Aside(order, tuple(files), sum(map(_blocks, files)))
        for order, files in sorted(found.items())
    ]


def _blocks(file: Path) -> int:
    try:
        return file.stat().st_blocks * _BLOCK_BYTES
    except OSError:
        return 0


def _remove(aside: Aside) -> None:
    names = ", ".join(sorted(path.name for path in aside.files))
    try:
        for path in aside.files:
            path.unlink(missing_ok=True)
    except OSError as error:
        log.error("%s can't be removed, though its room is needed: %s", names, error.strerror)
    else:
        log.warning("removed %s, a damaged file that was put aside: its room is needed", names)
