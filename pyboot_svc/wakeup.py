"""Wakes a thread that waits for descriptors."""

from __future__ import annotations

import socket


class Wakeup:
    """To be waited for like a file: readable from `call` until `answer`."""

    def __init__(self) -> None:
        self._out, self._in = socket.socketpair()
        self._out.setblocking(False)
        self._in.setblocking(False)
        self._called = False

    def fileno(self) -> int:
        return self._out.fileno()

    def call(self) -> None:
        """From any thread."""
        if self._called:
            return
        self._called = True
        try:
            self._in.send(b"\0")
        except OSError:
            pass  # it is full of calls already, or closed: nobody waits any more

    def answer(self) -> None:
        """Before the work is looked at: a call that comes later wakes again."""
        try:
            self._out.recv(4096)
        except BlockingIOError:
            pass
        self._called = False

    def close(self) -> None:
        """Nobody waits any more; a call that comes later is none."""
        self._in.close()
        self._out.close()
