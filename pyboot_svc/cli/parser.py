"""The command line. Each command's code is imported when it is asked for: `--help` stays quick."""

from __future__ import annotations

import argparse
import importlib
import logging
import math
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from pyboot_svc import __version__
from pyboot_svc.address import parse_address
from pyboot_svc.errors import ConfigError, ExitCode, PybootError, UsageError
from pyboot_svc.logs import journal_reads_stderr
from pyboot_svc.text import block

_RUN_DIR = Path("/run/pyboot")
_STATE_DIR = Path("/var/lib/edge-model")
_MOST_SECONDS = 86_400.0
_MOST_A_SECOND = 1e9


class _Parser(argparse.ArgumentParser):
    """An ArgumentParser that ends with our exit code for wrong usage."""

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        raise UsageError(f"{message}; see {self.prog} --help")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; gives the exit code."""
    try:
        options = make_parser().parse_args(arguments)
        module, _, function = options.run.partition(":")
        command = getattr(importlib.import_module(f"pyboot_svc.cli.{module}"), function)
        return int(command(options))
    except PybootError as error:
        _report(_lines(error))
        return error.exit_code
    except BrokenPipeError:
        # Whoever read our output has seen enough; keep the interpreter from trying again.
        sys.stdout = None
        return ExitCode.OK
    except KeyboardInterrupt:
        return ExitCode.OK
    except Exception:
        _report(block(f"internal error, please report it:\n{traceback.format_exc()}"))
        return ExitCode.INTERNAL


def _lines(error: PybootError) -> str:
    """Each problem of a configuration is a line, and what else has more lines is one thing."""
    if isinstance(error, ConfigError):
        return "\n".join(block(str(problem)) for problem in error.problems)
    return block(str(error))


def _report(text: str) -> None:
    if journal_reads_stderr():
        logging.getLogger("pyboot").critical("%s", text)
    else:
        print(f"pyboot: {text}", file=sys.stderr)


def make_parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="pyboot",
        description="Runs Python models on telemetry: MQTT in, a function, MQTT out.",
        epilog="Exit codes: 0 clean stop, 64 usage, 69 unavailable, 70 internal error, "
        "78 configuration or model can't be loaded.",
    )
    parser.add_argument("--version", action="version", version=f"pyboot {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_up(commands)
    _add_check(commands)
    _add_plan(commands)
    _add_apply(commands)
    _add_worker(commands)
    _add_master(commands)
    _add_health(commands)
    _add_status(commands)
    _add_top(commands)
    _add_dead(commands)
    _add_purge(commands)
    _add_bench(commands)
    _add_render(commands)
    return parser


_Commands = argparse._SubParsersAction  # the type has no public name


def _command(commands: _Commands[_Parser], name: str, run: str, text: str) -> _Parser:
    parser = commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
    parser.set_defaults(run=run)
    parser.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="the configuration (default: /etc/pyboot/config.yaml)",
    )
    return parser


def _add_model_path(parser: _Parser) -> None:
    parser.add_argument(
        "--model-path",
        action="append",
        default=[],
        metavar="DIR",
        help="a folder to import models from, before those of the configuration; may be repeated",
    )


def _add_listen(parser: _Parser, text: str) -> None:
    parser.add_argument("--listen", type=_address, metavar="HOST:PORT", help=text)


def _address(text: str) -> tuple[str, int]:
    try:
        return parse_address(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{error}, as in 127.0.0.1:5888") from None


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds <= _MOST_SECONDS:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds")
    return seconds


def _rate(text: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = math.nan
    if not 0 < rate <= _MOST_A_SECOND:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of messages per second")
    return rate


def _add_up(commands: _Commands[_Parser]) -> None:
    parser = _command(commands, "up", "run:up", "run everything in the foreground, until Ctrl-C")
    _add_listen(parser, "where the web listens (port 0: any free one, printed)")
    parser.add_argument(
        "--run-dir", type=Path, metavar="DIR", help="socket and compiled files (default: private)"
    )
    parser.add_argument(
        "--state-dir",
        type=Path,
        metavar="DIR",
        help="where models keep their state (default: private)",
    )
    parser.add_argument(
        "--watchdog-seconds",
        type=_seconds,
        default=30.0,
        metavar="N",
        help="restart a worker after so many seconds without progress (default: 30; 0: never)",
    )
    _add_log_format(parser)
    _add_model_path(parser)


def _add_check(commands: _Commands[_Parser]) -> None:
    parser = _command(commands, "check", "check:check", "validate the configuration")
    parser.add_argument("--models", action="store_true", help="import each model, too")
    parser.add_argument(
        "--instances", action="store_true", help="print the names of all instances, and no more"
    )
    parser.add_argument("--json", action="store_true", help="print the problems as JSON")
    _add_model_path(parser)


def _add_run_dir(parser: _Parser, text: str) -> None:
    help_text = f"{text} (default: {_RUN_DIR})"
    parser.add_argument("--run-dir", type=Path, default=_RUN_DIR, metavar="DIR", help=help_text)


def _add_service_manager(parser: _Parser) -> None:
    parser.add_argument(
        "--service-manager",
        choices=("systemd", "openrc"),
        help="the service manager to use (default: the one that is running)",
    )


def _add_log_format(parser: _Parser) -> None:
    parser.add_argument(
        "--log-format",
        choices=("plain", "json"),
        default="plain",
        help="plain text or JSON lines; the journal always gets fields",
    )


def _add_plan(commands: _Commands[_Parser]) -> None:
    text = "show what apply would do; exit code 2 when there are changes"
    parser = _command(commands, "plan", "apply:plan", text)
    _add_run_dir(parser, "where compiled files are")
    _add_service_manager(parser)
    parser.add_argument("--json", action="store_true", help="print the steps as JSON")


def _add_apply(commands: _Commands[_Parser]) -> None:
    text = "bring the host's services in line with the configuration"
    parser = _command(commands, "apply", "apply:apply", text)
    _add_run_dir(parser, "where compiled files go")
    _add_service_manager(parser)
    parser.add_argument(
        "--wait-seconds",
        type=_seconds,
        default=60.0,
        metavar="N",
        help="how long an instance may take to become ready (default: 60)",
    )
    parser.add_argument(
        "--boot", action="store_true", help="don't wait for instances that this run starts"
    )


def _add_worker(commands: _Commands[_Parser]) -> None:
    parser = _command(commands, "worker", "run:worker", "run one instance (what its unit runs)")
    parser.add_argument("instance", metavar="NAME-INSTANCE", help="as in telm_temperature-1")
    _add_run_dir(parser, "where the master's socket and compiled files are")
    parser.add_argument(
        "--probes-listen",
        type=_address,
        metavar="HOST:PORT",
        help="answer /startz, /readyz and /healthz over HTTP there",
    )
    parser.add_argument(
        "--pod",
        metavar="POD",
        help="run by Kubernetes in the pod of this name, NAME alone given: the instance is the "
        "pod's, its configuration RUN_DIR/models/NAME.json",
    )
    parser.add_argument(
        "--report-to",
        type=_address,
        metavar="HOST:PORT",
        help="the master's address when it is on another host (see --reports-listen)",
    )
    parser.add_argument(
        "--state-dir",
        type=Path,
        default=_STATE_DIR,
        metavar="DIR",
        help=f"the instance keeps its state in DIR/NAME-INSTANCE (default: {_STATE_DIR})",
    )
    parser.add_argument(
        "--drain-seconds",
        type=_seconds,
        default=20.0,
        metavar="N",
        help="seconds to finish work in progress when stopped (default: 20)",
    )
    parser.add_argument(
        "--stop-at-eof",
        action="store_true",
        help="stop when standard input is closed, and so when the parent process ends",
    )
    _add_log_format(parser)
    _add_model_path(parser)


def _add_master(commands: _Commands[_Parser]) -> None:
    parser = _command(commands, "master", "run:master", "run the master (what pyboot.service runs)")
    _add_listen(parser, "where the web listens (port 0: any free one, printed)")
    _add_run_dir(parser, "where the metrics socket is")
    parser.add_argument(
        "--reports-listen",
        type=_address,
        metavar="HOST:PORT",
        help="where workers on other hosts report to, on a network that lets nobody else through",
    )
    _add_log_format(parser)


def _add_health(commands: _Commands[_Parser]) -> None:
    text = "ask workers whether they make progress; exit code 1 when one does not"
    parser = commands.add_parser("health", help=text, description=f"{text[0].upper()}{text[1:]}.")
    parser.set_defaults(run="health:health")
    parser.add_argument(
        "instance",
        nargs="?",
        metavar="NAME-INSTANCE",
        help="as in telm_temperature-1 (default: all that run)",
    )
    parser.add_argument(
        "--ready", action="store_true", help="also require all of them to be ready for work"
    )
    parser.add_argument(
        "--timeout",
        type=_seconds,
        default=3.0,
        metavar="N",
        help="how many seconds an answer may take (default: 3)",
    )
    _add_run_dir(parser, "where the workers' sockets are")
    parser.add_argument("--json", action="store_true", help="print their answers as JSON")


def _add_status(commands: _Commands[_Parser]) -> None:
    parser = _command(commands, "status", "status:status", "show all instances in one table")
    _add_listen(parser, "where the master listens (default: as configured)")
    parser.add_argument("--json", action="store_true", help="print what /api/instances gives")


def _add_top(commands: _Commands[_Parser]) -> None:
    parser = _command(commands, "top", "status:top", "show the table of status, kept live")
    _add_listen(parser, "where the master listens (default: as configured)")
    parser.add_argument(
        "--interval",
        type=_seconds,
        default=1.0,
        metavar="N",
        help="seconds between updates (default: 1)",
    )


def _add_dead(commands: _Commands[_Parser]) -> None:
    text = "the messages that were given up, as kept locally"
    parser = commands.add_parser("dead", help=text, description=f"{text[0].upper()}{text[1:]}.")
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    for name, run, help_text in (
        ("list", "list_dead", "list them, of one instance or of all"),
        ("show", "show", "show messages with payload, error and traceback"),
        ("retry", "retry", "have the worker try them again"),
        ("drop", "drop", "delete them"),
    ):
        action = actions.add_parser(name, help=help_text, description=f"{help_text.capitalize()}.")
        action.set_defaults(run=f"dead:{run}")
        if name == "list":
            action.add_argument("instance", nargs="?", metavar="NAME-INSTANCE")
        else:
            action.add_argument("instance", metavar="NAME-INSTANCE")
            action.add_argument("id", nargs="*", type=int, metavar="ID")
            action.add_argument("--all", action="store_true", help="all messages of the instance")
        if name in ("list", "show"):
            action.add_argument("--json", action="store_true", help="print JSON")
        action.add_argument(
            "--state-dir",
            type=Path,
            default=_STATE_DIR,
            metavar="DIR",
            help=f"where instances keep their state (default: {_STATE_DIR})",
        )


def _add_purge(commands: _Commands[_Parser]) -> None:
    text = "remove the state of instances that are no longer configured"
    parser = _command(commands, "purge", "purge:purge", text)
    parser.add_argument("name", metavar="NAME[-INSTANCE]", help="an instance, or all of a model")
    parser.add_argument("--yes", action="store_true", help="remove it (default: only show it)")
    parser.add_argument(
        "--state-dir",
        type=Path,
        default=_STATE_DIR,
        metavar="DIR",
        help=f"where instances keep their state (default: {_STATE_DIR})",
    )


def _add_bench(commands: _Commands[_Parser]) -> None:
    text = "measure a model: its service time, the rate and the CPU that it takes"
    parser = _command(commands, "bench", "bench:bench", text)
    parser.add_argument("name", metavar="NAME", help="the model, as in telm_temperature")
    parser.add_argument("--payload", type=Path, metavar="FILE", help="a message for the model")
    parser.add_argument(
        "--lines", action="store_true", help="the file holds many messages, one in each line"
    )
    parser.add_argument(
        "--rate",
        type=_rate,
        metavar="N",
        help="show what N messages per second need: instances, threads, cores",
    )
    parser.add_argument(
        "--seconds",
        type=_seconds,
        default=6.0,
        metavar="N",
        help="roughly how many seconds to measure (default: 6)",
    )
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    _add_model_path(parser)


def _add_render(commands: _Commands[_Parser]) -> None:
    text = "print the configuration for another service manager"
    parser = commands.add_parser("render", help=text, description=f"{text[0].upper()}{text[1:]}.")
    targets = parser.add_subparsers(title="targets", metavar="TARGET", required=True)
    parser = _command(targets, "kubernetes", "render:kubernetes", "manifests for Kubernetes")
    parser.add_argument(
        "--output",
        type=Path,
        metavar="DIR",
        help="write one file per model (default: print all of them)",
    )
    for option, metavar, default, help_text in (
        ("--image", "IMAGE", f"pyboot-svc:{__version__}", "the container image, models included"),
        ("--namespace", "NAME", None, "put it into every manifest"),
        ("--secret", "NAME", "pyboot-credentials", "the Secret with the brokers' secret files"),
        ("--storage-class", "NAME", None, "of the volumes that hold state"),
        ("--prometheus", "URL", None, "KEDA scales by it the models with `kubernetes: {most: N}`"),
    ):
        shown = f"{help_text} (default: {default})" if default else help_text
        parser.add_argument(option, metavar=metavar, default=default, help=shown)
    parser.add_argument(
        "--drain-seconds",
        type=_seconds,
        default=20.0,
        metavar="N",
        help="seconds to finish work in progress when stopped (default: 20)",
    )
    parser.add_argument(
        "--report-to",
        type=_address,
        metavar="HOST:PORT",
        help="where workers find the master (default: its Service)",
    )
    parser.add_argument(
        "--kubeedge", action="store_true", help="workers on edge nodes, on their nodes' network"
    )
    parser.add_argument(
        "--service-monitor", action="store_true", help="add a ServiceMonitor of the master"
    )
