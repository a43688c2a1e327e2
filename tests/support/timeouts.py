"""What a model may have done to all sockets of its process."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def default_timeout(seconds: float) -> Iterator[None]:
    """Sockets that are made meanwhile have this timeout."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
