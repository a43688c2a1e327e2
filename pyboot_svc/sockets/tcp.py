"""The metrics socket over a network, for workers on other hosts than the master's.

Here nobody vouches for who a peer is, as the kernel does on a UNIX socket: tokens and certificates
do, and what they travel by is `tls`'s, or a network without strangers.
"""

from __future__ import annotations

import socket

from pyboot_svc.address import Address, format_address
from pyboot_svc.errors import UnavailableError

_BACKLOG = 1024
CONNECT_SECONDS = 5.0
# A host that is cut off says no goodbye: 30 s without a sign of it, and the connection is over.
_IDLE_SECONDS, _PROBE_SECONDS, _PROBES = 15, 5, 3
_UNACKNOWLEDGED_MILLIS = 30_000


def listen_tcp(address: Address, option: str = "--reports-listen") -> socket.socket:
    """Listen at `address`; raises UnavailableError when that can't be done.

    `option` is what named it, for the error.
    """
    host = address[0]
    try:
        return socket.create_server(
            address,
            family=socket.AF_INET6 if ":" in host else socket.AF_INET,
            backlog=_BACKLOG,
            dualstack_ipv6=host == "::",
        )
    except OSError as error:
        raise UnavailableError(
            f"can't listen at {format_address(*address)}: {error.strerror or error}; "
            f"choose another address with {option}"
        ) from error


def connect_tcp(address: Address) -> socket.socket:
    """Raises OSError when there is nobody."""
    connection = socket.create_connection(address, CONNECT_SECONDS)
    connection.settimeout(None)
    notice_silence(connection)
    return connection


def notice_silence(connection: socket.socket) -> None:
    """Have the kernel end the connection when the other host is gone."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (
        (socket.TCP_KEEPIDLE, _IDLE_SECONDS),
        (socket.TCP_KEEPINTVL, _PROBE_SECONDS),
        (socket.TCP_KEEPCNT, _PROBES),
        (socket.TCP_USER_TIMEOUT, _UNACKNOWLEDGED_MILLIS),
        (socket.TCP_NODELAY, 1),
    ):
        connection.setsockopt(socket.IPPROTO_TCP, option, value)
