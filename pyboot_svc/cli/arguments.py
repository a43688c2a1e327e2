"""Options that several commands have, and the kinds of value that options take."""

from __future__ import annotations

import argparse
import math
from pathlib import Path

from pyboot_svc.address import is_host, parse_address

RUN_DIR = Path("/run/pyboot")
# Of services.
STATE_DIR = Path("/var/lib/edge-model")
CONFIG_VARIABLE = "PYBOOT_CONFIG"
_MOST_SECONDS = 86_400.0
_MOST_A_SECOND = 1e9
_MOST_COUNTED = 10**9
_AS = "as in 127.0.0.1:5888, or 0.0.0.0:5888 for all who reach this host"


def add_config(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-c",
        "--config",
        type=Path,
        metavar="FILE",
        help=f"the configuration (default: {CONFIG_VARIABLE}, else /etc/pyboot/config.yaml)",
    )


def add_model_path(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--model-path",
        action="append",
        default=[],
        metavar="DIR",
        help="a folder to import models from, before those of the configuration; may be repeated",
    )


def add_listen(parser: argparse.ArgumentParser, text: str) -> None:
    parser.add_argument("--listen", type=address, metavar="HOST:PORT", help=text)


def add_web_auth(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--web-auth",
        choices=("none",),
        help="let everybody who reaches the web read it, unless the configuration says who may",
    )


def add_run_dir(parser: argparse.ArgumentParser, text: str) -> None:
    help_text = f"{text} (default: {RUN_DIR})"
    parser.add_argument("--run-dir", type=Path, default=RUN_DIR, metavar="DIR", help=help_text)


def add_found_run_dir(parser: argparse.ArgumentParser, text: str) -> None:
    """None unless it is given."""
    help_text = f"{text} (default: {RUN_DIR}, or that of a running `pyboot up`)"
    parser.add_argument("--run-dir", type=Path, metavar="DIR", help=help_text)


def add_state_dir(parser: argparse.ArgumentParser, text: str) -> None:
    help_text = f"{text} (default: {STATE_DIR})"
    parser.add_argument("--state-dir", type=Path, default=STATE_DIR, metavar="DIR", help=help_text)


def add_found_state_dir(parser: argparse.ArgumentParser, text: str) -> None:
    """None unless it is given: see `found_state_dir`."""
    help_text = f"{text} (default: {STATE_DIR}, or that of a running `pyboot up`)"
    parser.add_argument("--state-dir", type=Path, metavar="DIR", help=help_text)


def add_service_manager(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--service-manager",
        choices=("systemd", "openrc"),
        help="the service manager to use (default: the one that is running)",
    )


def add_drain_seconds(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--drain-seconds",
        type=seconds,
        default=20.0,
        metavar="N",
        help="how long a stopped worker may take to finish work in progress (default: 20)",
    )


def add_log_format(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--log-format",
        choices=("plain", "json"),
        default="plain",
        help="plain text or JSON lines; the journal always gets fields",
    )


def add_log_level(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--log-level",
        choices=("debug", "info", "warning", "error"),
        default="info",
        help="log this and what is more severe (default: info)",
    )


def add_json(parser: argparse.ArgumentParser, text: str) -> None:
    parser.add_argument("--json", action="store_true", help=text)


def address(text: str) -> tuple[str, int]:
    """Also as the URL that `pyboot up` prints."""
    try:
        host, port = parse_address(text.removeprefix("http://").removesuffix("/"))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{error}, {_AS}") from None
    if not is_host(host):
        raise argparse.ArgumentTypeError(
            f"{host!r} is neither a host name nor an IP address; write HOST:PORT, {_AS}"
        )
    return host, port


def seconds(text: str) -> float:
    number = _number(text)
    if not 0 <= number <= _MOST_SECONDS:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds")
    return number


def count(text: str) -> int:
    return _count_of("messages", text)


def line_count(text: str) -> int:
    return _count_of("lines", text)


def rate(text: str) -> float:
    number = _number(text)
    if not 0 < number <= _MOST_A_SECOND:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of messages per second")
    return number


def _count_of(things: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < int(text) <= _MOST_COUNTED):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of {things} from 1 on")
    return int(text)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
