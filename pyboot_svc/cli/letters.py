"""The dead letters that an instance keeps, as commands read and change them.

Their file is a worker's: root opens it with that worker's rights, takes of it what a worker writes,
and waits for no statement longer than a worker's would take.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from pyboot_svc.errors import UnavailableError
from pyboot_svc.identity import InstanceId
from pyboot_svc.services.unprivileged import as_owner
from pyboot_svc.worker.storage.database import (
    ERRORS,
    DatabaseTrouble,
    connect_strange,
    transaction,
)
from pyboot_svc.worker.storage.writer import DATABASE_NAME

Letter = dict[str, Any]

_COLUMNS = "id, topic, payload, kind, error, attempts, model, version, created, request"
# Of what a list needs; payloads are read one at a time, when they are to be shown.
_LISTED = (
    "id, topic, kind, substr(error, 1, 1000) AS error, attempts, model, version, created, request, "
    "length(payload) AS bytes"
)
_MOST_LISTED = 1_000_000
# A worker that has just begun makes one table after the other, and that of dead letters second.
_MADE = "SELECT count(*) FROM sqlite_master WHERE name NOT IN ('spool', 'sqlite_sequence')"
_TYPES: dict[str, type | tuple[type, ...]] = {
    **dict.fromkeys(("id", "attempts", "bytes"), int),
    **dict.fromkeys(("topic", "kind", "error", "model", "version"), str),
    "created": (int, float),
    "request": (str, type(None)),
}
# Of a clock; later, calendars end.
_LAST_MOMENT = 1e11
_STATEMENT_SECONDS = 10.0
# A file that a worker writes to meanwhile may have to be waited for, too.
_ANSWER_SECONDS = 30.0


def letters_of(state_dir: Path, identity: InstanceId) -> list[Letter]:
    """All that an instance keeps, without the payloads; raises UnavailableError."""

    def ask(folder: Path) -> Iterator[Letter]:
        file = folder / DATABASE_NAME
        with _reading(shown, file):
            if not _is_there(file):
                return
            with closing(connect_strange(file, _STATEMENT_SECONDS)) as connection:
                if not connection.execute(_MADE).fetchone()[0]:
                    return
                found = connection.execute(
                    f"SELECT {_LISTED} FROM dead ORDER BY id LIMIT {_MOST_LISTED}"
                )
                names = [column[0] for column in found.description]
                for row in found:
                    yield dict(zip(names, row, strict=True))

    shown = state_dir / str(identity) / DATABASE_NAME
    return [_checked(row, shown) for row in as_owner(shown.parent, ask, _ANSWER_SECONDS)]


def whole_letters(
    state_dir: Path, identity: InstanceId, numbers: Sequence[int]
) -> Iterator[Letter]:
    """These with their payloads, one at a time: all of them may be more than fits into memory."""

    def ask(folder: Path) -> Iterator[Letter]:
        file = folder / DATABASE_NAME
        with (
            _reading(shown, file),
            closing(connect_strange(file, _STATEMENT_SECONDS)) as connection,
        ):
            for number in numbers:
                row = connection.execute(f"SELECT {_COLUMNS} FROM dead WHERE id = ?", (number,))
                if (found := row.fetchone()) is not None:  # it may have been dropped meanwhile
                    yield _document(found, shown)

    if numbers:
        shown = state_dir / str(identity) / DATABASE_NAME
        for letter in as_owner(shown.parent, ask, _ANSWER_SECONDS):
            yield _checked(letter, shown)


def change_letters(
    state_dir: Path, identity: InstanceId, statement: str, numbers: Sequence[int]
) -> None:
    """Execute `statement` for each of them, all or nothing; raises UnavailableError."""

    def ask(folder: Path) -> Iterator[Letter]:
        try:
            with (
                closing(connect_strange(folder / DATABASE_NAME, _STATEMENT_SECONDS)) as connection,
                transaction(connection, shown) as writing,
            ):
                writing.executemany(statement, [(number,) for number in numbers])
        except DatabaseTrouble as error:
            raise UnavailableError(f"{error}{_advice(folder / DATABASE_NAME)}") from error
        yield from ()

    shown = state_dir / str(identity) / DATABASE_NAME
    for _ in as_owner(shown.parent, ask, _ANSWER_SECONDS):
        pass


def _is_there(file: Path) -> bool:
    try:
        status = os.lstat(file)
    except FileNotFoundError:
        return False
    if not stat.S_ISREG(status.st_mode):
        raise OSError("it is no file, as a worker writes one")
    return True


@contextmanager
def _reading(shown: Path, file: Path) -> Iterator[None]:
    """`shown` is the file as people know it."""
    try:
        yield
    except (*ERRORS, OSError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        if why == "interrupted":
            why = f"that takes longer than {_STATEMENT_SECONDS:.0f} s, as no worker's file does"
        elif "readonly" in why:
            # What a worker has left in the log beside it has to be put in its place first.
            why = "that takes the right to write to it, too"
        raise UnavailableError(f"{shown} can't be read: {why}{_advice(file)}") from error


def _advice(file: Path) -> str:
    """What helps where the file is somebody else's."""
    forbidden = not os.access(file, os.R_OK | os.W_OK, effective_ids=True)
    return "; try as root (sudo)" if forbidden and os.geteuid() != 0 else ""


def _document(row: tuple[Any, ...], shown: Path) -> Letter:
    letter = dict(zip(_COLUMNS.split(", "), row, strict=True))
    payload = letter["payload"]
    if not isinstance(payload, bytes):
        raise _strange(shown)
    # As text where it is text; what is not shows as escapes.
    return {**letter, "payload": payload.decode("utf-8", "backslashreplace"), "bytes": len(payload)}


def _checked(letter: Letter, shown: Path) -> Letter:
    """As a worker writes one; what else is there is nothing to be shown."""
    well = all(isinstance(letter[name], kind) for name, kind in _TYPES.items())
    if not well or not 0 <= letter["created"] < _LAST_MOMENT:
        raise _strange(shown)
    return letter


def _strange(shown: Path) -> UnavailableError:
    return UnavailableError(f"{shown} can't be read: it holds what no worker writes")
