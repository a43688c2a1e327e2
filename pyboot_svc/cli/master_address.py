"""Where `status` and `top` ask the master."""

from __future__ import annotations

import argparse
import sys

from pyboot_svc.cli.arguments import RUN_DIR
from pyboot_svc.cli.config_file import config_file, named_config
from pyboot_svc.cli.master_client import MasterAt, fetch_instances, token_of
from pyboot_svc.cli.running import one_of, running_master, running_ups
from pyboot_svc.config.loader import load_config
from pyboot_svc.config.settings import WebAddress
from pyboot_svc.errors import ConfigError, UnavailableError, UsageError
from pyboot_svc.text import block, printable


def find_master(options: argparse.Namespace) -> MasterAt:
    """Where to ask; what runs may have nothing to do with the configuration as it is by now.

    When that can't be read, it is where a master says that it listens, or where one does by
    default, if it answers there. Where none answers, it is a `pyboot up` of this user's.
    """
    token = token_of(options)
    if not options.listen and (up := _running_up(options, token)) is not None:
        return up
    try:
        return MasterAt(_web(options), token)
    except ConfigError as error:
        master = _without_configuration(token)
        if master is None:
            raise error from None
        asked = f"the master that runs is asked, at {printable(master.web.url)}"
        print(f"pyboot: {block(str(error))}\npyboot: {asked}", file=sys.stderr)
        return master


def _without_configuration(token: str) -> MasterAt | None:
    noted = running_master(RUN_DIR)
    if noted is not None:
        return MasterAt(noted.web, token)
    default = MasterAt(WebAddress(), token)
    return default if _answers(default) else None


def _running_up(options: argparse.Namespace, token: str) -> MasterAt | None:
    """Unless it is a master that was asked for, and answers."""
    ups = running_ups()
    if not ups:
        return None
    config = named_config(options)
    if config is None:
        try:
            if _answers(MasterAt(_web(options), token)):
                return None
        except (ConfigError, UsageError):
            pass  # there is no other
    up = one_of(ups, config, "--listen or --config")
    return MasterAt(up.web, token) if up is not None else None


def _answers(master: MasterAt) -> bool:
    try:
        fetch_instances(master)
    except UnavailableError:
        return False
    return True


def _web(options: argparse.Namespace) -> WebAddress:
    """As configured; of another address, only how it is secured."""
    if options.listen:
        host, port = options.listen
        try:
            web = load_config(config_file(options)).web._replace(host=host, port=port, socket=None)
        except ConfigError:
            web = WebAddress(host, port)
    else:
        web = load_config(config_file(options)).web
    if web.port == 0 and web.socket is None:
        raise UsageError("the configuration lets the web choose its port; give --listen HOST:PORT")
    return web
