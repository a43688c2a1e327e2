"""Where `status` and `top` ask the master."""

from __future__ import annotations

import argparse
import sys

from pyboot_svc.cli.config_file import config_file, named_config
from pyboot_svc.cli.table import fetch_instances
from pyboot_svc.config.loader import load_config
from pyboot_svc.config.settings import WebAddress
from pyboot_svc.errors import ConfigError, UnavailableError, UsageError


def master_address(options: argparse.Namespace) -> tuple[str, int]:
    """Where to ask; what runs may have nothing to do with the configuration as it is by now.

    When that can't be read, it is where a master listens by default, if one answers there. Where
    none answers, it is a `pyboot up` of this user's.
    """
    if not options.listen and (up := _running_up(options)) is not None:
        return up
    try:
        return _address(options)
    except ConfigError as error:
        web = WebAddress()
        if not _answers(web.host, web.port):
            raise error from None
        print(f"pyboot: {error}", file=sys.stderr)
        return web.host, web.port


def _running_up(options: argparse.Namespace) -> tuple[str, int] | None:
    """Unless it is a master that was asked for, and answers."""
    from pyboot_svc.cli.running import one_of, running_ups

    ups = running_ups()
    if not ups:
        return None
    config = named_config(options)
    if config is None:
        try:
            if _answers(*_address(options)):
                return None
        except (ConfigError, UsageError):
            pass  # there is no other
    up = one_of(ups, config, "--listen or --config")
    return (up.host, up.port) if up is not None else None


def _answers(host: str, port: int) -> bool:
    try:
        fetch_instances(host, port)
    except UnavailableError:
        return False
    return True


def _address(options: argparse.Namespace) -> tuple[str, int]:
    if options.listen:
        host, port = options.listen
    else:
        web = load_config(config_file(options)).web
        host, port = web.host, web.port
    if port == 0:
        raise UsageError("the configuration lets the web choose its port; give --listen HOST:PORT")
    return host, port
