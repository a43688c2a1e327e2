"""The data plane of one connection: how PUBLISH and PUBACK travel. Two siblings do it.

`BulkPlane` handles many packets by one call of the kernel; `PlainPlane` leaves each to paho's
public API, and is the reference.
"""

from __future__ import annotations

import ssl
import time
from collections import deque
from collections.abc import Sequence
from typing import Any, Protocol

from pyboot_svc.worker.client import ControlClient, refusal
from pyboot_svc.worker.message import Message
from pyboot_svc.worker.outgoing import Outgoing, Sendable
from pyboot_svc.worker.packets import (
    ID_LEAD,
    ID_PROPERTY,
    Parser,
    PublishEncoder,
    encode_ids,
    encode_pubacks,
    encode_user_properties,
)

_READ_BYTES = 64 * 1024
# Longer payloads are not copied once more to go out with others.
_LONG_PAYLOAD = 64 * 1024
# More is not taken from the post_queue while so much waits for the network.
_MOST_UNWRITTEN_BYTES = 1024 * 1024
_MOST_PACKETS_A_READ = 256
_LAST_MID = 65_535
_WOULD_BLOCK = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class DataPlane(Protocol):
    """One connection's. What it collects is fetched by `arrived` and `outcomes`.

    `read` and `write` raise OSError when the connection is lost, and whatever they stumble over
    when what comes is not MQTT.
    """

    def read(self) -> None: ...
    def write(self) -> None: ...
    @property
    def wants_write(self) -> bool: ...
    @property
    def buffered(self) -> bool:
        """Whether a TLS or WebSocket layer holds bytes, which select can't see."""

    @property
    def full(self) -> bool:
        """Whether the last read took as much as a read can: there is more to read at once."""

    @property
    def in_flight(self) -> int: ...
    def room(self, window: int) -> int:
        """How many more may be published, of `window` in flight: none while the network has to
        take some of what waits."""

    def unsafe(self) -> list[Sendable]:
        """What was published and is not known to be safe, in order."""

    def arrived(self) -> list[Message]: ...
    def outcomes(self) -> tuple[list[Sendable], list[tuple[Sendable, str]]]:
        """What is safe by now (sent, at QoS 0), and what was refused, with the reason."""

    def publish_results(self, topic: str, qos: int, messages: Sequence[Message]) -> None: ...
    def publish_rows(self, rows: Sequence[Outgoing]) -> None: ...
    def acknowledge(self, messages: Sequence[Message]) -> None:
        """Those of earlier connections are not this one's business: the broker sends them again,
        and that copy will be acknowledged."""


class _Collected:
    """What reads and writes have brought, until it is fetched."""

    def __init__(self) -> None:
        self.full = False
        self._arrived: list[Message] = []
        self._safe: list[Sendable] = []
        self._refused: list[tuple[Sendable, str]] = []

    def arrived(self) -> list[Message]:
        arrived, self._arrived = self._arrived, []
        return arrived

    def outcomes(self) -> tuple[list[Sendable], list[tuple[Sendable, str]]]:
        safe, refused = self._safe, self._refused
        self._safe, self._refused = [], []
        return safe, refused


