"""The data plane of one connection: how PUBLISH and PUBACK travel. Two siblings do it.

`BulkPlane` (bulk.py) handles many packets by one call of the kernel; `PlainPlane` leaves each to
paho's public API, and is the reference.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from pyboot_svc.worker.client import ControlClient
from pyboot_svc.worker.message import Batch, Parcel
from pyboot_svc.worker.misfits import examine, topic_trouble
from pyboot_svc.worker.outgoing import Outgoing, Sendable
from pyboot_svc.worker.packets import ID_PROPERTY
from pyboot_svc.worker.parser import Arrivals
from pyboot_svc.worker.refusals import Refusal

_MOST_PACKETS_A_READ = 256
_MOST_BYTES_A_READ = 1024 * 1024


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

    @property
    def oldest(self) -> int | None:
        """The number of the message that has been in flight longest, unanswered; None without."""

    def unsafe(self) -> list[Sendable]:
        """What was published and is not known to be safe, in order."""

    def arrived(self) -> Batch | None: ...
    def outcomes(self) -> tuple[list[Sendable], list[tuple[Sendable, Refusal]]]:
        """What is safe by now (sent, at QoS 0), and what was refused, with the reason."""

    def publish_results(
        self, topic: str, qos: int, parcels: Sequence[Parcel]
    ) -> list[tuple[Parcel, str]]:
        """Gives those of which no packet can be made, and why; so does `publish_rows`."""

    def publish_rows(self, rows: Sequence[Outgoing]) -> list[tuple[Outgoing, str]]: ...
    def acknowledge(self, session: int, mids: Sequence[int]) -> None:
        """Those of earlier connections are not this one's business: the broker sends them again,
        and that copy will be acknowledged. 0 is no number: those are of QoS 0."""


class Collected:
    """The outcomes that reads and writes have brought, until they are fetched."""

    def __init__(self) -> None:
        self.full = False
        self._safe: list[Sendable] = []
        self._refused: list[tuple[Sendable, Refusal]] = []

    def outcomes(self) -> tuple[list[Sendable], list[tuple[Sendable, Refusal]]]:
        safe, refused = self._safe, self._refused
        if safe:
            self._safe = []
        if refused:
            self._refused = []
        return safe, refused


class NoPlane(Collected):
    """That of a connection that is not open: there is no room on it, and nothing comes."""

    wants_write = False
    buffered = False
    in_flight = 0
    oldest = None

    def read(self) -> None: ...
    def write(self) -> None: ...
    def ping(self) -> None: ...
    def arrived(self) -> None: ...
    def room(self, window: int) -> int:
        return 0

    def unsafe(self) -> list[Sendable]:
        return []

    def publish_results(
        self, topic: str, qos: int, parcels: Sequence[Parcel]
    ) -> list[tuple[Parcel, str]]:
        raise AssertionError("there is no room for results")

    def publish_rows(self, rows: Sequence[Outgoing]) -> list[tuple[Outgoing, str]]:
        raise AssertionError("there is no room for rows")

    def acknowledge(self, session: int, mids: Sequence[int]) -> None: ...


class PlainPlane(Collected):
    """paho does it, packet by packet."""

    def __init__(self, client: ControlClient, sock: Any, session: int) -> None:
        super().__init__()
        self._client = client
        self._sock = sock
        self._pending = pending_of(sock)
        self._session = session
        self._arrived = Arrivals()
        # What came at QoS 2, and is not acknowledged.
        self._exact: set[int] = set()
        self._read_bytes = 0
        self._in_flight: dict[int, Sendable] = {}
        self._most = client.max_message
        client.listen(self._on_message, self._on_published)

    def read(self) -> None:
        # paho reads one packet a call; until the socket has no whole one left.
        self.full = True
        self._read_bytes = 0
        for _ in range(_MOST_PACKETS_A_READ):
            if self._read_bytes > _MOST_BYTES_A_READ:
                return  # what they are of has to be counted before there are more
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
        return batch_of(arrived, self._session)

    def write(self) -> None:
        if self._client.wants_write:
            self._client.write()

    def ping(self) -> None:
        self._client.ping()

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

    @property
    def oldest(self) -> int | None:
        return next(iter(self._in_flight), None)

    def unsafe(self) -> list[Sendable]:
        return list(self._in_flight.values())

    def publish_results(
        self, topic: str, qos: int, parcels: Sequence[Parcel]
    ) -> list[tuple[Parcel, str]]:
        failed = []
        for parcel in parcels:
            named = has_duplicates(qos, parcel)
            for number, payload in enumerate(parcel.payloads):
                one = parcel.part(number, number + 1)
                user = {ID_PROPERTY: one.digests()[0].hex()} if named else {}
                try:
                    self._in_flight[self._client.publish(topic, payload, qos, user)] = one
                except Exception as error:
                    failed.append((one, encoding_failure(error)))
        return failed

    def publish_rows(self, rows: Sequence[Outgoing]) -> list[tuple[Outgoing, str]]:
        failed = []
        for row in rows:
            try:
                mid = self._client.publish(row.topic, row.payload, row.qos, row.properties)
                self._in_flight[mid] = row
            except Exception as error:
                failed.append((row, encoding_failure(error)))
        return failed

    def acknowledge(self, session: int, mids: Sequence[int]) -> None:
        if session == self._session:
            for mid in filter(None, mids):
                self._client.acknowledge(mid, exact=mid in self._exact)
                self._exact.discard(mid)

    def _on_message(
        self, topic: bytes, payload: bytes, qos: int, mid: int, retain: bool, dup: bool
    ) -> None:
        arrived = self._arrived
        if retain and not dup:
            arrived.retained.append(len(arrived.mids))
        self._read_bytes += len(topic) + len(payload)
        if qos > 1:
            self._exact.add(mid)
        if topic_trouble(topic) or len(payload) > self._most or (qos and not mid):
            number = mid if qos else -1
            given = examine(topic, payload, len(payload), number, self._most)
            arrived.add_misfit(given, recurs=qos > 0 or retain)
            return
        arrived.topics.append(topic.decode())
        arrived.payloads.append(payload)
        arrived.mids.append(mid if qos else 0)
        arrived.recurs |= qos > 0 or retain

    def _on_published(self, mid: int, refusal: Refusal | None) -> None:
        item = self._in_flight.pop(mid, None)
        if item is None:
            return
        if refusal is None:
            self._safe.append(item)
        else:
            self._refused.append((item, refusal))


def batch_of(arrivals: Arrivals, session: int) -> Batch:
    """What has arrived just now, at least one message."""
    times = [time.monotonic_ns()] * len(arrivals.mids)
    return Batch(
        arrivals.topics,
        arrivals.payloads,
        arrivals.mids,
        times,
        session,
        recurs=arrivals.recurs,
        misfits=arrivals.misfits,
        retained=arrivals.retained,
    )


def encoding_failure(error: Exception) -> str:
    """Why no packet can be made of a message, whatever was stumbled over: it is that one's."""
    return f"no packet can be made of it ({type(error).__name__}: {error})"


def has_duplicates(qos: int, parcel: Parcel) -> bool:
    """What is delivered once and sent once has none, and needs no id to recognise them by."""
    return qos > 0 or parcel.recurs


def pending_of(sock: Any) -> Callable[[], int]:
    """Asks a TLS or WebSocket layer how many bytes it holds; nothing else holds any."""
    return getattr(sock, "pending", None) or int
