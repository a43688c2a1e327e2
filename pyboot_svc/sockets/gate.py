"""Stands before whatever answers HTTP: what reaches that is a whole request, and nothing waits.

One thread reads requests and writes answers, of all connections at once. A connection that sends
nothing, or a byte a second, or takes its answer slowly, costs a place and a few kilobytes until its
time is up; who answers never touches a socket. Of a request only the head is taken: nothing here
has a body. Each connection is for one.

When all places of a peer, or all there are, are taken, the one that has waited longest for its
request makes way: a full house keeps nobody out who has something to say.
"""

from __future__ import annotations

import selectors
import socket
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from pyboot_svc.sockets.descriptors import Listeners
from pyboot_svc.sockets.http import END_OF_HEAD, plain_request, response
from pyboot_svc.sockets.peers import address_of, network_of
from pyboot_svc.threads import end_process, spawn
from pyboot_svc.wakeup import Wakeup

_LINGER_SECONDS = 1.0
_MOST_DRAINED = 1024**2
_READ_BYTES = 16 * 1024
_ACCEPTED_AT_ONCE = 32
_LOOK_SECONDS = 0.25
_STOP_SECONDS = 1.0
_TURN_SECONDS = 5.0


@dataclass(frozen=True)
class Bounds:
    """Of a gate: connections in all, of one peer, and kept free for this host's own; how long a
    head may take, and all of it; how large a head is, and all answers that wait to be taken."""

    connections: int = 512
    peer: int = 128
    reserve: int = 32
    head_seconds: float = 5.0
    seconds: float = 30.0
    head_bytes: int = 16 * 1024
    answer_bytes: int = 32 * 1024**2


class Channel(Protocol):
    """A socket that doesn't block, or what encrypts it: raises BlockingIOError likewise."""

    def fileno(self) -> int: ...

    def recv(self, size: int, /) -> bytes: ...

    def send(self, data: memoryview, /) -> int: ...

    def shutdown(self, how: int, /) -> None: ...

    def close(self) -> None: ...


class _Phase(Enum):
    READING = "its request"
    ANSWERING = "an answer to it"
    WRITING = "the peer to take it"
    LINGERING = "the peer to end it: what it sends meanwhile would tear the answer down"


class Visit:
    """One connection with its one request."""

    def __init__(self, channel: Channel, peer: str, reply: Callable[[Visit, bytes], None]) -> None:
        self.channel = channel
        # Its address; empty for one at a UNIX socket.
        self.peer = peer
        self.network = network_of(peer)
        self.head = b""
        self.began = time.monotonic()
        self.phase = _Phase.READING
        self.unsent = memoryview(b"")
        self.drained = 0
        self._reply = reply

    @property
    def local(self) -> bool:
        return is_local(self.peer)

    def reply(self, answer: bytes) -> None:
        """From any thread, once."""
        self._reply(self, answer)


def is_local(peer: str) -> bool:
    """Whether a peer is on this host."""
    return peer in ("", "::1") or peer.startswith(("127.", "::ffff:127."))


