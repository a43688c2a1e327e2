"""What instances have written, in files of a folder: `up` keeps it so, as OpenRC does."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from itertools import chain
from operator import itemgetter
from pathlib import Path

from pyboot_svc.errors import UnavailableError
from pyboot_svc.identity import InstanceId
from pyboot_svc.services.folders import as_they_are
from pyboot_svc.services.lines import Show
from pyboot_svc.services.log_lines import ErrorFilter, Said, moment_of
from pyboot_svc.services.log_tail import LogTail, not_allowed

# Of an instance, and as much again of what was before.
_LARGEST = 1024 * 1024
_POLL_SECONDS = 0.2

Line = tuple[str, str]
Names = Callable[[], Sequence[str]]


def keep_lines(show: Show, folder: Path, hold: Callable[[], None] = as_they_are) -> Show:
    """Also writes each line to a file of its instance in `folder`, whose size is bounded.

    A disk that is full keeps nobody from being shown the line, nor does `hold`, which says by
    UnavailableError that the folder is somebody else's by now.
    """

    def keep(identity: InstanceId, line: Said) -> None:
        show(identity, line)
        with suppress(OSError, UnavailableError):
            hold()
            file = log_file(folder, str(identity))
            file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with file.open("ab") as log:
                log.write(line.shown + b"\n")
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
    """The instances that have files there; those of names that are none's, too.

    Raises UnavailableError where this user may not look.
    """
    try:
        found = [file for file in folder.iterdir() if file.name.endswith(".log")]
    except PermissionError:
        raise not_allowed(folder) from None
    except OSError:
        return []
    return sorted(file.name.removesuffix(".log") for file in found)


def last_lines(folder: Path, names: Sequence[str], most: int, *, errors: bool) -> list[Line]:
    """The last lines of these instances, each with the name of its own, in the order of time.

    Raises UnavailableError where this user may not read them.
    """
    with closing(_Logs(folder, errors)) as logs:
        logs.add(names)
        return logs.last(most, begun=True)


def follow_lines(folder: Path, names: Names, most: int, *, errors: bool) -> Iterator[Line]:
    """The same, and from there on what is written, for ever; instances that are new are among
    `names` later."""
    with closing(_Logs(folder, errors)) as logs:
        logs.add(names())
        yield from logs.last(most, begun=False)
        while True:
            yield from logs.more()
            time.sleep(_POLL_SECONDS)
            logs.add(names())


class _Logs:
    """Those of several instances."""

    def __init__(self, folder: Path, errors: bool) -> None:
        self._folder = folder
        self._errors = errors
        self._tails: dict[str, LogTail] = {}
        self._passes: dict[str, ErrorFilter] = {}

    def add(self, names: Sequence[str]) -> None:
        for name in names:
            if name not in self._tails:
                self._tails[name] = LogTail(log_file(self._folder, name))
                self._passes[name] = ErrorFilter()

    def last(self, most: int, *, begun: bool) -> list[Line]:
        """With `begun`, a line that isn't complete counts as one."""
        found: list[tuple[float, Line]] = []
        for name, tail in self._tails.items():
            kept: deque[tuple[float, Line]] = deque(maxlen=most)
            moment = 0.0
            for line in chain(tail.so_far(), tail.begun() if begun else ()):
                moment = moment_of(line) or moment
                if self._shown(name, line):
                    kept.append((moment, (name, line)))
            found += kept
        found.sort(key=itemgetter(0))
        return [line for _, line in found[-most:]]

    def more(self) -> Iterator[Line]:
        for name, tail in self._tails.items():
            yield from ((name, line) for line in tail.more() if self._shown(name, line))

    def close(self) -> None:
        for tail in self._tails.values():
            tail.close()

    def _shown(self, name: str, line: str) -> bool:
        return not self._errors or self._passes[name].keep(line)
