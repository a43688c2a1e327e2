"""A broker as a URL: `mqtts://host:8883` says what `host`, `port`, `tls` and `transport` say."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pyboot_svc.address import parse_address
from pyboot_svc.config.document import Node, Problems
from pyboot_svc.config.types import Host, Invalid, Text, shown, suggestion

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/?#]*)([^?#]*)([?#].*)?")
_SCHEMES: dict[str, dict[str, Any]] = {
    "mqtt": {"transport": "tcp", "tls": None},
    "mqtts": {"transport": "tcp", "tls": {}},
    "ws": {"transport": "websockets", "tls": None},
    "wss": {"transport": "websockets", "tls": {}},
}
# What other clients call them.
_ALIASES = {"tcp": "mqtt", "ssl": "mqtts", "tls": "mqtts", "http": "ws", "https": "wss"}
_NO_PASSWORD = "`username` and `password_file` are keys of one of `brokers`"


class BrokerHost(Host):
    """A host name or an IP address, or a URL; read as it stands, for `settings_of`."""

    def read(self, node: Node, path: str, problems: Problems) -> str:
        if not isinstance(node.value, str) or "://" not in node.value:
            return super().read(node, path, problems)
        text = Text().read(node, path, problems)
        host = settings_of(text)["host"]
        try:
            super().read(Node(host, node.line, node.column), path, problems)
        except Invalid as error:
            raise Invalid(f"is no URL of a broker: its host {error.message}", error.hint) from None
        return text


def settings_of(broker: str) -> dict[str, Any]:
    """The settings of a broker that its URL, or its host alone, stands for. Raises Invalid."""
    if "://" not in broker:
        return {"host": broker}
    if "@" in broker:
        # Not shown: what stands before the @ is likely a password.
        raise Invalid("must be a URL without user name and password", _NO_PASSWORD)
    found = _URL.fullmatch(broker)
    if not found or found[4]:
        # Not shown: a query may hold a token.
        raise Invalid("must be a URL as in mqtts://host:8883", "a query belongs into `path`")
    scheme, path = found[1].lower(), found[3]
    if scheme not in _SCHEMES:
        known = ", ".join(f"{name}://" for name in _SCHEMES)
        hint = suggestion(_ALIASES.get(scheme, scheme), _SCHEMES)
        raise Invalid(f"must start with one of {known}, not {scheme}://", hint)
    host, port = _place(found[2])
    settings = {**_SCHEMES[scheme], "host": host, "port": port}
    if settings["transport"] == "websockets":
        return {**settings, "path": path} if path else settings
    if path not in ("", "/"):
        raise Invalid(f"must end with host and port: {scheme}:// has no path")
    return settings


def with_url(settings: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """A named broker's `settings` with what the URL in `host` says; `given` has the keys that
    stand beside it. Raises Invalid for what contradicts it."""
    host = settings["host"]
    if "://" not in host:
        return dict(settings)
    said = settings_of(host)
    scheme = host.partition("://")[0].lower()
    if said["tls"] is None and "tls" in given:
        secure = {"mqtt": "mqtts", "ws": "wss"}[scheme]
        raise Invalid(f"has `tls` beside {scheme}://, which is without", f"write {secure}://")
    if "transport" in given and settings["transport"] != said["transport"]:
        raise Invalid(f"has another `transport` than {scheme}://", "leave `transport` out")
    if "path" in given and "path" in said:
        raise Invalid("has a `path` beside that of its URL", "leave one of them out")
    if "port" in given:
        if said["port"] is not None:
            raise Invalid("has a `port` beside that of its URL", "leave one of them out")
        del said["port"]
    if "tls" in given:
        del said["tls"]
    return {**settings, **said}


def _place(text: str) -> tuple[str, int | None]:
    """Host and port of a URL."""
    if re.fullmatch(r"\[.*\]|[^:]*", text):
        return text.removeprefix("[").removesuffix("]"), None
    try:
        host, port = parse_address(text)
    except ValueError:
        raise Invalid(f"must be a URL as in mqtts://host:8883, not {shown(text)}") from None
    if port == 0:
        raise Invalid("must have a port from 1 to 65535")
    return host, port
