"""Asks a master's web, wherever it listens and whoever may ask there."""

from __future__ import annotations

import argparse
import http.client
import json
import os
import socket
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyboot_svc.config.settings import WebAddress
from pyboot_svc.credentials import first_line, read_credential
from pyboot_svc.errors import UnavailableError, UsageError, in_words, told

TOKEN_VARIABLE = "PYBOOT_TOKEN_FILE"
_TIMEOUT_SECONDS = 5.0
_ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}


@dataclass(frozen=True)
class MasterAt:
    """Where a master's web is, and the token to show there."""

    web: WebAddress
    token: str = ""


def add_token_file(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--token-file",
        type=Path,
        metavar="FILE",
        help=f"a token for the master's web, where it wants one (default: {TOKEN_VARIABLE})",
    )


def token_of(options: argparse.Namespace) -> str:
    """Empty where no file is named; raises UsageError when it has none."""
    file = options.token_file or os.environ.get(TOKEN_VARIABLE)
    if not file:
        return ""
    try:
        token = first_line(read_credential(file)).strip()
    except OSError as error:
        raise UsageError(f"the token file {file} can't be read: {in_words(error)}") from error
    except ValueError as error:
        raise UsageError(f"the token file {file} {error}") from error
    if not token or not token.isascii() or not token.isprintable():
        raise UsageError(
            f"the first line of the token file {file} is no token: `pyboot web password` makes one"
        )
    return token


def fetch_instances(master: MasterAt) -> dict[str, Any]:
    """What its /api/instances gives; raises UnavailableError when there is no such answer."""
    web = master.web
    try:
        with closing(_connection(web)) as asking:
            login = {"Authorization": f"Bearer {master.token}"} if master.token else {}
            asking.request("GET", "/api/instances", headers=login)
            response = asking.getresponse()
            document = json.loads(response.read())
        if response.status == http.HTTPStatus.UNAUTHORIZED:
            raise UnavailableError(
                f"the master at {web.url} wants to know who asks: name a file with a token of "
                "`pyboot web password` by --token-file"
            )
        if response.status != http.HTTPStatus.OK or "instances" not in document:
            raise ValueError(f"HTTP status {response.status}")
    except (OSError, ValueError, http.client.HTTPException, TypeError) as error:
        raise UnavailableError(
            f"no master answers at {web.url}: {told(error)}; is it running, "
            "and does it listen there? (-c FILE or --listen HOST:PORT)"
        ) from error
    return document  # type: ignore[no-any-return]


def _connection(web: WebAddress) -> http.client.HTTPConnection:
    if web.socket is not None:
        return _AtSocket(web.socket)
    host = _ANYWHERE.get(web.host, web.host)
    if web.tls is None:
        return http.client.HTTPConnection(host, web.port, timeout=_TIMEOUT_SECONDS)
    import ssl

    # The very certificate that is configured, whatever names stand in it.
    context = ssl.create_default_context(cafile=web.tls.cert)
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    return http.client.HTTPSConnection(host, web.port, timeout=_TIMEOUT_SECONDS, context=context)


class _AtSocket(http.client.HTTPConnection):
    """HTTP over a UNIX socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=_TIMEOUT_SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(_TIMEOUT_SECONDS)
        self.sock.connect(self._path)
