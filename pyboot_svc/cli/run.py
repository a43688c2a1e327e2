"""`pyboot up`, `pyboot master` and `pyboot worker`."""

from __future__ import annotations

import argparse
import os
import signal
from dataclasses import replace
from pathlib import Path

from pyboot_svc.cli.private import PrivateFolder
from pyboot_svc.config import InstanceConfig, WebAddress
from pyboot_svc.config.compiled import compiled_file, load_compiled, model_file, write_compiled
from pyboot_svc.config.settings import DEFAULT_CONFIG_FILE
from pyboot_svc.errors import ExitCode, UnavailableError
from pyboot_svc.health.client import health_socket
from pyboot_svc.identity import InstanceId
from pyboot_svc.logs import configure_logging
from pyboot_svc.metrics.protocol import socket_path


def up(options: argparse.Namespace) -> ExitCode:
    private = PrivateFolder()
    try:
        return _boot(
            options,
            run_dir=options.run_dir or private.path,
            state_dir=options.state_dir or private.path / "state",
            run_workers=True,
        )
    finally:
        private.close()


def master(options: argparse.Namespace) -> ExitCode:
    return _boot(options, run_dir=options.run_dir, state_dir=Path(), run_workers=False)


def _boot(
    options: argparse.Namespace, *, run_dir: Path, state_dir: Path, run_workers: bool
) -> ExitCode:
    from pyboot_svc.starter import Boot, Settings, StarterContext
    from pyboot_svc.starter.builtin import builtin_starters
    from pyboot_svc.starter.registry import registered_starters

    configure_logging(options.log_format)
    settings = Settings(
        config_file=options.config or DEFAULT_CONFIG_FILE,
        run_dir=run_dir.absolute(),
        state_dir=state_dir.absolute(),
        model_path=tuple(
            str(Path(folder).absolute()) for folder in vars(options).get("model_path", ())
        ),
        listen=WebAddress(*options.listen) if options.listen else None,
        reports_listen=vars(options).get("reports_listen"),
        run_workers=run_workers,
        watchdog_seconds=vars(options).get("watchdog_seconds", 0.0),
        log_format=options.log_format,
    )
    starters = [*builtin_starters(), *registered_starters()]
    signals = [signal.SIGINT, signal.SIGTERM]
    if run_workers:
        signals.append(signal.SIGHUP)  # the terminal was closed
    return Boot(starters, StarterContext(settings), signals).run()


def worker(options: argparse.Namespace) -> ExitCode:
    # Until the worker has handlers of its own there is nothing to finish.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: os._exit(ExitCode.OK))
    identity = _identity(options)
    configure_logging(options.log_format, EDGE_MODEL=identity.model, INSTANCE=str(identity))
    if options.pod is not None:
        _take_settings(options.run_dir, identity)
    compiled = _compiled(options, identity)
    config = load_compiled(compiled) if compiled else _from_file(options, identity)
    # For a worker that is started by hand; a service manager has set them, an administrator may
    # have changed them. Some have a say only before a library is imported.
    for name, value in config.edge.variables.items():
        os.environ.setdefault(name, value)
    from pyboot_svc.worker.main import Worker, WorkerSettings

    settings = WorkerSettings(
        master=options.report_to or socket_path(options.run_dir),
        health_socket=health_socket(options.run_dir.absolute(), identity),
        probes=options.probes_listen,
        state_dir=options.state_dir.absolute() / str(identity),
        compiled=compiled,
        drain_seconds=options.drain_seconds,
        stop_at_eof=options.stop_at_eof,
    )
    return Worker(config, settings).run()


def _identity(options: argparse.Namespace) -> InstanceId:
    if options.pod is None:
        return InstanceId.parse(options.instance)
    return InstanceId.of_pod(options.instance, options.pod)


def _take_settings(run_dir: Path, identity: InstanceId) -> None:
    """Make the settings that all of a model's pods are given this one's."""
    of_model = load_compiled(model_file(run_dir, identity.model))
    try:
        write_compiled(replace(of_model, identity=identity), run_dir)
    except OSError as error:
        raise UnavailableError(
            f"{run_dir} can't be written: {error.strerror}; choose another --run-dir"
        ) from error


def _compiled(options: argparse.Namespace, identity: InstanceId) -> Path | None:
    """What was applied; None without it, or when the command line names something else."""
    file = compiled_file(options.run_dir, identity)
    named = options.config is not None or options.model_path
    return file if not named and file.exists() else None


def _from_file(options: argparse.Namespace, identity: InstanceId) -> InstanceConfig:
    from pyboot_svc.config.loader import load_config

    file = options.config or DEFAULT_CONFIG_FILE
    folders = [str(Path(folder).absolute()) for folder in options.model_path]
    return load_config(file, model_path=folders).instance(identity)
