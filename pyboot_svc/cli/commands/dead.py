"""`pyboot dead`: the messages that an instance gave up, as it keeps them locally."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from textwrap import indent
from typing import Any

from pyboot_svc.cli.arguments import add_found_state_dir, add_json
from pyboot_svc.cli.letters import change_letters, letters_of, whole_letters
from pyboot_svc.cli.progress import Progress
from pyboot_svc.cli.state import found_state_dir, known_instances
from pyboot_svc.errors import ExitCode, PybootError, UnavailableError, UsageError
from pyboot_svc.identity import InstanceId
from pyboot_svc.model.codec import PayloadFault
from pyboot_svc.text import ago, block, path_text, printable

DESCRIPTION = """\
The messages that were given up, as kept locally. Each has an ID, its payload, the
error and, where the model raised it, the traceback."""
EXAMPLES = (
    ("sudo pyboot dead list", "those of all instances"),
    ("sudo pyboot dead show mean-1 7", "payload, error and traceback"),
    ("sudo pyboot dead retry mean-1 --all", "once the model is repaired"),
)
# Of one value; `--json` gives all of it.
_LONGEST_SHOWN = 100_000
# How often to look how far a worker is, and how long it may be at a message.
_LOOK_SECONDS = 0.5
_PATIENCE_SECONDS = 5.0
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
        print(f"no instance has state in {path_text(options.state_dir)}", file=sys.stderr)
    for identity in instances:
        try:
            kept[identity] = letters_of(options.state_dir, identity)
        except PybootError as error:
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
        chosen = [letter["id"] for letter in letters]
        for letter in whole_letters(options.state_dir, identity, chosen):
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
    for letter in whole_letters(options.state_dir, identity, chosen):
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
    changed = _change(options, statement, "will be retried", whole=True)
    _follow(options, changed)
    return ExitCode.OK


def drop(options: argparse.Namespace) -> ExitCode:
    _change(options, "DELETE FROM dead WHERE id = ?", "dropped")
    return ExitCode.OK


def _follow(options: argparse.Namespace, numbers: Sequence[int]) -> None:
    """On a terminal, how far the worker is with these, as long as it goes on with them."""
    identity, wanted = _named(options), set(numbers)
    left, since = len(wanted), time.monotonic()
    with Progress(left, "messages", sys.stdout) as progress:
        if not progress.shown:
            return
        while left and time.monotonic() - since < _PATIENCE_SECONDS:
            time.sleep(_LOOK_SECONDS)
            letters = letters_of(options.state_dir, identity)
            asked = sum(one["id"] in wanted and one["request"] is not None for one in letters)
            if asked < left:
                left, since = asked, time.monotonic()
                progress.at(len(wanted) - left)
    if left:
        print(f"{identity}: {left} are left; its worker goes on with them once it runs")


def _change(
    options: argparse.Namespace, statement: str, text: str, *, whole: bool = False
) -> list[int]:
    """Gives the IDs; with `whole`, only to messages that are kept as a whole."""
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
    if not numbers:
        print(f"{identity}: no dead letters")
        return []
    change_letters(options.state_dir, identity, statement, numbers)
    print(f"{identity}: {len(numbers)} {text}")
    return numbers


def _chosen(options: argparse.Namespace, identity: InstanceId) -> list[dict[str, Any]]:
    letters = {letter["id"]: letter for letter in letters_of(options.state_dir, identity)}
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


def _row(identity: InstanceId, letter: dict[str, Any]) -> tuple[str, ...]:
    error = printable(letter["error"].splitlines()[0]) if letter["error"] else ""
    return (
        str(identity),
        str(letter["id"]),
        _time(letter["created"]),
        printable(letter["kind"]) + (" (retry)" if letter["request"] else ""),
        str(letter["attempts"]),
        str(letter["bytes"]),
        printable(letter["topic"]),
        error,
    )


def _time(moment: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(moment))
