"""Dead letters, as the master is told of them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pyboot_svc.metrics import letters
from pyboot_svc.metrics.decoding import Malformed
from pyboot_svc.metrics.letter_decoding import decode_answer
from pyboot_svc.sockets.lines import MAX_LINE, encode_line

SAME = {
    "id": 7,
    "topic": "plant/a",
    "kind": "model",
    "error": "ValueError: no\n  at line 3",
    "attempts": 1,
    "created": 1.5,
}


def row(**changes: Any) -> dict[str, Any]:
    told = {"request": None, "bytes": 5, "head": b"\xff{1}\0"}
    return {**SAME, **told, **changes}


def told(asked: str = "dead 7", **changes: Any) -> dict[str, Any]:
    sent = json.loads(encode_line(letters.answer(asked, 9, [row()])))
    sent["letters"][0].update(changes)
    return decode_answer(sent)


def test_what_is_kept_is_told() -> None:
    [letter] = told()["letters"]
    more = {"retrying": False, "bytes": 5, "payload_base64": "/3sxfQA="}
    assert letter == {**SAME, **more}
    assert told()["kept"] == 9


def test_what_it_says_steers_no_terminal_and_no_page() -> None:
    [letter] = told(topic="a\x1b[2J", error="one\ntwo\u202e")["letters"]
    assert (letter["topic"], letter["error"]) == ("a\\x1b[2J", "one\ntwo\\u202e")


@pytest.mark.parametrize("filler", ["\x01", "\u20ac", "\U0001f600", '"', "a"], ids=ascii)
@pytest.mark.parametrize("number", [None, 2**62])
def test_whatever_they_hold_an_answer_is_a_line(filler: str, number: int | None) -> None:
    large = row(id=2**62, topic=filler * 70_000, error=filler * 70_000, kind="too_large")
    count, size = (letters.MOST_LISTED, 64) if number is None else (1, letters.MOST_BYTES)
    asked = letters.question(number)
    answer = letters.answer(asked, 2**62, [{**large, "head": b"\xff" * size}] * count)
    assert len(encode_line(answer)) < MAX_LINE
    assert len(decode_answer(answer)["letters"]) == count


@pytest.mark.parametrize(
    "changes",
    [
        {"id": -1},
        {"id": True},
        {"attempts": "1"},
        {"kind": "<b>"},
        {"kind": ["model"]},
        {"topic": None},
        {"error": 1},
        {"created": "now"},
        {"created": 1e12},
        {"payload_base64": "?"},
        {"payload_base64": 1},
    ],
    ids=str,
)
def test_what_no_worker_of_ours_tells_is_malformed(changes: dict[str, Any]) -> None:
    with pytest.raises(Malformed):
        told(**changes)


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"letters": {}},
        {"letters": [1], "kept": 1},
        {"letters": [], "kept": 1.5},
        {"letters": [{}] * 21, "kept": 21},
        {"error": 1},
    ],
    ids=lambda one: str(one)[:30],
)
def test_nonsense_is_malformed(document: dict[str, Any]) -> None:
    with pytest.raises(Malformed):
        decode_answer(document)


def test_why_not_is_told() -> None:
    failed = letters.failure("dead", "its dead letters can't be read: " + "x" * 1000)
    assert decode_answer(failed)["error"].startswith("its dead letters can't be read: x")
    assert len(failed["error"]) == 200
