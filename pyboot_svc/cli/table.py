"""The table of all instances, from what the master's web gives."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from operator import itemgetter
from types import MappingProxyType
from typing import Any

from pyboot_svc.metrics.figures import COLUMNS
from pyboot_svc.text import ago, printable

_LONGEST_REASON = 1000


def terminal_width() -> int | None:
    """Of standard output; None where that is no terminal, and nothing is too wide."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def table_lines(instances: Iterable[dict[str, Any]], width: int | None = None) -> list[str]:
    """A header and a line an instance, in columns, the less important ones left out where they
    don't fit into `width`; below them, why some aren't ready, and what brokers grant less than
    they were asked for."""
    instances = list(instances)
    columns = [_Cells(title, [cell(one) for one in instances]) for title, cell in _ALL.items()]
    shown = _that_fit(columns, width)
    return [*_rows(shown)] + [
        printable(f"{instance['instance']}: {reason}", _LONGEST_REASON)
        for instance in instances
        for reason in [
            instance["error"],
            *instance.get("reasons", []),
            *instance.get("notices", []),
            last_error(instance),
        ]
        if reason
    ]


def last_error(instance: dict[str, Any]) -> str | None:
    """In words; None without one."""
    last = instance.get("last") or {}
    error, moment = last.get("error"), last.get("error_time")
    if not error or not isinstance(moment, int | float):
        return None
    return f"last error {ago(time.time() - moment)}: {error}"


class _Cells:
    """A column as it is shown."""

    def __init__(self, title: str, cells: Sequence[Any]) -> None:
        self.title = title
        texts = ["-" if cell is None else printable(str(cell)) for cell in cells]
        self.texts = [title.upper(), *texts]
        self.width = max(map(len, self.texts))

    def padded(self) -> list[str]:
        left = self.title in _NAMES
        return [text.ljust(self.width) if left else text.rjust(self.width) for text in self.texts]


def _that_fit(columns: list[_Cells], width: int | None) -> list[_Cells]:
    if width is None:
        return columns
    left, shown = width + len(_GAP), set(_NAMES)
    for column in sorted(columns, key=lambda column: _BY_IMPORTANCE.index(column.title)):
        needed = column.width + len(_GAP)
        if column.title in _NAMES or needed <= left:
            left -= needed
            shown.add(column.title)
    return [column for column in columns if column.title in shown]


def _rows(columns: Sequence[_Cells]) -> Iterator[str]:
    for row in zip(*(column.padded() for column in columns), strict=True):
        yield _GAP.join(row)


def _since(key: str) -> Callable[[dict[str, Any]], str | None]:
    def cell(instance: dict[str, Any]) -> str | None:
        moment = (instance.get("last") or {}).get(key)
        return ago(time.time() - moment) if isinstance(moment, int | float) else None

    return cell


_GAP = "  "
_NAMES = ("instance", "state")
_ALL: Mapping[str, Callable[[dict[str, Any]], Any]] = MappingProxyType(
    {
        **{name: itemgetter(name) for name in _NAMES},
        **{figure.title: figure.whole for figure in COLUMNS},
        "last in": _since("input"),
        "last out": _since("result"),
    }
)
_BY_IMPORTANCE = (
    *_NAMES,
    *("in/s", "out/s", "errors", "pre_queue", "post_queue", "dead", "none", "spooled"),
    *("restarts", "last in", "dropped", "p99 ms", "last out", "p50 ms"),
)
