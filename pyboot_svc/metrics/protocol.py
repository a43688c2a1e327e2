"""The lines on the metrics socket.

A worker says hello once, `{"instance": NAME-N, "pid": PID, "version": V}`, then answers every
`?` line with one line: its snapshot, a JSON object.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

SOCKET_NAME = "metrics.sock"
ASK = b"?\n"
MAX_LINE = 64 * 1024


def socket_path(run_dir: Path) -> Path:
    return run_dir / SOCKET_NAME


def encode_line(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode() + b"\n"


def decode_line(line: bytes) -> dict[str, Any]:
    """Raises ValueError, always with the same text, when the line is no JSON object."""
    try:
        document = json.loads(line)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise ValueError("a line that is not a JSON object")
    return document
