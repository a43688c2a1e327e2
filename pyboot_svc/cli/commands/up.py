"""`pyboot up`: everything in the foreground."""

from __future__ import annotations

import argparse
from pathlib import Path

from pyboot_svc.cli.arguments import (
    add_config,
    add_listen,
    add_log_format,
    add_log_level,
    add_model_path,
    add_web_auth,
    seconds,
)
from pyboot_svc.cli.booting import hold_signals, make_starters
from pyboot_svc.cli.config_file import config_file, model_path
from pyboot_svc.cli.private import PrivateFolder
from pyboot_svc.cli.terminal import Terminal
from pyboot_svc.config import WebAddress
from pyboot_svc.errors import ExitCode
from pyboot_svc.services.folders import as_they_are
from pyboot_svc.starter import Boot, Settings, StarterContext

DESCRIPTION = """\
Run everything in the foreground: master, web and one child process per instance, for
a laptop, a container, a first look. The web's address goes to standard output.
Ctrl-C stops it cleanly.

SIGHUP reloads it: instances that are new start, those that are gone drain and stop,
those whose configuration or code has changed are replaced, of each model one at a
time, each when the one before is ready. What can't be loaded replaces nothing. With
--reload a saved file does the same."""
EXAMPLES = (
    ("pyboot up -c config.yaml", "until Ctrl-C"),
    ("pyboot up -c config.yaml --reload", "while you write the model"),
    ("pyboot up -c config.yaml --listen 127.0.0.1:0", "beside others: on any free port"),
    ("pyboot up -c config.yaml --state-dir state", "state that outlives it"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_config(parser)
    add_listen(parser, "where the web listens (port 0: any free one, printed)")
    add_web_auth(parser)
    parser.add_argument(
        "--run-dir",
        type=Path,
        metavar="DIR",
        help="socket and compiled files (default: a private folder)",
    )
    parser.add_argument(
        "--state-dir",
        type=Path,
        metavar="DIR",
        help="where models keep their state (default: a private folder)",
    )
    parser.add_argument(
        "--watchdog-seconds",
        type=seconds,
        default=30.0,
        metavar="N",
        help="restart a worker that makes no progress for so long (default: 30; 0: never)",
    )
    parser.add_argument(
        "--reload",
        action="store_true",
        help="reload when the configuration or a file of a model is saved",
    )
    add_log_format(parser)
    add_log_level(parser)
    add_model_path(parser)


def run(options: argparse.Namespace) -> ExitCode:
    # The web's libraries come with it.
    from pyboot_svc.cli.notes import UpNoteStarter
    from pyboot_svc.starter.watch import WatchStarter

    more = [UpNoteStarter(), *([WatchStarter()] if options.reload else [])]
    starters = make_starters(options.log_format, options.log_level, *more)
    terminal = Terminal()
    hold_signals()
    private = PrivateFolder()
    try:
        context = StarterContext(_settings(options, private))
        return Boot(starters, context, hung_up=terminal.has_gone).run()
    finally:
        private.close()


def _settings(options: argparse.Namespace, private: PrivateFolder) -> Settings:
    run_dir: Path = options.run_dir or private.path
    state_dir: Path = options.state_dir or private.path / "state"
    if options.run_dir is None or options.state_dir is None:
        hold_folders = private.hold
    else:
        hold_folders = as_they_are
    return Settings(
        config_file=config_file(options),
        run_dir=run_dir.absolute(),
        state_dir=state_dir.absolute(),
        hold_folders=hold_folders,
        model_path=tuple(model_path(options)),
        listen=WebAddress(*options.listen) if options.listen else None,
        web_auth=options.web_auth,
        run_workers=True,
        watchdog_seconds=options.watchdog_seconds,
        watch_files=options.reload,
        log_format=options.log_format,
        log_level=options.log_level,
    )
