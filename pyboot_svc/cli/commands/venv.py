"""`pyboot venv`: Python environments for models, where the services may use them."""

from __future__ import annotations

import argparse
import json
import re
import shutil
import signal
import sys
from pathlib import Path

from pyboot_svc.cli.arguments import add_config, add_json, add_run_dir
from pyboot_svc.cli.config_file import config_file, has_config
from pyboot_svc.config.compiled import compiled_file, compiled_names, load_compiled
from pyboot_svc.config.loader import load_config
from pyboot_svc.errors import ExitCode, UsageError
from pyboot_svc.services.environments import (
    OF_SERVICES,
    OF_USERS,
    Source,
    create_environment,
    described,
    environments_folder,
    list_environments,
    remove_environment,
)
from pyboot_svc.text import path_text

DESCRIPTION = """\
Python environments of models' own, as `python:` of an edge names them. As root they
are made in /var/lib/pyboot/venvs, for services; as a user in ~/.local/share/pyboot/venvs.
An environment that was made elsewhere will do as well."""
EXAMPLES = (
    ("sudo pyboot venv create ml --requirements r.txt", "make one"),
    ("sudo pyboot venv create ml --requirements r.txt --wheels w", "the same, offline"),
    ("pyboot venv list", "which ones are there?"),
)
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")
_HEADER = ("NAME", "PYTHON", "PACKAGES", "PATH")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(title="actions", metavar="ACTION", dest="action", required=True)
    create = _action(actions, "create", "make one, with what a list of requirements names")
    create.add_argument("name", metavar="ENVIRONMENT", help="its name")
    create.add_argument(
        "--requirements",
        type=Path,
        required=True,
        metavar="FILE",
        help="what to install, as pip's --requirement",
    )
    create.add_argument(
        "--wheels", type=Path, metavar="DIR", help="a folder of wheels to install from, offline"
    )
    create.add_argument(
        "--python",
        default=sys.executable,
        metavar="EXE",
        help="the interpreter to make it of (default: pyboot's own)",
    )
    listed = _action(actions, "list", "list them")
    add_json(listed, "print JSON")
    remove = _action(actions, "remove", "remove one that no configuration uses")
    remove.add_argument("name", metavar="ENVIRONMENT", help="its name")
    add_config(remove)
    add_run_dir(remove, "where compiled files are")
    for action in (create, listed, remove):
        action.add_argument(
            "--dir",
            type=Path,
            metavar="DIR",
            help=f"where they are (default: {OF_SERVICES}, for a user {OF_USERS})",
        )


def _action(
    actions: argparse._SubParsersAction[argparse.ArgumentParser], name: str, text: str
) -> argparse.ArgumentParser:
    return actions.add_parser(name, help=text, description=f"{text.capitalize()}.")


def run(options: argparse.Namespace) -> ExitCode:
    options.dir = (options.dir or environments_folder()).absolute()
    return {"create": create, "list": list_all, "remove": remove}[options.action](options)


def create(options: argparse.Namespace) -> ExitCode:
    if not _NAME.fullmatch(options.name):
        raise UsageError(
            f"{options.name!r} can't be a name: letters, digits, `_`, `.` and `-`, without `.` or "
            "`-` in front"
        )
    folder = options.dir / options.name
    print(f"making {path_text(folder)}", file=sys.stderr, flush=True)
    interpreter = shutil.which(options.python) or options.python
    source = Source(options.requirements, options.wheels, interpreter)
    # So that nothing is left behind then, either.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    create_environment(folder, source, show=sys.stderr.isatty())
    print(f"made; an edge, or `defaults:`, uses it by the line\npython: {path_text(folder)}")
    return ExitCode.OK


def list_all(options: argparse.Namespace) -> ExitCode:
    found = [described(one) for one in list_environments(options.dir)]
    if options.json:
        print(json.dumps(found, indent=1))
        return ExitCode.OK
    rows = [_HEADER, *(tuple(path_text(str(one[key.lower()])) for key in _HEADER) for one in found)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADER))]
    for row in rows:
        print("  ".join(map(str.ljust, row, widths)).rstrip())
    return ExitCode.OK


def remove(options: argparse.Namespace) -> ExitCode:
    there = {one.name: one for one in list_environments(options.dir)}
    if options.name not in there:
        names = ", ".join(there) or "none"
        raise UsageError(f"no environment in {options.dir} is named {options.name}; there: {names}")
    chosen = there[options.name]
    for user, python in _in_use(options).items():
        if Path(python).is_relative_to(chosen):
            raise UsageError(f"{chosen} is used by {user}: remove its `python:` first, and apply")
    remove_environment(chosen)
    print(f"{path_text(chosen)}: removed")
    return ExitCode.OK


def _in_use(options: argparse.Namespace) -> dict[str, str]:
    """The environments of what is configured, and of what was applied and may still run."""
    users = {}
    file = config_file(options)
    if has_config(options):
        for edge in load_config(file).edges:
            users[f"{edge.name}, configured in {file}"] = edge.python
    for identity in sorted(compiled_names(options.run_dir)):
        applied = load_compiled(compiled_file(options.run_dir, identity))
        users[f"{identity}, as applied"] = applied.edge.python
    return {user: python for user, python in users.items() if python is not None}
