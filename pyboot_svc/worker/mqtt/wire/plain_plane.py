"""The data plane that leaves each packet to paho's public API: the reference."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pyboot_svc.config import DEFAULT_RESULTS, ResultOptions
from pyboot_svc.worker.invalid_messages import examine, topic_trouble
from pyboot_svc.worker.messages import (
    ID_PROPERTY,
    RESULTS,
    Chunk,
    Destination,
    ResultBatch,
    Sendable,
    StoredMessage,
)
from pyboot_svc.worker.mqtt.link.paho_client import ControlClient
from pyboot_svc.worker.mqtt.refusal.refusals import Refusal
from pyboot_svc.worker.mqtt.wire.decoder import DUP, RETAIN, Arrivals
from pyboot_svc.worker.mqtt.wire.encoder import encode_result_properties
from pyboot_svc.worker.mqtt.wire.plane import (
    PlaneOwner,
    batch_of,
    encoding_failure,
    has_duplicates,
    pending_of,
)

# Of a dead letter: not retained, and no properties but its own.
_NONE = (False, b"")
_MOST_PACKETS_A_READ = 256
_MOST_BYTES_A_READ = 1024 * 1024


class PlainPlane:
    """paho does it, packet by packet; what a read or a write brings is told at its end."""

    def __init__(
        self,
        client: ControlClient,
        sock: Any,
        session: int,
        owner: PlaneOwner,
        results: ResultOptions = DEFAULT_RESULTS,
    ) -> None:
        self._client = client
        self._session = session
        self._owner = owner
        # What came by this connection and is not acknowledged; of that, what came at QoS 2.
        self._open: set[int] = set()
        self._exact: set[int] = set()
        self._in_flight: dict[int, Sendable] = {}
        self._most = client.max_message
        self._options = results.retain, encode_result_properties(results)
        self._begin()
        client.listen(self._on_message, self._on_published)
        client.on_queued = self._have_written
        self.pending = pending_of(sock)
        self.full = False
        self.wants_write = client.wants_write
        self.answers = 0

    def _begin(self) -> None:
        self._arrivals = Arrivals()
        self._safe: list[Sendable] = []
        self._refused: list[tuple[Sendable, Refusal]] = []
        # Packets, and what they are of.
        self._count = self._bytes = 0

    def read(self) -> int:
        try:
            self._read()
        finally:
            count = self._tell()
        return count

    def _read(self) -> None:
        # paho reads one packet a call; until the socket has no whole one left.
        self.full = True
        for _ in range(_MOST_PACKETS_A_READ):
            if self._bytes > _MOST_BYTES_A_READ:
                return  # what they are of has to be counted before there are more
            before = self._count
            self._client.read()
            if self._count == before:
                self.full = False
                return

    def write(self) -> None:
        try:
            if self._client.wants_write:
                self._client.write()
        finally:
            self.wants_write = self._client.wants_write
            self._tell()

    def _tell(self) -> int:
        arrivals, safe, refused = self._arrivals, self._safe, self._refused
        self._begin()
        if arrivals.packet_ids:
            self._owner.on_messages(batch_of(arrivals, self._session))
        if safe or refused:
            self.answers += 1
            self._owner.on_published(safe, refused)
        return len(arrivals.packet_ids) + len(safe)

    def ping(self) -> None:
        self._client.ping()

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
        self, destination: Destination, batches: Sequence[ResultBatch]
    ) -> list[tuple[ResultBatch, str]]:
        failed = []
        topic, qos = destination.topic, destination.qos
        options = destination.retain, destination.properties
        publish = self._client.publish
        for results in batches:
            named = has_duplicates(qos, results.chunk)
            for number, payload in enumerate(results.payloads):
                one = results.part(number, number + 1)
                user = {ID_PROPERTY: one.ids()[0].decode()} if named else {}
                try:
                    self._in_flight[publish(topic, payload, qos, user, options)] = one
                except Exception as error:
                    failed.append((one, encoding_failure(error)))
        return failed

    def publish_lone(
        self, destination: Destination, chunk: Chunk, payload: bytes
    ) -> ResultBatch | None:
        raise AssertionError("paho writes when it likes")

    def publish_rows(self, rows: Sequence[StoredMessage]) -> list[tuple[StoredMessage, str]]:
        failed = []
        publish = self._client.publish
        for row in rows:
            try:
                options = row.options or (self._options if row.lane == RESULTS else _NONE)
                number = publish(row.topic, row.payload, row.qos, row.properties, options)
                self._in_flight[number] = row
            except Exception as error:
                failed.append((row, encoding_failure(error)))
        return failed

    def acknowledge(self, session: int, packet_ids: Sequence[int]) -> None:
        if session == self._session:
            for packet_id in filter(None, packet_ids):
                self._client.acknowledge(packet_id, exact=packet_id in self._exact)
                self._exact.discard(packet_id)
                self._open.discard(packet_id)

    def _on_message(
        self, topic: bytes, payload: bytes, packet_id: int, flags: int, properties: bytes
    ) -> None:
        arrivals, qos = self._arrivals, flags >> 1 & 3
        retain, dup = bool(flags & RETAIN), bool(flags & DUP)
        self._count += 1
        self._bytes += len(topic) + len(payload)
        if dup and packet_id in self._open:
            return  # as `new_places` says
        if qos and packet_id:
            self._open.add(packet_id)
        if retain and not dup:
            arrivals.retained.append(len(arrivals.packet_ids))
        if qos > 1:
            self._exact.add(packet_id)
        if topic_trouble(topic) or len(payload) > self._most or (qos and not packet_id):
            number = packet_id if qos else -1
            given = examine(topic, payload, len(payload), number, self._most)
            arrivals.add_invalid(given)
            return
        if retain or properties or qos > 1:
            arrivals.add_about(flags, properties)
        arrivals.topics.append(topic.decode())
        arrivals.payloads.append(payload)
        arrivals.packet_ids.append(packet_id if qos else 0)

    def _on_published(self, packet_id: int, refusal: Refusal | None) -> None:
        item = self._in_flight.pop(packet_id, None)
        if item is None:
            return
        self._count += 1
        if refusal is None:
            self._safe.append(item)
        else:
            self._refused.append((item, refusal))

    def _have_written(self) -> None:
        """paho has queued something."""
        self.wants_write = True
