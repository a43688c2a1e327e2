"""The table of all instances, from what the master's web gives."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import itemgetter
from types import MappingProxyType
from typing import Any

from pyboot_svc.cli.colours import Paint, unpainted
from pyboot_svc.metrics.figures import COLUMNS
from pyboot_svc.text import ago, printable

_LONGEST_REASON = 1000
_INDENT = "    "


def terminal_width() -> int | None:
    """Of standard output; None where that is no terminal, and nothing is too wide."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def table_lines(instances: Iterable[dict[str, Any]], width: int | None = None) -> list[str]:
    """A header and a line an instance, in columns, the less important ones left out where they
    don't fit into `width`; below them, why some aren't ready, and what brokers grant less than
    they were asked for."""
    instances = list(instances)
    return table_rows(instances, width) + [
        printable(f"{instance['instance']}: {reason}", _LONGEST_REASON)
        for instance in instances
        for reason in reasons_of(instance)
    ]


def told_lines(instances: Iterable[dict[str, Any]], width: int, paint: Paint) -> list[str]:
    """The same for people: each reason under the line of its instance, and states in colour."""
    instances = list(instances)
    header, *rows = table_rows(instances, width, paint)
    lines = [header]
    for instance, row in zip(instances, rows, strict=True):
        lines.append(row)
        lines += [
            f"{_INDENT}{printable(reason, _LONGEST_REASON)}" for reason in reasons_of(instance)
        ]
    return lines


def table_rows(
    instances: Sequence[dict[str, Any]], width: int | None = None, paint: Paint = unpainted
) -> list[str]:
    """The header and a line an instance, without the reasons; `paint` colours the states."""
    columns = [column.painted(paint) for column in fitting_columns(instances, width)]
    return [GAP.join(row) for row in zip(*columns, strict=True)]


def fitting_columns(instances: Sequence[dict[str, Any]], width: int | None = None) -> list[Column]:
    """Those that fit into `width`, by their importance, in their order."""
    columns = [Column(title, [cell(one) for one in instances]) for title, cell in CELLS.items()]
    return _that_fit(columns, width)


def reasons_of(instance: Mapping[str, Any]) -> list[str]:
    """Why it isn't ready, what brokers grant less than they were asked for, its last error."""
    told = [
        instance.get("error"),
        *instance.get("reasons", []),
        *instance.get("notices", []),
        last_error(instance),
    ]
    return [reason for reason in told if reason]


def figure_of(instance: dict[str, Any], title: str) -> float:
    """What stands in a column of numbers; -1 where nothing is known, which comes last."""
    value = CELLS[title](instance)
    return value if isinstance(value, int | float) else -1.0


def last_error(instance: Mapping[str, Any]) -> str | None:
    """In words; None without one."""
    last = instance.get("last") or {}
    error, moment = last.get("error"), last.get("error_time")
    if not error or not isinstance(moment, int | float):
        return None
    return f"last error {ago(time.time() - moment)}: {error}"


class Column:
    """A column as it is shown: its title in capitals, and a cell an instance, all of one width."""

    def __init__(self, title: str, values: Sequence[Any]) -> None:
        self.title = title
        texts = ["-" if value is None else printable(str(value)) for value in values]
        self.texts = [title.upper(), *texts]
        self.width = max(map(len, self.texts))

    @property
    def cells(self) -> list[str]:
        left = self.title in _NAMES
        return [text.ljust(self.width) if left else text.rjust(self.width) for text in self.texts]

    def painted(self, paint: Paint) -> list[str]:
        if self.title != STATE:
            return self.cells
        header, *cells = self.cells
        return [header, *map(paint, self.texts[1:], cells)]


def _that_fit(columns: list[Column], width: int | None) -> list[Column]:
    if width is None:
        return columns
    left, shown = width + len(GAP), set(_NAMES)
    for column in sorted(columns, key=lambda column: _BY_IMPORTANCE.index(column.title)):
        needed = column.width + len(GAP)
        if column.title in _NAMES or needed <= left:
            left -= needed
            shown.add(column.title)
    return [column for column in columns if column.title in shown]


def _since(key: str) -> Callable[[dict[str, Any]], str | None]:
    def cell(instance: dict[str, Any]) -> str | None:
        moment = (instance.get("last") or {}).get(key)
        return ago(time.time() - moment) if isinstance(moment, int | float) else None

    return cell


GAP = "  "
STATE = "state"
_NAMES = ("instance", STATE)
# What stands in which column.
CELLS: Mapping[str, Callable[[dict[str, Any]], Any]] = MappingProxyType(
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
