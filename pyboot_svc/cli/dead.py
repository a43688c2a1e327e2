"""`pyboot dead`: the messages that an instance gave up, as it keeps them locally."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from pyboot_svc.errors import ExitCode, UnavailableError, UsageError
from pyboot_svc.identity import InstanceId
from pyboot_svc.worker.database import ERRORS, DatabaseTrouble, connect, transaction
from pyboot_svc.worker.store import DATABASE_NAME

_COLUMNS = "id, topic, payload, kind, error, attempts, model, version, created, request"
_HEADER = ("ID", "TIME", "KIND", "TRIED", "BYTES", "TOPIC", "ERROR")


def list_dead(options: argparse.Namespace) -> ExitCode:
    """Without an instance: those of all instances."""
    documents = [
        {"instance": str(identity), **letter}
        for identity in _instances(options)
        for letter in _letters(options, identity)
    ]
    if options.json:
        print(json.dumps(documents, indent=1))
        return ExitCode.OK
    rows = [("INSTANCE", *_HEADER), *(_row(letter) for letter in documents)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=False))
        print("  ".join([*cells, row[-1]]))
    return ExitCode.OK


def show(options: argparse.Namespace) -> ExitCode:
    identity = InstanceId.parse(options.instance)
    for letter in _chosen(options, identity):
        if options.json:
            print(json.dumps({"instance": str(identity), **letter}, indent=1))
            continue
        for key, value in letter.items():
            # A traceback has lines of its own; what a payload says must not look like ours.
            text = _shown(str(value), lines=key == "error")
            print(f"{key + ':':10} {text}")
        print()
    return ExitCode.OK


def retry(options: argparse.Namespace) -> ExitCode:
    """The worker takes them as if they had just arrived; at once if it runs, else when it does."""
    return _change(options, "UPDATE dead SET request = 'retry' WHERE id = ?", "to be tried again")


def drop(options: argparse.Namespace) -> ExitCode:
    return _change(options, "DELETE FROM dead WHERE id = ?", "dropped")


def _change(options: argparse.Namespace, statement: str, text: str) -> ExitCode:
    identity = InstanceId.parse(options.instance)
    numbers = [letter["id"] for letter in _chosen(options, identity)]
    file = _file(options, identity)
    if not numbers:
        print(f"{identity}: nothing is kept")
        return ExitCode.OK
    try:
        with (
            closing(connect(file)) as connection,
            transaction(connection, file) as writing,
        ):
            writing.executemany(statement, [(number,) for number in numbers])
    except DatabaseTrouble as error:
        raise UnavailableError(f"{error}; root can write it") from error
    print(f"{identity}: {len(numbers)} {text}")
    return ExitCode.OK


def _chosen(options: argparse.Namespace, identity: InstanceId) -> list[dict[str, Any]]:
    letters = {letter["id"]: letter for letter in _letters(options, identity)}
    if options.all:
        return list(letters.values())
    if not options.id:
        raise UsageError("name the messages by their IDs, or all of them with --all")
    absent = [number for number in options.id if number not in letters]
    if absent:
        numbers = ", ".join(map(str, absent))
        raise UsageError(f"{identity} keeps no message {numbers}; see pyboot dead list")
    return [letters[number] for number in options.id]


def _instances(options: argparse.Namespace) -> Sequence[InstanceId]:
    if options.instance:
        return [InstanceId.parse(options.instance)]
    found = []
    for file in sorted(options.state_dir.glob(f"*/{DATABASE_NAME}")):
        try:
            found.append(InstanceId.parse(file.parent.name))
        except UsageError:
            continue  # not one of ours
    return found


def _file(options: argparse.Namespace, identity: InstanceId) -> Path:
    folder: Path = options.state_dir
    return folder / str(identity) / DATABASE_NAME


def _letters(options: argparse.Namespace, identity: InstanceId) -> list[dict[str, Any]]:
    file = _file(options, identity)
    try:
        if not file.exists():
            return []
        with closing(connect(file)) as connection:
            rows = connection.execute(f"SELECT {_COLUMNS} FROM dead ORDER BY id").fetchall()
    except (*ERRORS, OSError) as error:
        raise UnavailableError(f"{file} can't be read: {error}; root can") from error
    return [_document(row) for row in rows]


def _document(row: tuple[Any, ...]) -> dict[str, Any]:
    letter = dict(zip(_COLUMNS.split(", "), row, strict=True))
    letter["bytes"] = len(letter["payload"])
    # As text where it is text; what is not shows as escapes.
    letter["payload"] = letter["payload"].decode("utf-8", "backslashreplace")
    return letter


def _row(letter: dict[str, Any]) -> tuple[str, ...]:
    error = _shown(letter["error"].splitlines()[0]) if letter["error"] else ""
    return (
        letter["instance"],
        str(letter["id"]),
        time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(letter["created"])),
        letter["kind"] + (" (retry)" if letter["request"] else ""),
        str(letter["attempts"]),
        str(letter["bytes"]),
        _shown(letter["topic"]),
        error,
    )


def _shown(text: str, lines: bool = False) -> str:
    """What a terminal would act on, escaped; with `lines` it may have some."""
    kept = "\n" if lines else ""
    return "".join(
        c if c.isprintable() or c in kept else c.encode("unicode_escape").decode() for c in text
    )
