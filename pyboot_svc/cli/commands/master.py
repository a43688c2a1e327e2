"""`pyboot master`: what pyboot.service runs."""

from __future__ import annotations

import argparse
from pathlib import Path

from pyboot_svc.cli.arguments import (
    add_config,
    add_listen,
    add_log_format,
    add_log_level,
    add_run_dir,
    add_web_auth,
)
from pyboot_svc.cli.booting import make_starters
from pyboot_svc.cli.config_file import config_file
from pyboot_svc.cli.reports import METAVAR, reports_address
from pyboot_svc.config import WebAddress
from pyboot_svc.errors import ExitCode
from pyboot_svc.starter import Boot, Settings, StarterContext
from pyboot_svc.undumpable import refuse_dumps

DESCRIPTION = """\
Run the master: what pyboot.service runs. It collects the figures of all workers and
serves them over HTTP; it starts no workers."""
EXAMPLES = (
    ("pyboot master", "as the service does"),
    ("pyboot master --listen 127.0.0.1:5889", "its web at another port"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_config(parser)
    add_listen(parser, "where the web listens (port 0: any free one, printed)")
    add_web_auth(parser)
    add_run_dir(parser, "where the metrics socket is")
    parser.add_argument(
        "--reports-listen",
        type=reports_address,
        metavar=METAVAR,
        help="where workers on other hosts report to; with tcp:// in plain text, which is only for "
        "a network without strangers",
    )
    parser.add_argument(
        "--reports-tls",
        type=Path,
        metavar="DIR",
        help="the certificate for that, tls.crt and tls.key; with a ca.crt, workers may show a "
        "certificate of its instead of a token",
    )
    parser.add_argument(
        "--tokens",
        type=Path,
        metavar="FILE",
        help="the hashes of the workers' tokens (default: RUN_DIR/tokens.json)",
    )
    add_log_format(parser)
    add_log_level(parser)


def run(options: argparse.Namespace) -> ExitCode:
    # The web's libraries come with it.
    from pyboot_svc.cli.notes import MasterNoteStarter

    refuse_dumps()
    listen, tls = options.reports_listen, options.reports_tls
    if listen is not None:
        listen = listen.checked("--reports-listen", tls, "--reports-tls")
    settings = Settings(
        config_file=config_file(options),
        run_dir=options.run_dir.absolute(),
        state_dir=Path().absolute(),
        listen=WebAddress(*options.listen) if options.listen else None,
        web_auth=options.web_auth,
        reports_listen=listen,
        reports_tls=tls,
        tokens=options.tokens,
        watchdog_seconds=0.0,
        log_format=options.log_format,
        log_level=options.log_level,
    )
    starters = make_starters(options.log_format, options.log_level, MasterNoteStarter())
    return Boot(starters, StarterContext(settings)).run()
