"""The table of all instances, from what the master's web gives."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Any

from pyboot_svc.metrics.figures import COLUMNS
from pyboot_svc.text import ago, printable

_HEADER = ("INSTANCE", "STATE", *(figure.title.upper() for figure in COLUMNS))
_LONGEST_REASON = 1000


def table_lines(instances: Iterable[dict[str, Any]]) -> list[str]:
    """A header and a line an instance, in columns; below them, why some aren't ready,
    and what brokers grant less than they were asked for."""
    instances = list(instances)
    rows = [_HEADER, *(_row(instance) for instance in instances)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADER))]
    return [_line(row, widths) for row in rows] + [
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


def _row(instance: dict[str, Any]) -> tuple[str, ...]:
    figures = (figure.whole(instance) for figure in COLUMNS)
    shown = ("-" if figure is None else str(figure) for figure in figures)
    return tuple(printable(cell) for cell in (instance["instance"], instance["state"], *shown))


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    left = [row[column].ljust(widths[column]) for column in (0, 1)]
    right = [row[column].rjust(widths[column]) for column in range(2, len(row))]
    return "  ".join(left + right)
