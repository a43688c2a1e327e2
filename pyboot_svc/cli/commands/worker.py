"""`pyboot worker`: one instance, what its unit runs."""

from __future__ import annotations

import argparse
import gc
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

from pyboot_svc.address import Address
from pyboot_svc.cli.arguments import (
    add_config,
    add_drain_seconds,
    add_log_format,
    add_log_level,
    add_model_path,
    add_run_dir,
    add_state_dir,
    address,
)
from pyboot_svc.cli.config_file import config_file, model_path
from pyboot_svc.cli.reports import METAVAR, ReportsAddress, reports_address
from pyboot_svc.config import InstanceConfig
from pyboot_svc.config.compiled import (
    COMPILED_NAME,
    compiled_file,
    load_compiled,
    model_file,
    write_compiled,
)
from pyboot_svc.credentials import delivered
from pyboot_svc.environments.interpreter import enter
from pyboot_svc.errors import ExitCode, UnavailableError
from pyboot_svc.health.client import health_socket
from pyboot_svc.identity import InstanceId
from pyboot_svc.logs import MARK_VARIABLE, configure_logging
from pyboot_svc.metrics.protocol import socket_path
from pyboot_svc.metrics.tokens import worker_token

if TYPE_CHECKING:
    from pyboot_svc.worker.main import Worker

DESCRIPTION = """\
Run one instance: what its unit runs. It works by what was applied for it; with
--config or --model-path, or when nothing was applied, by the configuration."""
EXAMPLES = (
    ("pyboot worker mean-1", "as its unit does"),
    ("pyboot worker mean-1 -c config.yaml --state-dir state", "by hand, without a master"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_config(parser)
    parser.add_argument("instance", metavar="NAME-INSTANCE", help="as in telm_temperature-1")
    add_run_dir(parser, "where the master's socket and compiled files are")
    parser.add_argument(
        "--probes-listen",
        type=address,
        metavar="HOST:PORT",
        help="answer /startz, /readyz and /healthz over HTTP there, with status 200 or 503",
    )
    parser.add_argument(
        "--pod",
        metavar="POD",
        help="the pod that Kubernetes runs it in, with NAME alone given: the instance is the "
        "pod's, its configuration RUN_DIR/models/NAME.json",
    )
    parser.add_argument(
        "--report-to",
        type=reports_address,
        metavar=METAVAR,
        help="the master's address when it is on another host (see --reports-listen); with tcp:// "
        "in plain text",
    )
    parser.add_argument(
        "--report-tls",
        type=Path,
        metavar="DIR",
        help="whom to trust there, ca.crt; and what to show instead of a token, if it is there, "
        "tls.crt and tls.key: a certificate for NAME-INSTANCE",
    )
    parser.add_argument(
        "--token",
        type=Path,
        metavar="FILE",
        help="what proves to the master which instance it is (default: what was applied)",
    )
    add_state_dir(parser, "the instance keeps its state in DIR/NAME-INSTANCE")
    add_drain_seconds(parser)
    parser.add_argument(
        "--stop-at-eof",
        action="store_true",
        help="stop when standard input is closed, and so when the parent process ends",
    )
    add_log_format(parser)
    add_log_level(parser)
    add_model_path(parser)


def run(options: argparse.Namespace) -> ExitCode:
    # What is imported stays: nobody looks for garbage in it, now or later.
    gc.disable()
    try:
        worker = _worker(options)
        gc.freeze()
    finally:
        gc.enable()
    return worker.run()


def _worker(options: argparse.Namespace) -> Worker:
    # Until the worker has handlers of its own there is nothing to finish.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: os._exit(ExitCode.OK))
    identity = _identity(options)
    fields = {"EDGE_MODEL": identity.model, "INSTANCE": str(identity)}
    configure_logging(options.log_format, options.log_level, **fields)
    if options.pod is not None:
        _take_settings(options.run_dir, identity)
    options.run_dir = options.run_dir.absolute()  # the worker moves to the model's folder
    compiled = _compiled(options, identity)
    config = _load_applied(compiled) if compiled else _from_file(options, identity)
    enter(config.edge.python, config.edge.variables)
    # It is the log's: no model shows it with its environment, or hands it on.
    os.environ.pop(MARK_VARIABLE, None)
    # For a worker that is started by hand; a service manager has set them, an administrator may
    # have changed them. Some have a say only before a library is imported.
    for name, value in config.edge.variables.items():
        os.environ.setdefault(name, value)
    from pyboot_svc.worker.main import Worker, WorkerSettings

    settings = WorkerSettings(
        master=_master(options),
        report_tls=options.report_tls and options.report_tls.absolute(),
        health_socket=health_socket(options.run_dir, identity),
        token=(options.token or worker_token(options.run_dir, identity)).absolute(),
        probes=options.probes_listen,
        state_dir=options.state_dir.absolute() / str(identity),
        compiled=compiled,
        drain_seconds=options.drain_seconds,
        stop_at_eof=options.stop_at_eof,
    )
    return Worker(config, settings)


def _master(options: argparse.Namespace) -> Path | Address:
    if options.report_to is None:
        return socket_path(options.run_dir)
    to: ReportsAddress = options.report_to
    return to.checked("--report-to", options.report_tls, "--report-tls")


def _identity(options: argparse.Namespace) -> InstanceId:
    if options.pod is None:
        return InstanceId.parse(options.instance)
    return InstanceId.of_pod(options.instance, options.pod)


def _take_settings(run_dir: Path, identity: InstanceId) -> None:
    """Make the settings that all of a model's pods are given this one's."""
    of_model = load_compiled(model_file(run_dir, identity.model))
    try:
        write_compiled(of_model._replace(identity=identity), run_dir)
    except OSError as error:
        raise UnavailableError(
            f"{run_dir} can't be written: {error.strerror}; choose another --run-dir"
        ) from error


def _compiled(options: argparse.Namespace, identity: InstanceId) -> Path | None:
    """What was applied; None without it, or when the command line names something else.

    PYBOOT_CONFIG only stands in for the default: a bad edit never reaches what restarts.
    """
    file = compiled_file(options.run_dir, identity)
    named = options.config is not None or options.model_path
    return file if not named and os.path.exists(file) else None


def _load_applied(compiled: Path) -> InstanceConfig:
    """From the copy that the service manager has handed over, where it has: the file is root's."""
    return load_compiled(Path(delivered(str(compiled), COMPILED_NAME)))


def _from_file(options: argparse.Namespace, identity: InstanceId) -> InstanceConfig:
    from pyboot_svc.config.loader import load_config

    config = load_config(config_file(options), model_path=model_path(options))
    return config.instance(identity)
