"""Opens the socket of a connection: name look-up, TCP, TLS and WebSocket share one deadline.

A peer that is silent, or that sends a byte a second, is left when the deadline is over, in
whichever step it is. So is a name server, though the system's look-up itself can't be cut short.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from pyboot_svc.threads import spawn

# For an attempt as a whole, CONNACK included.
ATTEMPT_SECONDS = 10.0

Address = tuple[Any, ...]


class NoAnswer(TimeoutError):
    """The deadline was over; says what was waited for."""


class NoWebSocket(ConnectionError):
    """What answered the WebSocket handshake opened none; with which `status`, if it was HTTP."""

    def __init__(self, status: str = "") -> None:
        answer = f" (HTTP status {status})" if status else ""
        super().__init__(
            f"no WebSocket was opened{answer}: does this port speak WebSockets, "
            "and is `path` right?"
        )


class Deadline:
    """When an attempt has to be at its end."""

    def __init__(self, seconds: float = ATTEMPT_SECONDS) -> None:
        self._seconds = seconds
        self._due = time.monotonic() + seconds

    @property
    def left(self) -> float:
        """Seconds, or 0 when it is over."""
        return max(0.0, self._due - time.monotonic())

    def no_answer(self, to: str, hint: str) -> NoAnswer:
        return NoAnswer(f"no answer to {to} within {self._seconds:.0f} s: {hint}")


class Resolver:
    """Looks names up, each in a thread of its own, which may be left behind.

    The next attempt waits for that one's answer rather than ask the same once more: so there is
    one at most, and a name server that takes longer than an attempt is heard, too.
    """

    def __init__(self) -> None:
        self._left_behind: _Lookup | None = None

    def resolve(self, host: str, port: int, deadline: Deadline) -> Sequence[Address]:
        """As `socket.getaddrinfo` does; raises what it raises, or NoAnswer."""
        with suppress(socket.gaierror):
            return _addresses(host, port, socket.AI_NUMERICHOST)  # nobody has to be asked
        lookup = self._left_behind or _Lookup(host, port)
        self._left_behind = lookup
        if not lookup.ended.wait(deadline.left):
            raise deadline.no_answer(f"the look-up of {host}", "does its name server work?")
        self._left_behind = None
        return lookup.result()


class _Lookup:
    def __init__(self, host: str, port: int) -> None:
        self.ended = threading.Event()
        self._found: Sequence[Address] = ()
        self._error: Exception | None = None
        self._asked = (host, port)
        spawn("look-up", self._run)

    def result(self) -> Sequence[Address]:
        if self._error is not None:
            raise self._error
        return self._found

    def _run(self) -> None:
        try:
            self._found = _addresses(*self._asked)
        except Exception as error:
            self._error = error
        finally:
            self.ended.set()


def _addresses(host: str, port: int, flags: int = 0) -> Sequence[Address]:
    # Of a text Python makes an international name first, even where it is none, by large tables.
    name = host.encode() if host.isascii() else host
    return socket.getaddrinfo(name, port, type=socket.SOCK_STREAM, flags=flags)


def dial(addresses: Sequence[Address], deadline: Deadline) -> socket.socket:
    """The first of `addresses` that a TCP connection can be opened to.

    Those before the last get their share of the time only: one of two that is dead must not
    take all of it.
    """
    error: OSError | None = None
    for number, (family, kind, protocol, _, address) in enumerate(addresses):
        try:
            sock = socket.socket(family, kind, protocol)
        except OSError as failure:
            # As on a host without IPv6: what became of another address says more.
            error = error or failure
            continue
        try:
            sock.settimeout(positive(deadline.left / (len(addresses) - number)))
            sock.connect(address)
        except TimeoutError:
            sock.close()
            hint = "is the host up, and does a firewall let it through?"
            error = deadline.no_answer("the TCP connection", hint)
        except OSError as failure:
            sock.close()
            error = failure
        else:
            return sock
    raise error or OSError("the name has no address")


class PunctualSocket:
    """Has what a WebSocket layer uses of a socket. Until `settle` its calls keep to a deadline."""

    def __init__(self, sock: Any, deadline: Deadline) -> None:
        self._sock = sock
        self._deadline = deadline
        self.fileno = sock.fileno
        self.close = sock.close
        self.setblocking = sock.setblocking
        self.settimeout = sock.settimeout
        self.pending: Callable[[], int] = getattr(sock, "pending", int)
        self.recv: Callable[[int], bytes] = self._recv_in_time
        self.send: Callable[[Any], int] = self._send_in_time

    def settle(self) -> None:
        """The handshake is done: from here on the calls are the socket's own."""
        self.recv, self.send = self._sock.recv, self._sock.send

    def _recv_in_time(self, size: int) -> bytes:
        return self._in_time(self._sock.recv, size)  # type: ignore[no-any-return]

    def _send_in_time(self, data: Any) -> int:
        return self._in_time(self._sock.send, data)  # type: ignore[no-any-return]

    def _in_time(self, call: Callable[[Any], Any], argument: Any) -> Any:
        try:
            self._sock.settimeout(positive(self._deadline.left))
            return call(argument)
        except TimeoutError:
            hint = "does this port speak WebSockets?"
            raise self._deadline.no_answer("the WebSocket handshake", hint) from None


def positive(seconds: float) -> float:
    """As a socket's timeout: 0 would mean not to wait, and be another error."""
    if seconds <= 0.0:
        raise TimeoutError
    return seconds
