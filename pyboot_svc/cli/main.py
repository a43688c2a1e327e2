"""The command line: finds the command, parses its arguments, runs it, reports what it raises."""

from __future__ import annotations

import argparse
import errno
import io
import logging
import os
import shlex
import signal
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from pyboot_svc import __version__
from pyboot_svc.cli.commands import GROUPS, NAMES, Examples, load_command
from pyboot_svc.errors import ConfigError, ExitCode, PybootError, UnavailableError, UsageError
from pyboot_svc.logs import journal_reads_stderr, say
from pyboot_svc.text import block, closest

_DESCRIPTION = "Run Python models on telemetry: MQTT in, a Python function, MQTT out."
_EXAMPLES: Examples = (
    ("pyboot check -c config.yaml --models", "is the configuration right?"),
    ("pyboot up -c config.yaml", "run it here, until Ctrl-C"),
    ("pyboot status", "how are all instances doing?"),
    ("sudo systemctl reload pyboot", "apply the configuration to the services"),
)
_NOTES = """\
The configuration is /etc/pyboot/config.yaml, unless -c FILE or else the environment
variable PYBOOT_CONFIG names another. `pyboot COMMAND --help` explains a command.

Exit codes: 0 clean stop, 64 usage, 69 unavailable, 70 internal error,
78 configuration or model can't be loaded, 130 interrupted (Ctrl-C)."""

# As of a shell, for whatever goes on only after a success.
_INTERRUPTED = 128 + signal.SIGINT

# What a full disk, or a terminal that has gone, says.
_NOT_WRITTEN = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG)


class _Parser(argparse.ArgumentParser):
    """An ArgumentParser that ends with our exit code for wrong usage, and takes options and other
    arguments in any order."""

    _has_actions = False
    _mixing = False

    def add_subparsers(self, **more: Any) -> Any:
        self._has_actions = True  # of which each takes its own in any order
        return super().add_subparsers(**more)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        if self._has_actions or self._mixing:
            return super().parse_known_args(args, namespace)
        self._mixing = True  # it calls this one in turn
        try:
            return self.parse_known_intermixed_args(args, namespace)
        finally:
            self._mixing = False

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        raise UsageError(f"{message}; see {self.prog} --help")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; gives the exit code."""
    _open_closed_streams()
    if isinstance(sys.stdout, io.TextIOWrapper):
        # As of standard error: what a locale has no character for is no reason to fail.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        code = _run(list(sys.argv[1:] if arguments is None else arguments))
        _flush_output()
        return code
    except PybootError as error:
        _report(_lines(error))
        return error.exit_code
    except BrokenPipeError:
        # Whoever read our output has seen enough; keep the interpreter from trying again.
        sys.stdout = None
        return ExitCode.OK
    except KeyboardInterrupt:  # those that are meant to run until then catch it themselves
        return _INTERRUPTED
    except Exception as error:
        if isinstance(error, OSError) and error.errno in _NOT_WRITTEN and error.filename is None:
            _report(f"the output can't be written: {error.strerror}")
            sys.stdout = None
            return ExitCode.UNAVAILABLE
        _report(block(f"internal error, please report it:\n{traceback.format_exc()}"))
        return ExitCode.INTERNAL


def _open_closed_streams() -> None:
    """What reads and prints finds something there, and no other file gets their numbers."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            stream = open(os.devnull, mode, encoding="utf-8")  # noqa: SIM115  # as long as we live
            setattr(sys, name, stream)
            setattr(sys, f"__{name}__", stream)


def _flush_output() -> None:
    with suppress(AttributeError, ValueError):  # a model has put something else there, or closed it
        sys.stdout.flush()


def _run(arguments: list[str]) -> int:
    if not arguments or arguments[0] not in NAMES:
        parser = root_parser()
        parser.parse_known_args(arguments[:1])  # ends here for --help and --version
        parser.error(_without_command(arguments))
    name, *rest = arguments
    parser = command_parser(name)
    options, unknown = parser.parse_known_args(rest)
    if unknown:
        parser.error(_unknown(arguments, unknown, takes_config="config" in options))
    _leave_removed_folder(options)
    return int(load_command(name).run(options))


def _leave_removed_folder(options: argparse.Namespace) -> None:
    """What asks for the working directory, as libraries do, gets one all the same."""
    try:
        os.getcwd()
    except FileNotFoundError:
        for place in vars(options).values():
            if isinstance(place, Path) and not place.is_absolute():
                raise UnavailableError(
                    f"{place} is in the working directory, which was removed: change to another "
                    "one, or give the whole path"
                ) from None
        os.chdir("/")


def _without_command(arguments: Sequence[str]) -> str:
    if not arguments:
        return "a command is missing"
    first = arguments[0]
    if first in ("-c", "--config"):
        return f"the command comes first: type `pyboot up {shlex.join(arguments[:2])}`"
    if _names_config(first):
        return f"a command is missing: type `pyboot up -c {shlex.quote(first)}`"
    # By default `help` would be taken for `health`.
    close = closest(first, NAMES, 0.65)
    return f"there is no command {first!r}" + (f", did you mean `{close}`?" if close else "")


def _unknown(arguments: Sequence[str], unknown: Sequence[str], *, takes_config: bool) -> str:
    file = next((word for word in unknown if _names_config(word)), None)
    if file is None or not takes_config:
        return f"unrecognized arguments: {' '.join(unknown)}"
    rest = list(arguments)
    rest.remove(file)
    right = shlex.join(["pyboot", *rest, "-c", file])
    return f"the configuration is named by -c: type `{right}`"


def _names_config(word: str) -> bool:
    return word.endswith((".yaml", ".yml")) and not word.startswith("-")


def _lines(error: PybootError) -> str:
    """Each problem of a configuration is a line, and what else has more lines is one thing."""
    if isinstance(error, ConfigError):
        return "\n".join(block(str(problem)) for problem in error.problems)
    return block(str(error))


def _report(text: str) -> None:
    if journal_reads_stderr():
        logging.getLogger("pyboot").critical("%s", text)
    else:
        say(f"pyboot: {text}")


def root_parser() -> argparse.ArgumentParser:
    """Knows the help and the version; each command has a parser of its own."""
    width = max(map(len, NAMES))
    groups = [
        "\n".join(
            [f"{group.purpose}:", *(f"  {n:{width}}  {s}" for n, s in group.commands.items())]
        )
        for group in GROUPS
    ]
    parser = _Parser(
        prog="pyboot",
        usage="pyboot COMMAND [OPTION ...]\n       pyboot --help | --version",
        description="\n\n".join([_DESCRIPTION, *groups]),
        epilog=f"{_shown(_EXAMPLES)}\n\n{_NOTES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"pyboot {__version__}")
    return parser


def command_parser(name: str) -> argparse.ArgumentParser:
    command = load_command(name)
    parser = _Parser(
        prog=f"pyboot {name}",
        description=command.DESCRIPTION,
        epilog=_shown(command.EXAMPLES),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_arguments(parser)
    return parser


def _shown(examples: Examples) -> str:
    width = max(len(line) for line, _ in examples)
    return "\n".join(["examples:", *(f"  {line:{width}}  # {what}" for line, what in examples)])
