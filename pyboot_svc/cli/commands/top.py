"""`pyboot top`: the table of `status`, kept live."""

from __future__ import annotations

import argparse
import signal
import sys

from pyboot_svc.cli.arguments import add_config, add_listen, seconds
from pyboot_svc.cli.colours import wants_colour
from pyboot_svc.cli.master_address import find_master
from pyboot_svc.cli.master_client import MasterAt, add_token_file, fetch_instances
from pyboot_svc.cli.table import table_lines, terminal_width
from pyboot_svc.errors import ExitCode, UnavailableError

DESCRIPTION = """\
Show the table of status, kept live, with a line of the input's rate over the last
updates. Keys, shown at the bottom, sort and filter it; Enter shows all of one
instance, ? explains the keys, q ends it. NO_COLOR is obeyed, and without a locale of
UTF-8 it keeps to ASCII. Where input or output is no terminal, the table is printed
once."""
EXAMPLES = (
    ("pyboot top", "updated every second"),
    ("pyboot top --interval 5", "updated every 5 seconds"),
)
_SHORTEST_INTERVAL = 0.1
# As a shell tells it of a program that a signal has ended.
_BY_SIGNAL = 128


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


def run(options: argparse.Namespace) -> int:
    """Until it is quit; once where nobody can press keys. Ctrl-C is a clean end."""
    master = find_master(options)
    if sys.stdin.isatty() and sys.stdout.isatty():
        return _live(master, max(options.interval, _SHORTEST_INTERVAL))
    print("\n".join(table_lines(_instances(master), terminal_width())))
    return ExitCode.OK


def _live(master: MasterAt, interval: float) -> int:
    try:
        from pyboot_svc.cli.live.poller import Poller
        from pyboot_svc.cli.live.screen import show_live, speaks_utf8
    except ImportError as error:
        raise UnavailableError(
            f"this Python has no curses ({error}); `watch pyboot status` does without"
        ) from error
    poller = Poller(lambda: _instances(master), interval)
    try:
        came = show_live(poller, unicode=speaks_utf8(), colour=wants_colour(sys.stdout))
    finally:
        poller.stop()
    return ExitCode.OK if came in (None, signal.SIGINT) else _BY_SIGNAL + came


def _instances(master: MasterAt) -> list[dict[str, object]]:
    found: list[dict[str, object]] = fetch_instances(master)["instances"]
    return found
