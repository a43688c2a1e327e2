"""`pyboot logs`: what instances have logged, wherever that is kept."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Iterable
from functools import partial
from pathlib import Path

from pyboot_svc.cli.arguments import add_config, line_count
from pyboot_svc.cli.config_file import named_config
from pyboot_svc.errors import ExitCode, UnavailableError, UsageError
from pyboot_svc.identity import NAME_PATTERN, InstanceId
from pyboot_svc.services import openrc, systemd
from pyboot_svc.services.log_files import Line, follow_lines, last_lines, lines_folder, names_in
from pyboot_svc.services.log_programs import Asked, pod_lines, show_journal
from pyboot_svc.text import printable

DESCRIPTION = """\
Show what an instance, or all instances of a model, have logged: those of the
`pyboot up` that this user runs, else of systemd's journal or OpenRC's files in
/var/log/edge-model, and with --namespace those of pods, by kubectl."""
EXAMPLES = (
    ("pyboot logs mean-1", "the last 100 lines"),
    ("pyboot logs mean -f --errors", "errors of all its instances, as they come"),
    ("pyboot logs mean --namespace plant", "of its pods"),
)
_LONGEST_LINE = 100_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME[-INSTANCE]", help="as in telm_temperature-1")
    parser.add_argument("-f", "--follow", action="store_true", help="and what comes, until Ctrl-C")
    parser.add_argument("--errors", action="store_true", help="errors alone, with their tracebacks")
    parser.add_argument(
        "-n",
        "--lines",
        type=line_count,
        default=100,
        metavar="N",
        help="how many lines of what was logged before (default: 100)",
    )
    parser.add_argument("--namespace", metavar="NAME", help="of pods in this namespace, by kubectl")
    add_config(parser)


def run(options: argparse.Namespace) -> ExitCode:
    asked = _asked(options)
    # As by Ctrl-C: journalctl or kubectl ends with it.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        _show(options, asked)
    except KeyboardInterrupt:
        if not asked.follow:  # whose usual end it is
            raise
    return ExitCode.OK


def _show(options: argparse.Namespace, asked: Asked) -> None:
    if options.namespace is not None:
        for line in pod_lines(asked, options.namespace):
            _print(line)
    elif (folder := _folder_of_up(options)) is not None and _names(folder, asked):
        _show_files(folder, asked)
    elif systemd.RUNNING.is_dir():
        show_journal(asked)
    elif openrc.RUNNING.exists():
        _show_files(openrc.LOG_DIR, asked)
    elif folder is not None:
        _show_files(folder, asked)
    else:
        raise UnavailableError(
            "there are no logs here: neither a `pyboot up` of yours runs, nor systemd, nor OpenRC; "
            "those of pods are shown by --namespace NAME"
        )


def _asked(options: argparse.Namespace) -> Asked:
    name = options.name
    if not NAME_PATTERN.fullmatch(name):
        raise UsageError(f"{name!r} is neither a model nor an instance, as in telm_temperature-1")
    try:
        identity = InstanceId.parse(name)
    except UsageError:
        identity = None
    model = identity.model if identity else name
    return Asked(model, identity, options.lines, options.follow, options.errors)


def _folder_of_up(options: argparse.Namespace) -> Path | None:
    from pyboot_svc.cli.running import one_of, running_ups

    up = one_of(running_ups(), named_config(options), "--config")
    return lines_folder(Path(up.run_dir)) if up is not None and up.run_dir is not None else None


def _show_files(folder: Path, asked: Asked) -> None:
    names = partial(_names, folder, asked)
    if not names():
        there = ", ".join(names_in(folder)) or "none"
        who = asked.identity or asked.model
        raise UsageError(
            f"there is no log of {who} in {folder}: it has logged nothing there, or its file was "
            f"removed: it comes again with the next line; there are logs of: {there}"
        )
    several = asked.identity is None
    lines: Iterable[Line]
    if asked.follow:
        lines = follow_lines(folder, names, asked.most, errors=asked.errors)
    else:
        lines = last_lines(folder, names(), asked.most, errors=asked.errors)
    for name, line in lines:
        _print(f"{name} | {line}" if several else line)


def _names(folder: Path, asked: Asked) -> list[str]:
    return [name for name in names_in(folder) if _is_asked(name, asked)]


def _is_asked(name: str, asked: Asked) -> bool:
    if asked.identity is not None:
        return name == str(asked.identity)
    try:
        return InstanceId.parse(name).model == asked.model
    except UsageError:
        return False


def _print(line: str) -> None:
    print(printable(line, _LONGEST_LINE, lines=True), file=sys.stdout, flush=True)