class PlainPlane(_Collected):
    """paho does it, packet by packet."""

    def __init__(self, client: ControlClient, sock: Any, session: int) -> None:
        super().__init__()
        self._client = client
        self._sock = sock
        self._session = session
        self._in_flight: dict[int, Sendable] = {}
        client.listen(self._on_message, self._on_published)

    def read(self) -> None:
        # paho reads one packet a call; until the socket has no whole one left.
        self.full = True
        for _ in range(_MOST_PACKETS_A_READ):
            before = len(self._arrived) + len(self._safe) + len(self._refused)
            self._client.read()
            if len(self._arrived) + len(self._safe) + len(self._refused) == before:
                self.full = False
                return

    def write(self) -> None:
        if self._client.wants_write:
            self._client.write()

    @property
    def wants_write(self) -> bool:
        return self._client.wants_write

    @property
    def buffered(self) -> bool:
        return _pending(self._sock)

    @property
    def in_flight(self) -> int:
        return len(self._in_flight)

    def room(self, window: int) -> int:
        return window - len(self._in_flight)  # the window is small

    def unsafe(self) -> list[Sendable]:
        return list(self._in_flight.values())

    def publish_results(self, topic: str, qos: int, messages: Sequence[Message]) -> None:
        for message in messages:
            assert message.result is not None
            user = {ID_PROPERTY: message.id}
            self._in_flight[self._client.publish(topic, message.result, qos, user)] = message

    def publish_rows(self, rows: Sequence[Outgoing]) -> None:
        for row in rows:
            mid = self._client.publish(row.topic, row.payload, row.qos, row.properties)
            self._in_flight[mid] = row

    def acknowledge(self, messages: Sequence[Message]) -> None:
        for message in messages:
            if message.session == self._session:
                self._client.acknowledge(message.mid, message.qos)

    def _on_message(self, topic: str, payload: bytes, qos: int, mid: int) -> None:
        now = time.monotonic_ns()
        self._arrived.append(Message(topic, payload, qos, mid, self._session, now))

    def _on_published(self, mid: int, reason: str | None) -> None:
        item = self._in_flight.pop(mid, None)
        if item is None:
            return
        if reason is None:
            self._safe.append(item)
        else:
            self._refused.append((item, reason))


class BulkPlane(_Collected):
    """Reads and writes the socket itself, and hands paho what is not for the data plane.

    QoS 0 and 1 only: of QoS 2 paho keeps the account.
    """

    def __init__(self, client: ControlClient, sock: Any, session: int) -> None:
        super().__init__()
        self._client = client
        self._sock = sock
        self._session = session
        self._v5 = client.v5
        self._parser = Parser(self._v5, session)
        self._encoders: dict[tuple[str, int], PublishEncoder] = {}
        self._in_flight: dict[int, Sendable] = {}
        self._last_mid = 0
        # Of QoS 0: safe when the socket has taken all bytes up to that count.
        self._unwritten: deque[tuple[int, Sequence[Sendable]]] = deque()
        self._unwritten_count = 0
        self._output = _Output(sock)
        self._control = _ControlSocket(sock, self._output)
        client.use_socket(self._control)

    def read(self) -> None:
        try:
            data = self._sock.recv(_READ_BYTES)
        except _WOULD_BLOCK:
            self.full = False
            return
        self.full = len(data) == _READ_BYTES
        if not data:
            raise ConnectionError
        arrivals = self._parser.feed(data, time.monotonic_ns())
        self._arrived += arrivals.messages
        if arrivals.settled:
            take = self._in_flight.pop
            # One that is not known belongs to nobody any more.
            self._safe += filter(None, [take(mid, None) for mid in arrivals.settled])
        for mid, reason in arrivals.refused:
            item = self._in_flight.pop(mid, None)
            if item is not None:
                self._refused.append((item, refusal(reason)))
        if arrivals.others:
            self._control.received(arrivals.others)
            for _ in arrivals.others:
                self._client.read()

    def write(self) -> None:
        if self._client.wants_write:
            self._client.write()
        self._output.flush()
        unwritten = self._unwritten
        while unwritten and unwritten[0][0] <= self._output.sent:
            items = unwritten.popleft()[1]
            self._unwritten_count -= len(items)
            self._safe += items

    @property
    def wants_write(self) -> bool:
        return self._output.unsent > 0 or self._client.wants_write

    @property
    def buffered(self) -> bool:
        return _pending(self._sock)

    @property
    def in_flight(self) -> int:
        return len(self._in_flight) + self._unwritten_count

    def room(self, window: int) -> int:
        if self._output.unsent > _MOST_UNWRITTEN_BYTES:
            return 0
        return window - len(self._in_flight) - self._unwritten_count

    def unsafe(self) -> list[Sendable]:
        found = list(self._in_flight.values())
        for _, items in self._unwritten:
            found += items
        return found

    def publish_results(self, topic: str, qos: int, messages: Sequence[Message]) -> None:
        payloads: list[bytes] = [message.result for message in messages]  # type: ignore[misc]
        encoder = self._encoders.get((topic, qos))
        if encoder is None:
            lead = ID_LEAD if self._v5 else b""
            encoder = self._encoders[topic, qos] = PublishEncoder(topic, qos, lead)
        mids = self._number(qos, messages)
        ids = encode_ids(messages) if self._v5 else ()
        parts = encoder.encode(payloads, mids, ids)
        if max(map(len, payloads)) < _LONG_PAYLOAD:
            parts = [b"".join(parts)]
        self._output.append(parts)
        self._await_writing(qos, messages)

    def publish_rows(self, rows: Sequence[Outgoing]) -> None:
        for row in rows:
            qos = min(row.qos, 1)
            properties = encode_user_properties(row.properties) if self._v5 else b""
            encoder = PublishEncoder(row.topic, qos, properties)
            self._output.append(encoder.encode([row.payload], self._number(qos, [row])))
            self._await_writing(qos, [row])

    def _number(self, qos: int, items: Sequence[Sendable]) -> Sequence[int]:
        """Numbers for items of QoS 1, which are in flight from now on."""
        if not qos:
            return ()
        mids = self._next_mids(len(items))
        self._in_flight.update(zip(mids, items, strict=True))
        return mids

    def _await_writing(self, qos: int, items: Sequence[Sendable]) -> None:
        """Items of QoS 0 are in flight until the socket has taken them."""
        if not qos:
            self._unwritten.append((self._output.queued, items))
            self._unwritten_count += len(items)

    def _next_mids(self, count: int) -> Sequence[int]:
        first = self._last_mid + 1
        if first + count - 1 <= _LAST_MID:
            mids: Sequence[int] = range(first, first + count)
            self._last_mid = first + count - 1
            if self._in_flight.keys().isdisjoint(mids):
                return mids
        found: list[int] = []
        mid = self._last_mid
        while len(found) < count:  # there are far more numbers than the window is wide
            mid = mid % _LAST_MID + 1
            if mid not in self._in_flight:
                found.append(mid)
        self._last_mid = mid
        return found

    def acknowledge(self, messages: Sequence[Message]) -> None:
        session = self._session
        mids = [message.mid for message in messages if message.session == session]
        if mids:
            self._output.append([encode_pubacks(mids)])


