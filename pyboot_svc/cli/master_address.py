"""Where `status` and `top` ask the master."""

from __future__ import annotations

import argparse
import sys

from pyboot_svc.cli.config_file import config_file
from pyboot_svc.cli.table import fetch_instances
from pyboot_svc.config.loader import load_config
from pyboot_svc.config.settings import WebAddress
from pyboot_svc.errors import ConfigError, UnavailableError, UsageError


def master_address(options: argparse.Namespace) -> tuple[str, int]:
    """Where to ask; what runs may have nothing to do with the configuration as it is by now.

    When that can't be read, it is where a master listens by default, if one answers there.
    """
    try:
        return _address(options)
    except ConfigError as error:
        web = WebAddress()
        try:
            fetch_instances(web.host, web.port)
        except UnavailableError:
            raise error from None
        print(f"pyboot: {error}", file=sys.stderr)
        return web.host, web.port


def _address(options: argparse.Namespace) -> tuple[str, int]:
    if options.listen:
        host, port = options.listen
    else:
        web = load_config(config_file(options)).web
        host, port = web.host, web.port
    if port == 0:
        raise UsageError("the configuration lets the web choose its port; give --listen HOST:PORT")
    return host, port
