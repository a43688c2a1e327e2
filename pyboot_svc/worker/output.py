"""Standard output for what a model prints: a full disk costs the line, and not the message."""

from __future__ import annotations

import io
import sys
from typing import Any

_STDOUT = 1


class _Forgiving(io.FileIO):
    """Takes what it can't write for written."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data) or 0
        except OSError:
            return len(data)


def forgive_output() -> None:
    """Replace sys.stdout by one whose writes can't fail, and whose lines are seen at once."""
    raw = _Forgiving(_STDOUT, "w", closefd=False)
    sys.stdout = io.TextIOWrapper(
        io.BufferedWriter(raw), encoding="utf-8", errors="backslashreplace", line_buffering=True
    )
