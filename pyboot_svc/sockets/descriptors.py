"""How many connections a process may have, and what to do when there can't be any more."""

from __future__ import annotations

import logging
import resource
import selectors
import socket
import time

from pyboot_svc.errors import in_words

# As many as a master of tens of thousands of workers needs.
_MOST = 65_536
_REST_SECONDS = 0.2
_SAY_SECONDS = 60.0

log = logging.getLogger(__name__)


def allow_many() -> int:
    """Raise this process's limit of open files as far as it may; gives what it is then.

    It is 1024 by default, so that select(2) works, which nobody uses here.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _MOST if hard == resource.RLIM_INFINITY else min(hard, _MOST)
    if soft == resource.RLIM_INFINITY or soft >= most:
        return soft
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    except (OSError, ValueError):  # a sandbox forbids it, and has a limit of its own
        return soft
    return most


class Listeners:
    """Sockets in a selector at which connections are taken.

    A connection that can't be taken, since the process has no descriptor left, stays in the queue
    of its socket, which would have the selector turn in vain: they rest a moment then.
    """

    def __init__(self, name: str, selector: selectors.BaseSelector) -> None:
        self._name = name
        self._selector = selector
        self._all: list[socket.socket] = []
        self._resting = False
        self._until = 0.0
        self._said = -_SAY_SECONDS

    def __contains__(self, found: object) -> bool:
        return found in self._all

    def add(self, listener: socket.socket) -> None:
        listener.setblocking(False)
        self._all.append(listener)
        if not self._resting:
            self._selector.register(listener, selectors.EVENT_READ)

    def accept(self, listener: socket.socket) -> socket.socket | None:
        """The next connection, which doesn't block; None without one. Raises OSError without a
        descriptor for it."""
        try:
            connection, _ = listener.accept()
        except (BlockingIOError, ConnectionError):
            return None  # it went away again
        except OSError as error:
            self._rest(error)
            raise
        connection.setblocking(False)
        return connection

    def resume(self) -> float | None:
        """Have them back when they have rested; gives in how many seconds that is."""
        if not self._resting:
            return None
        left = self._until - time.monotonic()
        if left > 0:
            return left
        self._resting = False
        for listener in self._all:
            self._selector.register(listener, selectors.EVENT_READ)
        return None

    def _rest(self, error: OSError) -> None:
        now = time.monotonic()
        if now - self._said >= _SAY_SECONDS:
            self._said = now
            log.error(
                "%s: can't take connections: %s; raise LimitNOFILE=", self._name, in_words(error)
            )
        if not self._resting:
            self._resting = True
            for listener in self._all:
                self._selector.unregister(listener)
        self._until = now + _REST_SECONDS
