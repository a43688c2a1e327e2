"""What instances have written, in files of a folder: `up` keeps it so, as OpenRC does."""

from __future__ import annotations

import gzip
import os
import re
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from pyboot_svc.identity import InstanceId
from pyboot_svc.services.lines import Show
from pyboot_svc.services.log_lines import ErrorFilter, moment_of

# Of an instance, and as much again of what was before.
_LARGEST = 1024 * 1024
_POLL_SECONDS = 0.2
_READ_BYTES = 64 * 1024

Line = tuple[str, str]
Names = Callable[[], Sequence[str]]


def keep_lines(show: Show, folder: Path) -> Show:
    """Also writes each line to a file of its instance in `folder`, whose size is bounded.

    A disk that is full keeps nobody from being shown the line.
    """

    def keep(identity: InstanceId, line: bytes) -> None:
        show(identity, line)
        with suppress(OSError):
            file = log_file(folder, str(identity))
            file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with file.open("ab") as log:
                log.write(line + b"\n")
                size = log.tell()
            if size >= _LARGEST:
                file.replace(f"{file}.1")

    return keep


def lines_folder(run_dir: Path) -> Path:
    """Where a `pyboot up` keeps what its workers write."""
    return run_dir / "log"


def log_file(folder: Path, instance: str) -> Path:
    return folder / f"{instance}.log"


def names_in(folder: Path) -> list[str]:
    """The instances that have files there; those of names that are none's, too."""
    return sorted(file.name.removesuffix(".log") for file in folder.glob("*.log"))


def last_lines(folder: Path, names: Sequence[str], most: int, *, errors: bool) -> list[Line]:
    """The last lines of these instances, each with the name of its own, in the order of time."""
    found: list[tuple[float, str, str]] = []
    for name in names:
        kept: deque[tuple[float, str, str]] = deque(maxlen=most)
        passes, moment = ErrorFilter(), 0.0
        for line in _all_lines(log_file(folder, name)):
            moment = moment_of(line) or moment
            if not errors or passes.keep(line):
                kept.append((moment, name, line))
        found += kept
    found.sort(key=lambda entry: entry[0])
    return [(name, line) for _, name, line in found[-most:]]


def new_lines(folder: Path, names: Names, *, errors: bool) -> Iterator[Line]:
    """What is written from now on, for ever; instances that are new are among `names` later."""
    tails = {name: _Tail(log_file(folder, name), from_end=True) for name in names()}
    passes: dict[str, ErrorFilter] = {}
    try:
        while True:
            for name, tail in tails.items():
                keep = passes.setdefault(name, ErrorFilter()).keep
                yield from ((name, line) for line in tail.more() if not errors or keep(line))
            time.sleep(_POLL_SECONDS)
            for name in names():
                if name not in tails:
                    tails[name] = _Tail(log_file(folder, name), from_end=False)
    finally:
        for tail in tails.values():
            tail.close()


def _all_lines(file: Path) -> Iterator[str]:
    """Of the rotated files, the oldest first, and of the current one."""
    rotated = [(_age(other.name), other) for other in file.parent.glob(f"{file.name}.*")]
    older = [other for age, other in sorted(rotated, reverse=True) if age]
    for one in (*older, file):
        opener = gzip.open if one.suffix == ".gz" else open
        with suppress(OSError, EOFError), opener(one, "rb") as lines:
            for line in lines:
                yield _text(line)


def _age(name: str) -> int:
    """The number of a rotated file; 0 of another one."""
    found = re.search(r"\.log\.([0-9]+)(\.gz)?$", name)
    return int(found[1]) if found else 0


def _text(line: bytes) -> str:
    return line.decode("utf-8", "replace").rstrip("\r\n")


class _Tail:
    """Lines that are added to a file, which may be renamed, or truncated, and written anew."""

    def __init__(self, path: Path, *, from_end: bool) -> None:
        self._path = path
        self._file: BinaryIO | None = None
        self._begun = b""
        self._open()
        if from_end and self._file is not None:
            self._file.seek(0, os.SEEK_END)

    def more(self) -> Iterator[str]:
        yield from self._rest()
        if self._moved():
            self._open()
            yield from self._rest()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
        self._file = None

    def _open(self) -> None:
        self.close()
        with suppress(OSError):
            self._file = self._path.open("rb")

    def _moved(self) -> bool:
        if self._file is None:
            return True
        try:
            now = self._path.stat()
        except OSError:
            return False  # it has been renamed, and the next one isn't there yet
        return now.st_ino != os.fstat(self._file.fileno()).st_ino or now.st_size < self._file.tell()

    def _rest(self) -> Iterator[str]:
        while self._file is not None and (data := self._file.read(_READ_BYTES)):
            *lines, self._begun = (self._begun + data).split(b"\n")
            yield from map(_text, lines)
