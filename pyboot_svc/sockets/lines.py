"""JSON objects as lines: what goes over the sockets between pyboot's processes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

MAX_LINE = 64 * 1024


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
