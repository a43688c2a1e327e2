"""What a worker answers whoever asks for the dead letters that it keeps."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from pyboot_svc.metrics.letter_decoding import decode_answer
from pyboot_svc.worker.delivery.told_dead_letters import tell_dead_letters
from pyboot_svc.worker.storage.database import connect, open_database


def keep(file: Path, count: int, **changes: Any) -> None:
    usual = {"topic": "t", "payload": b"[1,2]", "kind": "model", "error": "E: no\nTraceback"}
    values = {**usual, "attempts": 1, "model": "m", "version": "1", "created": 5.0, "checksum": 0}
    values |= changes
    names = ", ".join(values)
    marks = ", ".join(f":{name}" for name in values)
    with closing(open_database(file)) as connection:
        connection.executemany(f"INSERT INTO dead ({names}) VALUES ({marks})", [values] * count)


def tell(file: Path, asked: str) -> dict[str, Any]:
    answer = tell_dead_letters(file, asked)
    assert answer is not None
    assert answer["asked"] == asked
    return decode_answer(answer)


def test_the_newest_come_first_and_one_in_full(tmp_path: Path) -> None:
    file = tmp_path / "x.sqlite"
    keep(file, 30, payload=b"x" * 1000)
    listed = tell(file, "dead")
    assert (listed["kept"], [one["id"] for one in listed["letters"]]) == (30, [*range(30, 10, -1)])
    assert len(listed["letters"][0]["payload_base64"]) < 100
    [letter] = tell(file, "dead 3")["letters"]
    assert (letter["id"], letter["bytes"], len(letter["payload_base64"])) == (3, 1000, 1336)
    assert letter["error"] == "E: no\nTraceback"


def test_one_that_is_not_there_and_none_at_all(tmp_path: Path) -> None:
    file = tmp_path / "x.sqlite"
    assert tell(file, "dead") == {"kept": 0, "letters": []}
    assert not file.exists()
    keep(file, 1)
    assert tell(file, "dead 2")["letters"] == []


@pytest.mark.parametrize(
    "asked", ["", "?", "dead x", "dead -1", "deadly", "dead 1 2", f"dead {10**18}"]
)
def test_other_questions_are_not_answered(tmp_path: Path, asked: str) -> None:
    assert tell_dead_letters(tmp_path / "x.sqlite", asked) is None


def test_a_file_that_is_none_is_said(tmp_path: Path) -> None:
    file = tmp_path / "x.sqlite"
    file.write_bytes(b"no database at all" * 1000)
    assert "its dead letters can't be read: " in tell(file, "dead")["error"]


def test_while_another_writes_it_is_read(tmp_path: Path) -> None:
    file = tmp_path / "x.sqlite"
    keep(file, 1)
    with closing(connect(file)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("DELETE FROM dead")
        assert tell(file, "dead")["kept"] == 1
        writer.execute("ROLLBACK")


def test_what_is_no_text_in_it_does_no_harm(tmp_path: Path) -> None:
    file = tmp_path / "x.sqlite"
    keep(file, 1, topic=b"\xff", error=sqlite3.Binary(b"\0"), payload="text")
    assert tell(file, "dead 1")["letters"][0]["topic"] == "b'\\xff'"
