"""The data plane that leaves each packet to paho's public API: the reference."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pyboot_svc.worker.invalid_messages import examine, topic_trouble
from pyboot_svc.worker.messages import (
    ID_PROPERTY,
    MessageBatch,
    ResultBatch,
    Sendable,
    StoredMessage,
)
from pyboot_svc.worker.mqtt.link.paho_client import ControlClient
from pyboot_svc.worker.mqtt.refusal.refusals import Refusal
from pyboot_svc.worker.mqtt.wire.decoder import Arrivals
from pyboot_svc.worker.mqtt.wire.plane import (
    Collected,
    batch_of,
    encoding_failure,
    has_duplicates,
    pending_of,
)

_MOST_PACKETS_A_READ = 256
_MOST_BYTES_A_READ = 1024 * 1024


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
            before = len(self._arrived.packet_ids) + len(self._safe) + len(self._refused)
            self._client.read()
            if len(self._arrived.packet_ids) + len(self._safe) + len(self._refused) == before:
                self.full = False
                return

    def arrived(self) -> MessageBatch | None:
        arrived = self._arrived
        if not arrived.packet_ids:
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
        self, topic: str, qos: int, parcels: Sequence[ResultBatch]
    ) -> list[tuple[ResultBatch, str]]:
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

    def publish_rows(self, rows: Sequence[StoredMessage]) -> list[tuple[StoredMessage, str]]:
        failed = []
        for row in rows:
            try:
                mid = self._client.publish(row.topic, row.payload, row.qos, row.properties)
                self._in_flight[mid] = row
            except Exception as error:
                failed.append((row, encoding_failure(error)))
        return failed

    def acknowledge(self, session: int, packet_ids: Sequence[int]) -> None:
        if session == self._session:
            for mid in filter(None, packet_ids):
                self._client.acknowledge(mid, exact=mid in self._exact)
                self._exact.discard(mid)

    def _on_message(
        self, topic: bytes, payload: bytes, qos: int, mid: int, retain: bool, dup: bool
    ) -> None:
        arrived = self._arrived
        if retain and not dup:
            arrived.retained.append(len(arrived.packet_ids))
        self._read_bytes += len(topic) + len(payload)
        if qos > 1:
            self._exact.add(mid)
        if topic_trouble(topic) or len(payload) > self._most or (qos and not mid):
            number = mid if qos else -1
            given = examine(topic, payload, len(payload), number, self._most)
            arrived.add_misfit(given, redeliverable=qos > 0 or retain)
            return
        arrived.topics.append(topic.decode())
        arrived.payloads.append(payload)
        arrived.packet_ids.append(mid if qos else 0)
        arrived.redeliverable |= qos > 0 or retain

    def _on_published(self, mid: int, refusal: Refusal | None) -> None:
        item = self._in_flight.pop(mid, None)
        if item is None:
            return
        if refusal is None:
            self._safe.append(item)
        else:
            self._refused.append((item, refusal))
