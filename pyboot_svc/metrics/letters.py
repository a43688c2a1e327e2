"""Dead letters, as a worker tells the master of those that it keeps: the newest, or one by its id.

`dead` asks for the newest, with the beginning of each; `dead ID` for one. The answer repeats the
question, so that it can't be taken for another's, and fits into a line whatever a letter holds.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from pyboot_svc.text import clip_utf8

QUESTION = "dead"
MOST_LISTED = 20
# Of a payload, in bytes: of each in a list, and of one that is asked for.
HEAD_BYTES = 64
MOST_BYTES = 24 * 1024
_LISTED_ERROR = 200
LONGEST_ERROR = 4000
LONGEST_TEXT = 200


def question(number: int | None) -> str:
    """What asks for the letter of this number; for the newest, without one."""
    return QUESTION if number is None else f"{QUESTION} {number}"


def answer(asked: str, kept: int, letters: list[dict[str, Any]]) -> dict[str, Any]:
    """So many are kept, and these are they that were asked for, as rows with `head` of a payload
    and its length, `bytes`."""
    most = _LISTED_ERROR if asked == QUESTION else LONGEST_ERROR
    return {"asked": asked, "kept": kept, "letters": [_told(one, most) for one in letters]}


def failure(asked: str, reason: str) -> dict[str, Any]:
    return {"asked": asked, "error": clip_utf8(reason, LONGEST_TEXT)}


def _told(letter: Mapping[str, Any], most_error: int) -> dict[str, Any]:
    return {
        **{key: letter[key] for key in ("id", "kind", "attempts", "bytes", "created")},
        "topic": clip_utf8(str(letter["topic"]), LONGEST_TEXT),
        "error": clip_utf8(str(letter["error"]), most_error),
        "retrying": letter["request"] is not None,
        "payload_base64": base64.b64encode(letter["head"]).decode(),
    }
