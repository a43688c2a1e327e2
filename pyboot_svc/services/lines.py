"""How the lines that child processes write are shown by `pyboot up`."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import TextIO

from pyboot_svc.identity import InstanceId
from pyboot_svc.services.child import LONGEST_LINE
from pyboot_svc.text import printable

Show = Callable[[InstanceId, bytes], None]


def with_names(output: TextIO | None = None) -> Show:
    """Each line with the instance's name in front, on `output` (standard error)."""

    def show(identity: InstanceId, line: bytes) -> None:
        _print(f"{identity} | {_text(line)}", output)

    return show


def as_json(output: TextIO | None = None) -> Show:
    """Each line as a JSON object: as it is, or as the message of one if it is something else."""

    def show(identity: InstanceId, line: bytes) -> None:
        text = _text(line)
        if not _is_object(line):
            text = json.dumps(
                {"time": round(time.time(), 6), "message": text, "instance": str(identity)}
            )
        _print(text, output)

    return show


def _is_object(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _text(line: bytes) -> str:
    said = line.decode("utf-8", "replace").removesuffix("\r")
    return printable(said, 2 * LONGEST_LINE, lines=True)  # of which it has one


def _print(text: str, output: TextIO | None) -> None:
    try:
        print(text, file=output or sys.stderr, flush=True)
    except OSError:
        pass  # whoever read our output is gone; the workers needn't go with it
