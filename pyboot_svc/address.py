"""Network addresses as people write them: `host:port`, and `[host]:port` for one of IPv6."""

from __future__ import annotations

import ipaddress
import re

Address = tuple[str, int]

_MOST_PORT = 65_535
# No part of a name is empty, or longer than 63 characters.
_NAME = re.compile(r"(?=.{1,253}\Z)(?!-)[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*\.?")


def format_address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def is_loopback(host: str) -> bool:
    """Whether other hosts can't reach it."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_ip_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def is_host(text: str) -> bool:
    """Whether it has the form of a host's name, or is an IP address."""
    return is_ip_address(text) or _NAME.fullmatch(text) is not None


def parse_address(text: str) -> Address:
    """Raises ValueError when it is none. A host of IPv6 is taken without its brackets, too."""
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not host or not re.fullmatch("[0-9]{1,5}", port) or int(port) > _MOST_PORT:
        raise ValueError(f"{text!r} is not HOST:PORT")
    return host, int(port)
