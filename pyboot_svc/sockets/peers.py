"""Who is at the other end of a socket."""

from __future__ import annotations

import grp
import os
import socket
import struct

GROUP = "pyboot"
# Of <asm-generic/socket.h>; Python has no name for it.
_SO_PEERGROUPS = 59
# The most that Python asks for: 256 groups.
_MOST_BYTES = 1024
# pid, uid and gid: struct ucred, of unix(7).
_UCRED = struct.Struct("iII")


def may_look(connection: socket.socket) -> bool:
    """Of a UNIX socket: whether it is root, this process's own user, or one in the group pyboot."""
    _, user, group = _credentials(connection)
    if user in (0, os.geteuid()):
        return True
    try:
        return grp.getgrnam(GROUP).gr_gid in (group, *_groups(connection))
    except KeyError:
        return False


def process_of(connection: socket.socket) -> int | None:
    """None when that is another host, and nobody knows."""
    if connection.family != socket.AF_UNIX:
        return None
    return _credentials(connection)[0]


def address_of(connection: socket.socket) -> str:
    """Empty for one at a UNIX socket. Raises OSError when it is gone."""
    return "" if connection.family == socket.AF_UNIX else str(connection.getpeername()[0])


def network_of(address: str) -> str:
    """Of IPv6 a host has as many addresses as it likes, all in one network."""
    if ":" not in address or "." in address:
        return address
    return socket.inet_pton(socket.AF_INET6, address.partition("%")[0])[:8].hex()


def _credentials(connection: socket.socket) -> tuple[int, int, int]:
    """Process, user and group of who has connected."""
    found = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    pid, user, group = _UCRED.unpack(found)
    return pid, user, group


def _groups(connection: socket.socket) -> tuple[int, ...]:
    try:
        found = connection.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, _MOST_BYTES)
    except OSError:  # more than that, or a kernel that doesn't tell
        return ()
    return struct.unpack(f"{len(found) // 4}I", found)
