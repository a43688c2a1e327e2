"""What a person has chosen to see of the instances, and what keys change of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum
from types import MappingProxyType
from typing import Any

from pyboot_svc.cli.table import CELLS, STATE, figure_of

# By which column to sort, by the key.
SORTS: Mapping[str, str] = MappingProxyType(
    {
        "n": "instance",
        "t": STATE,
        "i": "in/s",
        "o": "out/s",
        "p": "pre_queue",
        "w": "post_queue",
        "l": "p99 ms",
        "e": "errors",
    }
)
_NAMES = ("instance", STATE)
_LONGEST_FILTER = 60
ENTER, ESCAPE, BACKSPACE = "\n", "\x1b", "\b"
UP, DOWN, PAGE_UP, PAGE_DOWN, HOME, END = "up", "down", "page up", "page down", "home", "end"
_STEPS: Mapping[str, int] = MappingProxyType(
    {UP: -1, "k": -1, DOWN: 1, "j": 1, PAGE_UP: -10, PAGE_DOWN: 10, HOME: -(10**6), END: 10**6}
)

Instance = dict[str, Any]


class Page(Enum):
    TABLE = "table"
    DETAIL = "detail"
    HELP = "help"


class View:
    """The page, how it is sorted and filtered, and which instance is chosen, by its name."""

    def __init__(self) -> None:
        self.page = Page.TABLE
        self.sort = "instance"
        self.reverse = False
        self.filter = ""
        # Whether keys go to the filter.
        self.typing = False
        self.chosen = ""
        self.quit = False
        # The first line of the table that is shown.
        self.offset = 0

    def shown(self, instances: Sequence[Instance]) -> list[Instance]:
        """Those that the filter lets through, sorted: of figures, the highest first.

        One of them is chosen, if there are any.
        """
        wanted = self.filter.lower()
        found = [one for one in instances if wanted in _searched(one)]
        named = sorted(found, key=lambda one: _natural(one["instance"]))
        if self.sort in _NAMES:
            cell = CELLS[self.sort]
            found = sorted(named, key=lambda one: _natural(str(cell(one))))
        else:
            found = sorted(named, key=lambda one: -figure_of(one, self.sort))
        if self.reverse:
            found.reverse()
        names = [one["instance"] for one in found]
        if self.chosen not in names:
            self.chosen = names[0] if names else ""
        return found

    def press(self, key: str, names: Sequence[str]) -> None:
        """`names` are the instances in the order in which they are shown."""
        if self.typing:
            self._type(key)
        elif key == "q":
            self.quit = True
        elif self.page is not Page.TABLE:
            self.page = Page.TABLE
        elif key == "?":
            self.page = Page.HELP
        elif key == ENTER and self.chosen:
            self.page = Page.DETAIL
        elif key == "/":
            self.typing = True
        elif key == ESCAPE:
            self.filter = ""
        elif key == "r":
            self.reverse = not self.reverse
        elif key in SORTS:
            self.sort, self.reverse = SORTS[key], False
        elif key in _STEPS and names:
            at = names.index(self.chosen) if self.chosen in names else 0
            self.chosen = names[min(max(at + _STEPS[key], 0), len(names) - 1)]

    def _type(self, key: str) -> None:
        if key == ESCAPE:
            self.filter, self.typing = "", False
        elif key == ENTER:
            self.typing = False
        elif key == BACKSPACE:
            self.filter = self.filter[:-1]
        elif len(key) == 1 and key.isprintable() and len(self.filter) < _LONGEST_FILTER:
            self.filter += key


def _searched(instance: Instance) -> str:
    return f"{instance['instance']} {instance.get('state')}".lower()


def _natural(text: str) -> tuple[str, int]:
    """So that mean-10 comes behind mean-9."""
    name, _, number = text.rpartition("-")
    return (name, int(number)) if number.isdecimal() else (text, 0)
