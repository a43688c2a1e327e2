"""The latest figures of each instance, and lines of blocks that show how they went."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pyboot_svc.metrics.figures import COLUMNS

# Readings: at one a second, four minutes.
_MOST = 240
KEPT = ("in/s", "out/s", "pre_queue", "post_queue", "p99 ms")
_FIGURES = tuple(figure for title in KEPT for figure in COLUMNS if figure.title == title)
_BLOCKS = "▁▂▃▄▅▆▇█"
_ASCII = "_.-:=+*#"

Value = float | None


class History:
    """Kept while `top` runs: nobody else has to. One that is gone is forgotten."""

    def __init__(self) -> None:
        self._kept: dict[str, dict[str, deque[Value]]] = {}

    def note(self, instances: Iterable[Mapping[str, Any]]) -> None:
        before, self._kept = self._kept, {}
        for instance in instances:
            name = str(instance["instance"])
            own = before.get(name) or {title: deque(maxlen=_MOST) for title in KEPT}
            for figure in _FIGURES:
                value = figure.whole(instance)
                known = isinstance(value, int | float)
                own[figure.title].append(float(value) if known else None)
            self._kept[name] = own

    def of(self, instance: str, title: str) -> Sequence[Value]:
        """The oldest first; None where it was not known."""
        return self._kept.get(instance, {}).get(title, ())


def sparkline(values: Sequence[Value], width: int, *, unicode: bool) -> str:
    """The last `width` of them as a line of blocks, from zero to the highest among them.

    A value that isn't known is a blank, and the newest stands at the right.
    """
    shown = [*values][-width:]
    highest = max((value for value in shown if value is not None), default=0.0)
    blocks = _BLOCKS if unicode else _ASCII
    return "".join(_block(value, highest, blocks) for value in shown).rjust(width)


def _block(value: Value, highest: float, blocks: str) -> str:
    if value is None:
        return " "
    if highest <= 0:
        return blocks[0]
    return blocks[min(int(max(value, 0) / highest * len(blocks)), len(blocks) - 1)]