class Gate:
    """Has `serve` called with each request; that must not block, and has to reply, now or later.

    `secure` makes the channel of a connection, if it isn't the plain socket.
    """

    def __init__(
        self,
        name: str,
        listeners: list[socket.socket],
        serve: Callable[[Visit], None],
        bounds: Bounds,
        secure: Callable[[socket.socket], Channel] | None = None,
    ) -> None:
        self._name = name
        self._serve = serve
        self._bounds = bounds
        self._secure = secure
        self._selector = selectors.DefaultSelector()
        self._listeners = Listeners(name, self._selector)
        for listener in listeners:
            self._listeners.add(listener)
        # In the order of their arrival.
        self._visits: dict[Visit, None] = {}
        self._peers: Counter[str] = Counter()
        self._replies: deque[tuple[Visit, bytes]] = deque()
        self._asked: deque[threading.Event] = deque()
        self._wakeup = Wakeup()
        self._stopping = False
        self._thread: threading.Thread | None = None

    def start(self, on_crash: Callable[[], None] = end_process) -> None:
        self._thread = spawn(self._name, self._run, on_crash)

    def stop(self) -> None:
        """Connections end where they are; the listeners are the caller's to close."""
        self._stopping = True
        self._wakeup.call()
        if self._thread is None:
            self._end()
        else:
            self._thread.join(_STOP_SECONDS)

    @property
    def turned(self) -> bool:
        """Whether its thread turns; asked by the watchdog."""
        asked = threading.Event()
        self._asked.append(asked)
        self._wakeup.call()
        return asked.wait(_TURN_SECONDS)

    # The thread:

    def _run(self) -> None:
        self._selector.register(self._wakeup, selectors.EVENT_READ)
        looked = time.monotonic()
        while not self._stopping:
            rest = self._listeners.resume()
            look = _LOOK_SECONDS if self._visits else None
            for key, _ in self._selector.select(look if rest is None else rest):
                if key.fileobj is self._wakeup:
                    self._wakeup.answer()
                elif isinstance(key.data, Visit):
                    self._go_on(key.data)
                else:
                    self._accept(key.fileobj)  # type: ignore[arg-type]
            while self._replies:
                self._answer(*self._replies.popleft())
            while self._asked:
                self._asked.popleft().set()
            if time.monotonic() - looked >= _LOOK_SECONDS:
                looked = time.monotonic()
                self._end_overdue(looked)
        self._end()

    def _accept(self, listener: socket.socket) -> None:
        for _ in range(_ACCEPTED_AT_ONCE):
            try:
                connection = self._listeners.accept(listener)
            except OSError:
                self._make_way(list(self._visits))
                return
            if connection is None:
                return
            self._admit(connection)

    def _admit(self, connection: socket.socket) -> None:
        try:
            peer = address_of(connection)
            channel = self._secure(connection) if self._secure else connection
        except OSError:
            connection.close()
            return
        visit = Visit(channel, peer, self._take_reply)
        if not self._has_room(visit):
            channel.close()
            return
        self._visits[visit] = None
        self._peers[visit.network] += 1
        self._selector.register(channel, selectors.EVENT_READ, visit)
        self._go_on(visit)

    def _has_room(self, visit: Visit) -> bool:
        bounds = self._bounds
        if self._peers[visit.network] >= bounds.peer:
            return self._make_way([one for one in self._visits if one.network == visit.network])
        if len(self._visits) < bounds.connections - (0 if visit.local else bounds.reserve):
            return True
        return self._make_way([one for one in self._visits if visit.local or not one.local])

    def _make_way(self, visits: list[Visit]) -> bool:
        """The one of these that has waited longest for its request goes; whether there is one."""
        waiting = [visit for visit in visits if visit.phase in (_Phase.READING, _Phase.LINGERING)]
        if waiting:
            self._close(waiting[0])
        return bool(waiting)

    def _go_on(self, visit: Visit) -> None:
        if visit not in self._visits:
            return  # it has made way just now
        try:
            if visit.phase is _Phase.READING:
                self._read(visit)
            elif visit.phase is _Phase.WRITING:
                self._write(visit)
            else:
                self._drain(visit)
        except BlockingIOError:
            pass
        except OSError:
            self._close(visit)

    def _read(self, visit: Visit) -> None:
        while END_OF_HEAD not in visit.head:
            data = visit.channel.recv(_READ_BYTES)
            if not data:
                raise ConnectionResetError
            visit.head += data
            if (
                len(visit.head) > self._bounds.head_bytes
                and END_OF_HEAD not in visit.head[: self._bounds.head_bytes]
            ):
                most = f"its head is larger than {self._bounds.head_bytes} bytes"
                self._refuse(visit, "431 Request Header Fields Too Large", most)
                return
        head = plain_request(visit.head.partition(END_OF_HEAD)[0] + END_OF_HEAD)
        if head is None:
            self._refuse(
                visit, "400 Bad Request", "it is no HTTP/1.0 or HTTP/1.1 that asks for a path"
            )
            return
        visit.head = head
        visit.phase = _Phase.ANSWERING
        self._selector.unregister(visit.channel)
        unsent = sum(len(other.unsent) for other in self._visits)
        if unsent > self._bounds.answer_bytes:
            visit.reply(busy())
        else:
            self._serve(visit)

    def _refuse(self, visit: Visit, status: str, message: str) -> None:
        self._answer(visit, response(status, {"error": status, "message": message}))

    def _take_reply(self, visit: Visit, answer: bytes) -> None:
        self._replies.append((visit, answer))
        self._wakeup.call()

    def _answer(self, visit: Visit, answer: bytes) -> None:
        if visit not in self._visits:
            return  # its time is up
        if visit.phase is _Phase.READING:
            self._selector.unregister(visit.channel)
        visit.phase = _Phase.WRITING
        visit.unsent = memoryview(answer)
        self._selector.register(visit.channel, selectors.EVENT_WRITE, visit)
        self._go_on(visit)

    def _write(self, visit: Visit) -> None:
        while visit.unsent:
            visit.unsent = visit.unsent[visit.channel.send(visit.unsent) :]
        visit.phase = _Phase.LINGERING
        visit.began = time.monotonic() - self._bounds.seconds + _LINGER_SECONDS
        self._selector.modify(visit.channel, selectors.EVENT_READ, visit)
        visit.channel.shutdown(socket.SHUT_WR)

    def _drain(self, visit: Visit) -> None:
        data = visit.channel.recv(_READ_BYTES)
        visit.drained += len(data)
        if not data or visit.drained > _MOST_DRAINED:
            self._close(visit)

    def _end_overdue(self, now: float) -> None:
        for visit in list(self._visits):
            reading = visit.phase is _Phase.READING
            seconds = self._bounds.head_seconds if reading else self._bounds.seconds
            if now - visit.began >= seconds:
                self._close(visit)

    def _close(self, visit: Visit) -> None:
        del self._visits[visit]
        self._peers[visit.network] -= 1
        if not self._peers[visit.network]:
            del self._peers[visit.network]
        if visit.phase is not _Phase.ANSWERING:
            self._selector.unregister(visit.channel)
        visit.channel.close()

    def _end(self) -> None:
        for visit in list(self._visits):
            self._close(visit)
        self._selector.close()
        self._wakeup.close()


def busy() -> bytes:
    """What is answered at once when there is no time for a request."""
    status = "503 Service Unavailable"
    document = {"error": status, "message": "too many requests; try again"}
    return response(status, document, "Retry-After: 1")
