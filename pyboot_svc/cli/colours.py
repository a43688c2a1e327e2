"""Colours on a terminal: of the words that tell how an instance does.

No colour says what the word itself doesn't. NO_COLOR is obeyed (https://no-color.org).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from enum import Enum
from types import MappingProxyType
from typing import TextIO

# Gets the word of a state, and the text that it stands in.
Paint = Callable[[str, str], str]


class Colour(Enum):
    """By the numbers that terminals have for them (ECMA-48), and curses."""

    RED = 1
    GREEN = 2
    YELLOW = 3


_OF_STATES: Mapping[str, Colour] = MappingProxyType(
    {
        "ready": Colour.GREEN,
        **dict.fromkeys(("absent", "failed", "failing", "stalled"), Colour.RED),
    }
)


def colour_of(state: str) -> Colour:
    """What is neither well nor lost is on its way, or waits."""
    return _OF_STATES.get(state, Colour.YELLOW)


def wants_colour(stream: TextIO) -> bool:
    """Whether it is a terminal that knows colours, and nobody has asked for none."""
    if os.environ.get("NO_COLOR") or os.environ.get("TERM", "dumb") == "dumb":
        return False
    return stream.isatty()


def painted(state: str, text: str) -> str:
    return f"\x1b[3{colour_of(state).value}m{text}\x1b[0m"


def unpainted(state: str, text: str) -> str:
    return text
