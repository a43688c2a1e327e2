"""The data plane of one connection: how PUBLISH and PUBACK travel. Two siblings do it.

`BulkPlane` handles many packets by one call of the kernel; `PlainPlane` leaves each to paho's
public API, and is the reference.
"""

from __future__ import annotations

import ssl
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from pyboot_svc.worker.client import ControlClient, refusal
from pyboot_svc.worker.message import Batch, Parcel
from pyboot_svc.worker.outgoing import Outgoing, Sendable, count_of
from pyboot_svc.worker.packets import (
    ID_LEAD,
    ID_PROPERTY,
    PING,
    Arrivals,
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

    def ping(self) -> None:
        """Tell the broker that the connection lives; its answer may be long in coming."""

    @property
    def in_flight(self) -> int: ...
    def room(self, window: int) -> int:
        """How many more may be published, of `window` in flight: none while the network has to
        take some of what waits."""

    def unsafe(self) -> list[Sendable]:
        """What was published and is not known to be safe, in order."""

    def arrived(self) -> Batch | None: ...
    def outcomes(self) -> tuple[list[Sendable], list[tuple[Sendable, str]]]:
        """What is safe by now (sent, at QoS 0), and what was refused, with the reason."""

    def publish_results(self, topic: str, qos: int, parcels: Sequence[Parcel]) -> None: ...
    def publish_rows(self, rows: Sequence[Outgoing]) -> None: ...
    def acknowledge(self, session: int, mids: Sequence[int]) -> None:
        """Those of earlier connections are not this one's business: the broker sends them again,
        and that copy will be acknowledged. 0 is no number: those are of QoS 0."""


class _Collected:
    """The outcomes that reads and writes have brought, until they are fetched."""

    def __init__(self) -> None:
        self.full = False
        self._safe: list[Sendable] = []
        self._refused: list[tuple[Sendable, str]] = []

    def outcomes(self) -> tuple[list[Sendable], list[tuple[Sendable, str]]]:
        safe, refused = self._safe, self._refused
        if safe:
            self._safe = []
        if refused:
            self._refused = []
        return safe, refused


class NoPlane(_Collected):
    """That of a connection that is not open: there is no room on it, and nothing comes."""

    wants_write = False
    buffered = False
    in_flight = 0

    def read(self) -> None: ...
    def write(self) -> None: ...
    def ping(self) -> None: ...
    def arrived(self) -> None: ...
    def room(self, window: int) -> int:
        return 0

    def unsafe(self) -> list[Sendable]:
        return []

    def publish_results(self, topic: str, qos: int, parcels: Sequence[Parcel]) -> None:
        raise AssertionError("there is no room for results")

    def publish_rows(self, rows: Sequence[Outgoing]) -> None:
        raise AssertionError("there is no room for rows")

    def acknowledge(self, session: int, mids: Sequence[int]) -> None: ...


class PlainPlane(_Collected):
    """paho does it, packet by packet."""

    def __init__(self, client: ControlClient, sock: Any, session: int) -> None:
        super().__init__()
        self._client = client
        self._sock = sock
        self._pending = _pending_of(sock)
        self._session = session
        self._arrived = Arrivals()
        self._in_flight: dict[int, Sendable] = {}
        client.listen(self._on_message, self._on_published)

    def read(self) -> None:
        # paho reads one packet a call; until the socket has no whole one left.
        self.full = True
        for _ in range(_MOST_PACKETS_A_READ):
            before = len(self._arrived.mids) + len(self._safe) + len(self._refused)
            self._client.read()
            if len(self._arrived.mids) + len(self._safe) + len(self._refused) == before:
                self.full = False
                return

    def arrived(self) -> Batch | None:
        arrived = self._arrived
        if not arrived.mids:
            return None
        self._arrived = Arrivals()
        return _batch(arrived, self._session)

    def write(self) -> None:
        if self._client.wants_write:
            self._client.write()

    def ping(self) -> None:
        self._client.keep_alive()  # it is patient for twice as long as between its own pings

    @property
    def wants_write(self) -> bool:
        return self._client.wants_write

    @property
    def buffered(self) -> bool:
        return self._pending() > 0

    @property
    def in_flight(self) -> int:
        return len(self._in_flight)

    def room(self, window: int) -> int:
        return window - len(self._in_flight)  # the window is small

    def unsafe(self) -> list[Sendable]:
        return list(self._in_flight.values())

    def publish_results(self, topic: str, qos: int, parcels: Sequence[Parcel]) -> None:
        for parcel in parcels:
            named = _has_duplicates(qos, parcel)
            for number, payload in enumerate(parcel.payloads):
                one = parcel.part(number, number + 1)
                user = {ID_PROPERTY: one.digests()[0].hex()} if named else {}
                self._in_flight[self._client.publish(topic, payload, qos, user)] = one

    def publish_rows(self, rows: Sequence[Outgoing]) -> None:
        for row in rows:
            mid = self._client.publish(row.topic, row.payload, row.qos, row.properties)
            self._in_flight[mid] = row

    def acknowledge(self, session: int, mids: Sequence[int]) -> None:
        if session == self._session:
            for mid in filter(None, mids):
                self._client.acknowledge(mid, 1)

    def _on_message(self, topic: str, payload: bytes, qos: int, mid: int, retain: bool) -> None:
        arrived = self._arrived
        arrived.topics.append(topic)
        arrived.payloads.append(payload)
        arrived.mids.append(mid if qos else 0)
        arrived.recurs |= qos > 0 or retain

    def _on_published(self, mid: int, reason: str | None) -> None:
        item = self._in_flight.pop(mid, None)
        if item is None:
            return
        if reason is None:
            self._safe.append(item)
        else:
            self._refused.append((item, reason))


@dataclass(slots=True)
class _Sent:
    """What was published together at QoS 1, and how many of it are safe: the first ones.

    `before` counts the packet identifiers that the connection had gone through by then.
    """

    mids: Sequence[int]
    item: Sendable
    before: int
    safe: int = 0

    def part(self, start: int, stop: int) -> Sendable:
        return self.item.part(start, stop) if isinstance(self.item, Parcel) else self.item


class BulkPlane(_Collected):
    """Reads and writes the socket itself, and hands paho what is not for the data plane.

    QoS 0 and 1 only: of QoS 2 paho keeps the account.
    """

    def __init__(self, client: ControlClient, sock: Any, session: int) -> None:
        super().__init__()
        self._client = client
        self._sock = sock
        self._pending = _pending_of(sock)
        self._session = session
        self._v5 = client.v5
        self._parser = Parser(self._v5)
        self._arrived: Batch | None = None
        self._encoders: dict[tuple[str, int, bool], PublishEncoder] = {}
        self._in_flight: deque[_Sent] = deque()
        self._in_flight_count = 0
        self._last_mid = 0
        self._mids_gone = 0
        # Of QoS 0: safe when the socket has taken all bytes up to that count.
        self._unwritten: deque[tuple[int, Sendable]] = deque()
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
        arrivals = self._parser.feed(data)
        if arrivals.mids:
            batch = _batch(arrivals, self._session)
            if self._arrived is None:
                self._arrived = batch
            else:
                self._arrived.extend(batch)
        for mid, reason in arrivals.refused:
            item = self._take(mid)
            if item is not None:
                self._refused.append((item, refusal(reason)))
        if arrivals.settled:
            self._settle(arrivals.settled)
        if arrivals.others:
            self._control.received(arrivals.others)
            for _ in arrivals.others:
                self._client.read()

    def arrived(self) -> Batch | None:
        arrived, self._arrived = self._arrived, None
        return arrived

    def write(self) -> None:
        if self._client.wants_write:
            self._client.write()
        self._output.flush()
        unwritten = self._unwritten
        while unwritten and unwritten[0][0] <= self._output.sent:
            item = unwritten.popleft()[1]
            self._unwritten_count -= count_of(item)
            self._safe.append(item)

    def ping(self) -> None:
        self._output.append([PING])

    @property
    def wants_write(self) -> bool:
        return self._output.unsent > 0 or self._client.wants_write

    @property
    def buffered(self) -> bool:
        return self._pending() > 0

    @property
    def in_flight(self) -> int:
        return self._in_flight_count + self._unwritten_count

    def room(self, window: int) -> int:
        if self._output.unsent > _MOST_UNWRITTEN_BYTES:
            return 0
        return window - self._in_flight_count - self._unwritten_count

    def unsafe(self) -> list[Sendable]:
        found = [sent.part(sent.safe, len(sent.mids)) for sent in self._in_flight]
        return found + [item for _, item in self._unwritten]

    def publish_results(self, topic: str, qos: int, parcels: Sequence[Parcel]) -> None:
        for parcel in parcels:
            named = self._v5 and _has_duplicates(qos, parcel)
            encoder = self._encoders.get((topic, qos, named))
            if encoder is None:
                lead = ID_LEAD if named else b"\0" if self._v5 else b""
                encoder = self._encoders[topic, qos, named] = PublishEncoder(topic, qos, lead)
            payloads = parcel.payloads
            mids = self._send(parcel, len(payloads)) if qos else ()
            ids = encode_ids(parcel.digests()) if named else ()
            parts = encoder.encode(payloads, mids, ids)
            if max(map(len, payloads)) < _LONG_PAYLOAD:
                parts = [b"".join(parts)]
            self._output.append(parts)
            if not qos:
                self._await_writing(parcel, len(payloads))

    def publish_rows(self, rows: Sequence[Outgoing]) -> None:
        for row in rows:
            qos = min(row.qos, 1)
            properties = encode_user_properties(row.properties) if self._v5 else b""
            encoder = PublishEncoder(row.topic, qos, properties)
            self._output.append(encoder.encode([row.payload], self._send(row, 1) if qos else ()))
            if not qos:
                self._await_writing(row, 1)

    def acknowledge(self, session: int, mids: Sequence[int]) -> None:
        if session == self._session:
            self._output.append([encode_pubacks(mids if all(mids) else list(filter(None, mids)))])

    def _await_writing(self, item: Sendable, count: int) -> None:
        """What is of QoS 0 is in flight until the socket has taken it."""
        self._unwritten.append((self._output.queued, item))
        self._unwritten_count += count

    def _send(self, item: Sendable, count: int) -> Sequence[int]:
        """Numbers for what is of QoS 1, which is in flight from now on."""
        before = self._mids_gone
        mids = self._next_mids(count)
        self._in_flight.append(_Sent(mids, item, before))
        self._in_flight_count += count
        return mids

    def _next_mids(self, count: int) -> Sequence[int]:
        first = self._last_mid % _LAST_MID + 1
        oldest = self._in_flight[0].before if self._in_flight else self._mids_gone
        # Nearly always all that are in flight are among the latest numbers, and the next are free.
        if self._mids_gone + count - oldest <= _LAST_MID and first + count - 1 <= _LAST_MID:
            self._last_mid = first + count - 1
            self._mids_gone += count
            return range(first, first + count)
        taken = {mid for sent in self._in_flight for mid in sent.mids[sent.safe :]}
        found: list[int] = []
        mid = self._last_mid
        while len(found) < count:
            mid = mid % _LAST_MID + 1
            self._mids_gone += 1
            if mid not in taken:
                found.append(mid)
        self._last_mid = mid
        return found

    def _settle(self, mids: list[int]) -> None:
        """Brokers answer in order: a number of answers is for as many that were sent first."""
        in_flight, at, count = self._in_flight, 0, len(mids)
        while at < count:
            if not in_flight:
                return  # answers that nobody waits for any more
            sent = in_flight[0]
            start = sent.safe
            stop = min(start + count - at, len(sent.mids))
            answered = mids[at : at + stop - start]
            if list(sent.mids[start:stop]) == answered:
                self._safe.append(sent.part(start, stop))
                sent.safe = stop
                self._in_flight_count -= stop - start
                at += stop - start
                if stop == len(sent.mids):
                    in_flight.popleft()
            else:
                item = self._take(mids[at])
                if item is not None:
                    self._safe.append(item)
                at += 1

    def _take(self, mid: int) -> Sendable | None:
        """Take one of them out of what is in flight; None if it isn't in it."""
        for number, sent in enumerate(self._in_flight):
            if mid in sent.mids:
                at, count = sent.mids.index(mid), len(sent.mids)
                if at < sent.safe:
                    continue
                del self._in_flight[number]
                self._in_flight_count -= 1
                for start, stop in ((at + 1, count), (sent.safe, at)):
                    if start < stop:
                        rest = _Sent(sent.mids[start:stop], sent.part(start, stop), sent.before)
                        self._in_flight.insert(number, rest)
                return sent.part(at, at + 1)
        return None


class _Output:
    """Bytes on their way to the socket; `queued` and `sent` count all there ever were."""

    def __init__(self, sock: Any) -> None:
        self._sock = sock
        self._waiting: list[bytes] = []
        # What the socket was offered last: a layer that encrypts wants the very same again.
        self._offered: deque[bytes | memoryview] = deque()
        self.sent = 0
        self.unsent = 0

    @property
    def queued(self) -> int:
        return self.sent + self.unsent

    def append(self, parts: Sequence[bytes]) -> None:
        # Without empty ones: a WebSocket layer can't tell that it has sent nothing.
        self._waiting += filter(None, parts)
        self.unsent += sum(map(len, parts))

    def flush(self) -> None:
        offered = self._offered
        while self.unsent:
            if not offered:
                self._offer()
            data = offered[0]
            try:
                sent = self._sock.send(data)
            except _WOULD_BLOCK:
                return
            self.sent += sent
            self.unsent -= sent
            if sent == len(data):
                offered.popleft()
            else:
                offered[0] = memoryview(data)[sent:]

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


def _batch(arrivals: Arrivals, session: int) -> Batch:
    times = [time.monotonic_ns()] * len(arrivals.mids)
    return Batch(
        arrivals.topics,
        arrivals.payloads,
        arrivals.mids,
        times,
        session,
        recurs=arrivals.recurs,
    )


def _has_duplicates(qos: int, parcel: Parcel) -> bool:
    """What is delivered once and sent once has none, and needs no id to recognise them by."""
    return qos > 0 or parcel.recurs


def _pending_of(sock: Any) -> Callable[[], int]:
    """Asks a TLS or WebSocket layer how many bytes it holds; nothing else holds any."""
    return getattr(sock, "pending", None) or int
