"""`pyboot dead`: the messages that an instance gave up, as it keeps them locally."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from textwrap import indent
from typing import Any

from pyboot_svc.cli.arguments import add_found_state_dir, add_json
from pyboot_svc.cli.state import found_state_dir, known_instances
from pyboot_svc.errors import ExitCode, UnavailableError, UsageError
from pyboot_svc.identity import InstanceId
from pyboot_svc.model.codec import PayloadFault
from pyboot_svc.text import ago, block, printable
from pyboot_svc.worker.storage.database import ERRORS, DatabaseTrouble, connect, transaction
from pyboot_svc.worker.storage.writer import DATABASE_NAME

DESCRIPTION = """\
The messages that were given up, as kept locally. Each has an ID, its payload, the
error and, where the model raised it, the traceback."""
EXAMPLES = (
    ("sudo pyboot dead list", "those of all instances"),
    ("sudo pyboot dead show mean-1 7", "payload, error and traceback"),
    ("sudo pyboot dead retry mean-1 --all", "once the model is repaired"),
)
_COLUMNS = "id, topic, payload, kind, error, attempts, model, version, created, request"
# Of what a list needs; payloads are read one at a time, when they are to be shown.
_LISTED = (
    "id, topic, kind, substr(error, 1, 1000) AS error, attempts, model, version, created, request, "
    "length(payload) AS bytes"
)
# Of one value; `--json` gives all of it.
_LONGEST_SHOWN = 100_000
_HEADER = ("ID", "TIME", "KIND", "TRIED", "BYTES", "TOPIC", "ERROR")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(title="actions", metavar="ACTION", dest="action", required=True)
    for name, text in (
        ("list", "list them, of one instance or of all"),
        ("show", "show messages with payload, error and traceback"),
        ("retry", "have the worker try them again"),
        ("drop", "delete them"),
    ):
        action = actions.add_parser(name, help=text, description=f"{text.capitalize()}.")
        if name == "list":
            action.add_argument("instance", nargs="?", metavar="NAME-INSTANCE")
        else:
            action.add_argument("instance", metavar="NAME-INSTANCE")
            action.add_argument("id", nargs="*", type=int, metavar="ID")
            action.add_argument("--all", action="store_true", help="all messages of the instance")
        if name in ("list", "show"):
            add_json(action, "print JSON")
        add_found_state_dir(action, "where instances keep their state")


def run(options: argparse.Namespace) -> ExitCode:
    options.state_dir = options.state_dir or found_state_dir()
    actions = {"list": list_dead, "show": show, "retry": retry, "drop": drop}
    return actions[options.action](options)


def list_dead(options: argparse.Namespace) -> ExitCode:
    """Without an instance: those of all instances; one that can't be read hides no other's."""
    kept: dict[InstanceId, list[dict[str, Any]]] = {}
    unreadable = []
    instances = _instances(options)
    if not instances:
        print(f"no instance has state in {options.state_dir}", file=sys.stderr)
    for identity in instances:
        try:
            kept[identity] = _letters(options, identity)
        except UnavailableError as error:
            unreadable.append(f"{identity}: {error}")
    if options.json:
        _print_json(options, kept)
    else:
        _print_table(kept)
    if unreadable:
        # Behind what can be read, also where both go to the same place.
        sys.stdout.flush()
        raise UnavailableError("\n".join(unreadable))
    return ExitCode.OK


def _print_json(options: argparse.Namespace, kept: dict[InstanceId, list[dict[str, Any]]]) -> None:
    """One list of all, printed as it is read."""
    before = "[\n"
    for identity, letters in kept.items():
        for letter in _whole(options, identity, [letter["id"] for letter in letters]):
            document = json.dumps({"instance": str(identity), **letter}, indent=1)
            print(before, indent(document, " "), sep="", end="")
            before = ",\n"
    print("[]" if before == "[\n" else "\n]")


def _print_table(kept: dict[InstanceId, list[dict[str, Any]]]) -> None:
    letters = [(identity, letter) for identity, found in kept.items() for letter in found]
    rows = [("INSTANCE", *_HEADER), *(_row(identity, letter) for identity, letter in letters)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=False))
        print("  ".join([*cells, row[-1]]))


def show(options: argparse.Namespace) -> ExitCode:
    identity = _named(options)
    chosen = [letter["id"] for letter in _chosen(options, identity)]
    for letter in _whole(options, identity, chosen):
        if options.json:
            print(json.dumps({"instance": str(identity), **letter}, indent=1))
            continue
        for key, value in _for_people(letter).items():
            # A traceback has lines of its own; what a payload says must not look like ours.
            shown = block if key == "error" else printable
            text = shown(str(value), _LONGEST_SHOWN)
            print(f"{key + ':':10} {text}")
        print()
    return ExitCode.OK


def _for_people(letter: dict[str, Any]) -> dict[str, Any]:
    created = f"{_time(letter['created'])} ({ago(time.time() - letter['created'])})"
    told = {**letter, "created": created}
    return {key: value for key, value in told.items() if value is not None}


def retry(options: argparse.Namespace) -> ExitCode:
    """The worker takes them as if they had just arrived; at once if it runs, else when it does."""
    statement = "UPDATE dead SET request = 'retry' WHERE id = ?"
    return _change(options, statement, "will be retried", whole=True)


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
        left_out = f"only the beginning of message {which} was kept: have it published again"
        if not options.all:
            raise UsageError(f"{identity}: {left_out}")
        print(f"{identity}: {left_out}")
    numbers = [letter["id"] for letter in letters if letter["id"] not in cut]
    file = _file(options, identity)
    if not numbers:
        print(f"{identity}: no dead letters")
        return ExitCode.OK
    try:
        with (
            closing(connect(file)) as connection,
            transaction(connection, file) as writing,
        ):
            writing.executemany(statement, [(number,) for number in numbers])
    except DatabaseTrouble as error:
        raise UnavailableError(f"{error}; try as root (sudo)") from error
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
        raise UsageError(f"{identity} has no message {numbers}; see pyboot dead list")
    return [letters[number] for number in options.id]


def _instances(options: argparse.Namespace) -> Sequence[InstanceId]:
    return [_named(options)] if options.instance else known_instances(options.state_dir)


def _named(options: argparse.Namespace) -> InstanceId:
    """The instance that the command line names; raises UsageError unless it has kept state."""
    identity = InstanceId.parse(options.instance)
    known = known_instances(options.state_dir)
    if identity not in known:
        there = f"there are {', '.join(map(str, known))}" if known else "there is none"
        raise UsageError(f"no instance {identity} has state in {options.state_dir}: {there}")
    return identity


def _file(options: argparse.Namespace, identity: InstanceId) -> Path:
    folder: Path = options.state_dir
    return folder / str(identity) / DATABASE_NAME


def _letters(options: argparse.Namespace, identity: InstanceId) -> list[dict[str, Any]]:
    """All that an instance keeps, without the payloads."""
    file = _file(options, identity)
    with _reading(file):
        try:
            os.stat(file)
        except FileNotFoundError:
            return []
        with closing(connect(file)) as connection:
            found = connection.execute(f"SELECT {_LISTED} FROM dead ORDER BY id")
            names = [column[0] for column in found.description]
            return [dict(zip(names, row, strict=True)) for row in found]


def _whole(
    options: argparse.Namespace, identity: InstanceId, numbers: Sequence[int]
) -> Iterator[dict[str, Any]]:
    """These with their payloads, one at a time: all of them may be more than fits into memory."""
    if not numbers:
        return
    file = _file(options, identity)
    with _reading(file), closing(connect(file)) as connection:
        for number in numbers:
            row = connection.execute(f"SELECT {_COLUMNS} FROM dead WHERE id = ?", (number,))
            if (found := row.fetchone()) is not None:  # it may have been dropped meanwhile
                yield _document(found)


@contextmanager
def _reading(file: Path) -> Iterator[None]:
    try:
        yield
    except (*ERRORS, OSError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else error
        forbidden = not os.access(file, os.R_OK | os.W_OK, effective_ids=True)
        advice = "; try as root (sudo)" if forbidden and os.geteuid() != 0 else ""
        raise UnavailableError(f"{file} can't be read: {why}{advice}") from error


def _document(row: tuple[Any, ...]) -> dict[str, Any]:
    letter = dict(zip(_COLUMNS.split(", "), row, strict=True))
    letter["bytes"] = len(letter["payload"])
    # As text where it is text; what is not shows as escapes.
    letter["payload"] = letter["payload"].decode("utf-8", "backslashreplace")
    return letter


def _row(identity: InstanceId, letter: dict[str, Any]) -> tuple[str, ...]:
    error = printable(letter["error"].splitlines()[0]) if letter["error"] else ""
    return (
        str(identity),
        str(letter["id"]),
        _time(letter["created"]),
        letter["kind"] + (" (retry)" if letter["request"] else ""),
        str(letter["attempts"]),
        str(letter["bytes"]),
        printable(letter["topic"]),
        error,
    )


def _time(moment: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(moment))
