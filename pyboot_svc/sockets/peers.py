"""Who is at the other end of a UNIX socket."""

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


def may_look(connection: socket.socket) -> bool:
    """Whether it is root, this process's own user, or one in the group pyboot."""
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    _, user, group = struct.unpack("iII", credentials)
    if user in (0, os.geteuid()):
        return True
    try:
        return grp.getgrnam(GROUP).gr_gid in (group, *_groups(connection))
    except KeyError:
        return False


def _groups(connection: socket.socket) -> tuple[int, ...]:
    try:
        found = connection.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, _MOST_BYTES)
    except OSError:  # more than that, or a kernel that doesn't tell
        return ()
    return struct.unpack(f"{len(found) // 4}I", found)
