"""How the lines that child processes write are shown by `pyboot up`."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import TextIO

from pyboot_svc.identity import InstanceId
from pyboot_svc.services.child import LONGEST_LINE
from pyboot_svc.services.log_lines import Said
from pyboot_svc.text import printable

# A child's line is told before it is twice as long as that; and a few characters in front.
_LONGEST = 2 * LONGEST_LINE + 10

Show = Callable[[InstanceId, Said], None]


def with_names(output: TextIO | None = None) -> Show:
    """Each line with the instance's name in front, on `output` (standard error)."""

    def show(identity: InstanceId, line: Said) -> None:
        shown = printable(_text(line.shown), _LONGEST, lines=True)  # of which it has one
        _print(f"{identity} | {shown}", output)

    return show


def as_json(output: TextIO | None = None) -> Show:
    """Each line as a JSON object: one of its log as it is, what is printed as the message of one,
    whatever it looks like."""

    def show(identity: InstanceId, line: Said) -> None:
        text = _text(line.text)
        if not (line.own and _is_object(text)):
            text = json.dumps(
                {"time": round(time.time(), 6), "message": text, "instance": str(identity)}
            )
        _print(text, output)

    return show


def _is_object(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _text(line: bytes) -> str:
    return line.decode("utf-8", "replace").removesuffix("\r")


def _print(text: str, output: TextIO | None) -> None:
    try:
        print(text, file=output or sys.stderr, flush=True)
    except OSError:
        pass  # whoever read our output is gone; the workers needn't go with it
