"""How far something is that takes long: a line on a terminal; elsewhere nothing at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from typing import TextIO

_BAR_WIDTH = 20
_ERASE = "\r\x1b[K"

Say = Callable[[str], None]


class Progress:
    """The last line of `stream`, `[#####---------------] 3 of 12 instances`, until it is left.

    Pure ASCII, and no thread: it is drawn when something is told.
    """

    def __init__(self, total: int, what: str, stream: TextIO) -> None:
        self._total = total
        self._what = what
        self._stream = stream
        self._done = 0
        # Whoever can't go back in a line would see all of them.
        knows = os.environ.get("TERM", "") not in ("", "dumb")
        self.shown = total > 0 and knows and stream.isatty()

    def __enter__(self) -> Progress:
        self._write(self._line())
        return self

    def __exit__(self, *error: object) -> None:
        self._write(_ERASE)

    def at(self, done: int) -> None:
        """So many of the total are done."""
        self._done = min(done, self._total)
        self._write(_ERASE + self._line())

    def above(self, say: Say) -> Say:
        """`say`, for what prints lines meanwhile."""

        def told(text: str) -> None:
            self._write(_ERASE)
            say(text)
            self._write(self._line())

        return told

    def _line(self) -> str:
        full = self._done * _BAR_WIDTH // max(self._total, 1)
        bar = "#" * full + "-" * (_BAR_WIDTH - full)
        line = f"[{bar}] {self._done} of {self._total} {self._what}"
        # One cell stays free: behind the last one some terminals begin a new line.
        return line[: max(shutil.get_terminal_size().columns - 1, 0)]

    def _write(self, text: str) -> None:
        if self.shown:
            self._stream.write(text)
            self._stream.flush()
