"""The dead letters that are kept, as the master asks for them: read from the file, which is the
writer's to change."""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyboot_svc.metrics import letters

if TYPE_CHECKING:
    import sqlite3

# Whoever asks waits a second, and for figures meanwhile.
_SECONDS = 0.4
_COLUMNS = "id, topic, kind, error, attempts, created, request, length(payload) AS bytes"


def tell_dead_letters(file: Path, asked: str) -> dict[str, Any] | None:
    """The answer to this question; None: it is not about dead letters. Never raises."""
    word, _, number = asked.partition(" ")
    if word != letters.QUESTION or (number and not (number.isdecimal() and len(number) < 19)):
        return None
    if not os.path.exists(file):
        return letters.answer(asked, 0, [])
    from pyboot_svc.worker.storage.database import ERRORS, connect_strange

    try:
        with closing(connect_strange(file, _SECONDS)) as connection:
            connection.execute(f"PRAGMA busy_timeout = {_SECONDS * 1000:.0f}")
            connection.execute("PRAGMA query_only = ON")
            [kept] = connection.execute("SELECT count(*) FROM dead").fetchone()
            return letters.answer(asked, kept, _rows(connection, int(number) if number else None))
    except (*ERRORS, OSError) as error:
        return letters.failure(asked, f"its dead letters can't be read: {error}")


def _rows(connection: sqlite3.Connection, number: int | None) -> list[dict[str, Any]]:
    if number is None:
        which, most = f"ORDER BY id DESC LIMIT {letters.MOST_LISTED}", letters.HEAD_BYTES
    else:
        which, most = "WHERE id = :id", letters.MOST_BYTES
    found = connection.execute(
        f"SELECT {_COLUMNS}, substr(CAST(payload AS BLOB), 1, :most) AS head FROM dead {which}",  # noqa: S608
        {"most": most, "id": number},
    )
    names = [column[0] for column in found.description]
    return [dict(zip(names, row, strict=True)) for row in found]
