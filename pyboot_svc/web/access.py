"""Before the application: by which names it is asked, and who may."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from pyboot_svc.config import WebAddress
from pyboot_svc.web.credentials import Busy, Credentials

WsgiApp = Callable[[dict[str, Any], Any], Any]

# What load balancers and probes ask, without a login.
OPEN = frozenset(("/healthz", "/readyz"))
# In the WSGI environment of a request to one of those: who asks may not know why.
UNKNOWN = "pyboot.unknown"
_OWN_NAME = re.compile(r"(localhost|127(\.\d{1,3}){3}|\[::1\])(:\d{1,5})?", re.IGNORECASE)
_LOGIN = ("WWW-Authenticate", 'Basic realm="pyboot", charset="UTF-8"')


def guarded(
    app: WsgiApp,
    address: WebAddress,
    credentials: Credentials | None,
    headers: Mapping[str, str],
) -> WsgiApp:
    """`headers` are those of each answer that is given here."""
    # A page from elsewhere may give its own name our address, and read us by its visitor's browser
    # (DNS rebinding). It knows no password, though.
    own_names_only = address.socket is None and address.loopback and credentials is None

    def answer(environ: dict[str, Any], start_response: Any) -> Any:
        # A browser always says by which name.
        name = environ.get("HTTP_HOST", "")
        if not name and environ.get("SERVER_PROTOCOL") != "HTTP/1.0":
            return refuse(start_response, "400 Bad Request", "HTTP/1.1 has a Host header")
        if own_names_only and name and not _OWN_NAME.fullmatch(name):
            return refuse(start_response, "421 Misdirected Request", "ask for localhost")
        if credentials is None:
            return app(environ, start_response)
        try:
            known = credentials.allow(environ.get("HTTP_AUTHORIZATION", ""))
        except Busy:
            return refuse(start_response, "429 Too Many Requests", "try again")
        if known or environ.get("PATH_INFO") in OPEN:
            return app({**environ, UNKNOWN: not known}, start_response)
        return refuse(start_response, "401 Unauthorized", "log in, or send a token", _LOGIN)

    def refuse(
        start_response: Any, status: str, message: str, *more: tuple[str, str]
    ) -> list[bytes]:
        body = json.dumps({"error": status, "message": message}).encode() + b"\n"
        own = [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
        start_response(status, [*own, *headers.items(), *more])
        return [body]

    return answer
