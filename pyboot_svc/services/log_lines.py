"""What a line of a worker's log says of itself: when it was written, and whether of an error.

A model may print anything, for one what a publisher has sent it. Where pyboot passes it on, it
stands behind `> `: no line of the log itself begins so.
"""

from __future__ import annotations

import json
import re
from datetime import datetime
from typing import Any, NamedTuple

_PLAIN = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d) ([A-Z]+) ")
# Of kubectl, with the name of the pod.
_PREFIX = re.compile(r"\[[^\]]*\] ")
_SEVERE = ("ERROR", "CRITICAL")
_PRINTED = "> "
_TRACEBACK = "Traceback (most recent call last):"


class Said(NamedTuple):
    """A line that a worker wrote: of its own log, or something that was printed there."""

    text: bytes
    own: bool

    @property
    def shown(self) -> bytes:
        return self.text if self.own else _PRINTED.encode() + self.text


class ErrorFilter:
    """Lets lines of errors through, with those that belong to them.

    An error is what is logged as one, what ends a worker, and a traceback that it prints.
    """

    def __init__(self) -> None:
        self._logged = _Entries()
        self._printed = _Entries()

    def keep(self, line: str) -> bool:
        said = _PREFIX.sub("", line, count=1)
        if said.startswith(_PRINTED):
            return self._printed.keep(said.removeprefix(_PRINTED), severe=False)
        return self._logged.keep(said, severe=_is_severe(said))


class _Entries:
    """Of a log, each with the lines that belong to it."""

    def __init__(self) -> None:
        self._keeping = False
        self._in_traceback = False

    def keep(self, said: str, *, severe: bool) -> bool:
        if said.startswith((" ", "\t")) or not said:
            return self._keeping
        if self._in_traceback:  # its last line, which stands at the left again
            self._in_traceback = False
            return True
        self._in_traceback = said.startswith(_TRACEBACK)
        self._keeping = self._in_traceback or severe
        return self._keeping


def moment_of(line: str) -> float | None:
    """In seconds of Unix time, None where the line doesn't say it."""
    if (found := _PLAIN.match(line)) is not None:
        try:
            return datetime.fromisoformat(found[1]).timestamp()
        except (ValueError, OverflowError, OSError):
            return None
    moment = _document(line).get("time")
    return float(moment) if isinstance(moment, int | float) and 0 <= moment < 1e11 else None


def _is_severe(said: str) -> bool:
    if (found := _PLAIN.match(said)) is not None:
        return found[2] in _SEVERE
    if said.startswith("pyboot: "):
        return True
    return str(_document(said).get("level", "")).upper() in _SEVERE


def _document(line: str) -> dict[str, Any]:
    if not line.startswith("{"):
        return {}
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
