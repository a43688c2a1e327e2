"""Network addresses as people write them: `host:port`, and `[host]:port` for one of IPv6."""

from __future__ import annotations

import ipaddress
import re

Address = tuple[str, int]

_MOST_PORT = 65_535


def format_address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def is_loopback(host: str) -> bool:
    """Whether other hosts can't reach it."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def parse_address(text: str) -> Address:
    """Raises ValueError when it is none. A host of IPv6 is taken without its brackets, too."""
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not host or not re.fullmatch("[0-9]{1,5}", port) or int(port) > _MOST_PORT:
        raise ValueError(f"{text!r} is not HOST:PORT")
    return host, int(port)
