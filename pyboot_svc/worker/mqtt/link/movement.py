"""Whether a slow network carries something: behind that, an answer may be long in coming."""

from __future__ import annotations

import socket
import struct

# So long an answer may be held up by what moves, a backlog or a large message.
MOVING_SECONDS = 300.0
# In bytes from one look to the next, a second or more: pings alone are less.
_MOVING = 1024
# Of Linux's `struct tcp_info`: bytes that the other side has acknowledged, and that have come.
_TCP_INFO = struct.Struct("=120xQQ")


class Movement:
    """Compares what `bytes_moved` says from one look to the next."""

    def __init__(self) -> None:
        self._before = -1

    def forget(self) -> None:
        """The next look has nothing to compare with."""
        self._before = -1

    def seen(self, moved: int) -> bool:
        before, self._before = self._before, moved
        return before >= 0 and moved - before > _MOVING


def bytes_moved(descriptor: int) -> int:
    """What the other side of a TCP connection has sent, and acknowledged; 0 where nobody knows."""
    try:
        with socket.socket(fileno=socket.dup(descriptor)) as tcp:
            info = tcp.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO.size)
        return sum(_TCP_INFO.unpack(info))
    except (OSError, struct.error):
        return 0
