"""What a worker answers about its dead letters, checked.

A worker runs a model: of what it answers only what a letter may hold gets any further.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any

from pyboot_svc.metrics.decoding import KINDS, Malformed
from pyboot_svc.metrics.letters import LONGEST_ERROR, LONGEST_TEXT, MOST_LISTED
from pyboot_svc.text import printable

# Of a clock; later, calendars end.
_LAST_MOMENT = 1e11
_MOST_INTEGER = 2**63 - 1


def decode_answer(document: Mapping[str, Any]) -> dict[str, Any]:
    """`kept` and `letters`, or `error`; text of it made printable. Raises Malformed."""
    if "error" in document:
        return {"error": _text(document, "error", LONGEST_TEXT)}
    letters = document.get("letters")
    if not isinstance(letters, list) or len(letters) > MOST_LISTED:
        raise Malformed("letters is no list")
    return {"kept": _count(document, "kept"), "letters": [_letter(one) for one in letters]}


def _letter(document: Any) -> dict[str, Any]:
    if not isinstance(document, Mapping):
        raise Malformed("letters has something that is no letter")
    if _text(document, "kind", LONGEST_TEXT) not in KINDS:
        raise Malformed("kind is an unknown one")
    created = document.get("created")
    if not isinstance(created, int | float) or not 0 <= created < _LAST_MOMENT:
        raise Malformed("created is no moment")
    payload = document.get("payload_base64")
    try:
        base64.b64decode(payload if isinstance(payload, str) else "?", validate=True)
    except (binascii.Error, ValueError):
        raise Malformed("payload_base64 is no base64") from None
    return {
        **{name: _count(document, name) for name in ("id", "attempts", "bytes")},
        "kind": document["kind"],
        "topic": _text(document, "topic", LONGEST_TEXT),
        "error": _text(document, "error", LONGEST_ERROR),
        "created": created,
        "retrying": document.get("retrying") is True,
        "payload_base64": payload,
    }


def _count(document: Mapping[str, Any], name: str) -> int:
    value = document.get(name)
    if type(value) is not int or not 0 <= value <= _MOST_INTEGER:
        raise Malformed(f"{name} is no count")
    return value


def _text(document: Mapping[str, Any], name: str, most: int) -> str:
    value = document.get(name)
    if not isinstance(value, str):
        raise Malformed(f"{name} is no text")
    return printable(value, most, lines=True)
