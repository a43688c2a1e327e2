"""`pyboot dead`: the messages that an instance gave up, as it keeps them locally."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from pyboot_svc.cli.state import known_instances
from pyboot_svc.errors import ExitCode, UnavailableError, UsageError
from pyboot_svc.identity import InstanceId
from pyboot_svc.model.codec import PayloadFault
from pyboot_svc.text import block, printable
from pyboot_svc.worker.database import ERRORS, DatabaseTrouble, connect, transaction
from pyboot_svc.worker.store import DATABASE_NAME

_COLUMNS = "id, topic, payload, kind, error, attempts, model, version, created, request"
# Of one value; `--json` gives all of it.
_LONGEST_SHOWN = 100_000
_HEADER = ("ID", "TIME", "KIND", "TRIED", "BYTES", "TOPIC", "ERROR")


def list_dead(options: argparse.Namespace) -> ExitCode:
    """Without an instance: those of all instances; one that can't be read hides no other's."""
    documents = []
    unreadable = []
    for identity in _instances(options):
        try:
            letters = _letters(options, identity)
        except UnavailableError as error:
            unreadable.append(f"{identity}: {error}")
        else:
            documents += [{"instance": str(identity), **letter} for letter in letters]
    _print_list(options, documents)
    if unreadable:
        # Behind what can be read, also where both go to the same place.
        sys.stdout.flush()
        raise UnavailableError("\n".join(unreadable))
    return ExitCode.OK


def _print_list(options: argparse.Namespace, documents: list[dict[str, Any]]) -> None:
    if options.json:
        print(json.dumps(documents, indent=1))
        return
    rows = [("INSTANCE", *_HEADER), *(_row(letter) for letter in documents)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=False))
        print("  ".join([*cells, row[-1]]))


def show(options: argparse.Namespace) -> ExitCode:
    identity = _named(options)
    for letter in _chosen(options, identity):
        if options.json:
            print(json.dumps({"instance": str(identity), **letter}, indent=1))
            continue
        for key, value in letter.items():
            # A traceback has lines of its own; what a payload says must not look like ours.
            shown = block if key == "error" else printable
            text = shown(str(value), _LONGEST_SHOWN)
            print(f"{key + ':':10} {text}")
        print()
    return ExitCode.OK


def retry(options: argparse.Namespace) -> ExitCode:
    """The worker takes them as if they had just arrived; at once if it runs, else when it does."""
    statement = "UPDATE dead SET request = 'retry' WHERE id = ?"
    return _change(options, statement, "to be retried", whole=True)


def drop(options: argparse.Namespace) -> ExitCode:
    return _change(options, "DELETE FROM dead WHERE id = ?", "dropped")


def _change(
    options: argparse.Namespace, statement: str, text: str, *, whole: bool = False
) -> ExitCode:
    """With `whole`, only to messages that are kept as a whole."""
    identity = _named(options)
    letters = _chosen(options, identity)
    cut = [letter["id"] for letter in letters if whole and letter["kind"] == PayloadFault.TOO_LARGE]
    if cut:
        which = ", ".join(map(str, cut))
        left_out = f"of message {which} only the beginning is kept: let it be published again"
        if not options.all:
            raise UsageError(f"{identity}: {left_out}")
        print(f"{identity}: {left_out}")
    numbers = [letter["id"] for letter in letters if letter["id"] not in cut]
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
    return [_named(options)] if options.instance else known_instances(options.state_dir)


def _named(options: argparse.Namespace) -> InstanceId:
    """The instance that the command line names; raises UsageError unless it has kept state."""
    identity = InstanceId.parse(options.instance)
    known = known_instances(options.state_dir)
    if identity not in known:
        there = f"there are {', '.join(map(str, known))}" if known else "there is none"
        raise UsageError(f"no instance {identity} has kept state in {options.state_dir}: {there}")
    return identity


def _file(options: argparse.Namespace, identity: InstanceId) -> Path:
    folder: Path = options.state_dir
    return folder / str(identity) / DATABASE_NAME


def _letters(options: argparse.Namespace, identity: InstanceId) -> list[dict[str, Any]]:
    file = _file(options, identity)
    try:
        os.stat(file)
        with closing(connect(file)) as connection:
            rows = connection.execute(f"SELECT {_COLUMNS} FROM dead ORDER BY id").fetchall()
    except FileNotFoundError:
        return []
    except (*ERRORS, OSError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else error
        advice = "; root can (sudo)" if os.geteuid() != 0 else ""
        raise UnavailableError(f"{file} can't be read: {why}{advice}") from error
    return [_document(row) for row in rows]


def _document(row: tuple[Any, ...]) -> dict[str, Any]:
    letter = dict(zip(_COLUMNS.split(", "), row, strict=True))
    letter["bytes"] = len(letter["payload"])
    # As text where it is text; what is not shows as escapes.
    letter["payload"] = letter["payload"].decode("utf-8", "backslashreplace")
    return letter


def _row(letter: dict[str, Any]) -> tuple[str, ...]:
    error = printable(letter["error"].splitlines()[0]) if letter["error"] else ""
    return (
        letter["instance"],
        str(letter["id"]),
        time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(letter["created"])),
        letter["kind"] + (" (retry)" if letter["request"] else ""),
        str(letter["attempts"]),
        str(letter["bytes"]),
        printable(letter["topic"]),
        error,
    )
