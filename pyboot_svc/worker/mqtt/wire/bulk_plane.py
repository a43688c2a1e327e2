"""The data plane that moves many packets by one call of the kernel."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

from pyboot_svc.worker.messages import MessageBatch, ResultBatch, Sendable, StoredMessage, count_of
from pyboot_svc.worker.mqtt.link.paho_client import ControlClient, refusal
from pyboot_svc.worker.mqtt.wire.decoder import Decoder
from pyboot_svc.worker.mqtt.wire.encoder import (
    ID_LEAD,
    PING,
    PublishEncoder,
    encode_acknowledgements,
    encode_ids,
    encode_pubacks,
    encode_pubcomps,
    encode_user_properties,
)
from pyboot_svc.worker.mqtt.wire.inflight import InFlight
from pyboot_svc.worker.mqtt.wire.plane import (
    Collected,
    batch_of,
    encoding_failure,
    has_duplicates,
    pending_of,
)
from pyboot_svc.worker.mqtt.wire.send_buffer import (
    LONG_PAYLOAD,
    WOULD_BLOCK,
    ControlSocket,
    SendBuffer,
)

_READ_BYTES = 64 * 1024
# More is not taken from the post_queue while so much waits for the network.
_MOST_UNWRITTEN_BYTES = 1024 * 1024


class BulkPlane(Collected):
    """Reads and writes the socket itself, and hands paho what is not for the data plane.

    It publishes at QoS 0 and 1 only: of QoS 2 paho keeps the account. What comes at QoS 2 gets its
    PUBREC, by which it becomes ours, when it is acknowledged: processed, not only received.
    """

    def __init__(self, client: ControlClient, sock: Any, session: int) -> None:
        super().__init__()
        self._client = client
        self._sock = sock
        self._pending = pending_of(sock)
        self._session = session
        self._v5 = client.v5
        self._parser = Decoder(self._v5, client.max_message)
        self._arrived: MessageBatch | None = None
        # What came at QoS 2, and is not acknowledged.
        self._exact: set[int] = set()
        self._encoders: dict[tuple[str, int, bool], PublishEncoder] = {}
        self._in_flight = InFlight()
        # Of QoS 0: safe when the socket has taken all bytes up to that count.
        self._unwritten: deque[tuple[int, Sendable]] = deque()
        self._unwritten_count = 0
        self._output = SendBuffer(sock)
        self._control = ControlSocket(sock, self._output)
        client.use_socket(self._control)

    def read(self) -> None:
        try:
            data = self._sock.recv(_READ_BYTES)
        except WOULD_BLOCK:
            self.full = False
            return
        self.full = len(data) == _READ_BYTES
        if not data:
            raise ConnectionError
        # paho 2.1's WebSocket layer gives a bytearray.
        arrivals = self._parser.feed(bytes(data))
        if arrivals.packet_ids:
            batch = batch_of(arrivals, self._session)
            if self._arrived is None:
                self._arrived = batch
            else:
                self._arrived.extend(batch)
        for mid, reason in arrivals.refused:
            item = self._in_flight.take(mid)
            if item is not None:
                self._refused.append((item, refusal(reason)))
        if arrivals.settled:
            self._safe += self._in_flight.settle(arrivals.settled)
        if arrivals.exact:
            self._exact.update(arrivals.exact)
        if arrivals.released:
            self._output.append([encode_pubcomps(arrivals.released)])
        if arrivals.others:
            self._control.received(arrivals.others)
            for _ in arrivals.others:
                self._client.read()
        if arrivals.broken is not None:
            raise arrivals.broken

    def arrived(self) -> MessageBatch | None:
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
        return self._in_flight.count + self._unwritten_count

    def room(self, window: int) -> int:
        if self._output.unsent > _MOST_UNWRITTEN_BYTES:
            return 0
        return window - self._in_flight.count - self._unwritten_count

    @property
    def oldest(self) -> int | None:
        return self._in_flight.oldest

    def unsafe(self) -> list[Sendable]:
        return self._in_flight.unsafe() + [item for _, item in self._unwritten]

    def publish_results(
        self, topic: str, qos: int, parcels: Sequence[ResultBatch]
    ) -> list[tuple[ResultBatch, str]]:
        for parcel in parcels:
            named = self._v5 and has_duplicates(qos, parcel)
            encoder = self._encoders.get((topic, qos, named))
            if encoder is None:
                lead = ID_LEAD if named else b"\0" if self._v5 else b""
                encoder = self._encoders[topic, qos, named] = PublishEncoder(topic, qos, lead)
            payloads = parcel.payloads
            packet_ids = self._in_flight.add(parcel, len(payloads)) if qos else ()
            ids = encode_ids(parcel.digests()) if named else ()
            parts = encoder.encode(payloads, packet_ids, ids)
            if max(map(len, payloads)) < LONG_PAYLOAD:
                parts = [b"".join(parts)]
            self._output.append(parts)
            if not qos:
                self._await_writing(parcel, len(payloads))
        return []

    def publish_rows(self, rows: Sequence[StoredMessage]) -> list[tuple[StoredMessage, str]]:
        failed = []
        for row in rows:
            try:
                self._publish_row(row)
            except Exception as error:
                failed.append((row, encoding_failure(error)))
        return failed

    def _publish_row(self, row: StoredMessage) -> None:
        qos = min(row.qos, 1)
        properties = encode_user_properties(row.properties) if self._v5 else b""
        encoder = PublishEncoder(row.topic, qos, properties)
        packet_ids = self._in_flight.add(row, 1) if qos else ()
        try:
            self._output.append(encoder.encode([row.payload], packet_ids))
        except Exception:
            for mid in packet_ids:
                self._in_flight.take(mid)
            raise
        if not qos:
            self._await_writing(row, 1)

    def acknowledge(self, session: int, packet_ids: Sequence[int]) -> None:
        if session == self._session:
            if not all(packet_ids):
                packet_ids = list(filter(None, packet_ids))
            if self._exact:
                self._output.append([encode_acknowledgements(packet_ids, self._exact)])
                self._exact.difference_update(packet_ids)
            else:
                self._output.append([encode_pubacks(packet_ids)])

    def _await_writing(self, item: Sendable, count: int) -> None:
        """What is of QoS 0 is in flight until the socket has taken it."""
        self._unwritten.append((self._output.queued, item))
        self._unwritten_count += count
