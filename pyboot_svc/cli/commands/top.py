"""`pyboot top`: the table of `status`, kept live."""

from __future__ import annotations

import argparse
import sys
import time

from pyboot_svc.cli.arguments import add_config, add_listen, seconds
from pyboot_svc.cli.master_address import find_master
from pyboot_svc.cli.master_client import add_token_file, fetch_instances
from pyboot_svc.cli.table import table_lines, terminal_width
from pyboot_svc.errors import ExitCode

DESCRIPTION = """\
Show the table of status, kept live until Ctrl-C. Where the output is no terminal, it
is printed once."""
EXAMPLES = (
    ("pyboot top", "updated every second"),
    ("pyboot top --interval 5", "updated every 5 seconds"),
)
_CLEAR = "\x1b[H\x1b[J"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_config(parser)
    add_listen(parser, "where the master listens (default: as configured)")
    add_token_file(parser)
    parser.add_argument(
        "--interval",
        type=seconds,
        default=1.0,
        metavar="N",
        help="seconds between updates (default: 1)",
    )


def run(options: argparse.Namespace) -> ExitCode:
    """Until Ctrl-C, the table again and again in its place; once where that is no terminal."""
    master = find_master(options)
    while True:
        lines = table_lines(fetch_instances(master)["instances"], terminal_width())
        if not sys.stdout.isatty():
            print("\n".join(lines))
            return ExitCode.OK
        print(_CLEAR + "\n".join(lines), flush=True)
        time.sleep(options.interval)
