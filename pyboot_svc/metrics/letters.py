"""Dead letters, as a worker tells the master of those that it keeps: the newest, or one by its id.

`dead` asks for the newest, with the beginning of each; `dead ID` for one. The answer repeats the
question, so that it can't be taken for another's, and fits into a line whatever a letter holds. A
worker runs a model: of what it answers only what a letter may hold gets any further.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any

from pyboot_svc.metrics.decoding import KINDS, Malformed
from pyboot_svc.text import clip_utf8, printable

QUESTION = "dead"
MOST_LISTED = 20
# Of a payload, in bytes: of each in a list, and of one that is asked for.
HEAD_BYTES = 64
MOST_BYTES = 24 * 1024
_LISTED_ERROR = 200
_LONGEST_ERROR = 4000
_LONGEST_TEXT = 200
# Of a clock; later, calendars end.
_LAST_MOMENT = 1e11
_MOST_INTEGER = 2**63 - 1


def question(number: int | None) -> str:
    """What asks for the letter of this number; for the newest, without one."""
    return QUESTION if number is None else f"{QUESTION} {number}"


def answer(asked: str, kept: int, letters: list[dict[str, Any]]) -> dict[str, Any]:
    """So many are kept, and these are they that were asked for, as rows with `head` of a payload
    and its length, `bytes`."""
    most = _LISTED_ERROR if asked == QUESTION else _LONGEST_ERROR
    return {"asked": asked, "kept": kept, "letters": [_told(one, most) for one in letters]}


def failure(asked: str, reason: str) -> dict[str, Any]:
    return {"asked": asked, "error": clip_utf8(reason, _LONGEST_TEXT)}


def _told(letter: Mapping[str, Any], most_error: int) -> dict[str, Any]:
    return {
        **{key: letter[key] for key in ("id", "kind", "attempts", "bytes", "created")},
        "topic": clip_utf8(str(letter["topic"]), _LONGEST_TEXT),
        "error": clip_utf8(str(letter["error"]), most_error),
        "retrying": letter["request"] is not None,
        "payload_base64": base64.b64encode(letter["head"]).decode(),
    }


def decode_answer(document: Mapping[str, Any]) -> dict[str, Any]:
    """`kept` and `letters`, or `error`; text of it made printable. Raises Malformed."""
    if "error" in document:
        return {"error": _text(document, "error", _LONGEST_TEXT)}
    letters = document.get("letters")
    if not isinstance(letters, list) or len(letters) > MOST_LISTED:
        raise Malformed("letters is no list")
    return {"kept": _count(document, "kept"), "letters": [_letter(one) for one in letters]}


def _letter(document: Any) -> dict[str, Any]:
    if not isinstance(document, Mapping):
        raise Malformed("letters has something that is no letter")
    if _text(document, "kind", _LONGEST_TEXT) not in KINDS:
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
        "topic": _text(document, "topic", _LONGEST_TEXT),
        "error": _text(document, "error", _LONGEST_ERROR),
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