class _Output:
    """Bytes on their way to the socket; `queued` and `sent` count all there ever were."""

    def __init__(self, sock: Any) -> None:
        self._sock = sock
        self._waiting: list[bytes] = []
        # What the socket was offered last: a layer that encrypts wants the very same again.
        self._offered: deque[bytes | memoryview] = deque()
        self.queued = 0
        self.sent = 0

    @property
    def unsent(self) -> int:
        return self.queued - self.sent

    def append(self, parts: Sequence[bytes]) -> None:
        # Without empty ones: a WebSocket layer can't tell that it has sent nothing.
        self._waiting += filter(None, parts)
        self.queued += sum(map(len, parts))

    def flush(self) -> None:
        while self._offered or self._waiting:
            if not self._offered:
                self._offer()
            data = self._offered[0]
            try:
                sent = self._sock.send(data)
            except _WOULD_BLOCK:
                return
            self.sent += sent
            if sent == len(data):
                self._offered.popleft()
            else:
                self._offered[0] = memoryview(data)[sent:]

    def _offer(self) -> None:
        waiting, self._waiting = self._waiting, []
        if len(waiting) > 1 and max(map(len, waiting)) < _LONG_PAYLOAD:
            waiting = [b"".join(waiting)]
        self._offered.extend(waiting)


class _ControlSocket:
    """What paho takes for its socket: it reads the packets that were kept for it."""

    def __init__(self, sock: Any, output: _Output) -> None:
        self._sock = sock
        self._output = output
        self._packets = b""

    def received(self, packets: Sequence[bytes]) -> None:
        self._packets += b"".join(packets)

    def recv(self, size: int) -> bytes:
        if not self._packets:
            raise BlockingIOError
        data, self._packets = self._packets[:size], self._packets[size:]
        return data

    def send(self, data: Any) -> int:
        self._output.append([bytes(data)])
        return len(data)

    def fileno(self) -> int:
        return self._sock.fileno()  # type: ignore[no-any-return]

    def close(self) -> None:
        """It is closed by its owner, when what it still has to send is gone."""


def _pending(sock: Any) -> bool:
    pending = getattr(sock, "pending", None)
    return pending is not None and pending() > 0
