"""The data plane that moves many packets by one call of the kernel."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import monotonic_ns
from typing import Any

from pyboot_svc.config import DEFAULT_RESULTS, ResultOptions
from pyboot_svc.worker.messages import (
    RESULTS,
    Chunk,
    Destination,
    MessageBatch,
    ResultBatch,
    Sendable,
    StoredMessage,
    ids_of,
)
from pyboot_svc.worker.mqtt.link.paho_client import ControlClient, refusal
from pyboot_svc.worker.mqtt.refusal.refusals import Refusal
from pyboot_svc.worker.mqtt.wire.decoder import Arrivals, Decoder
from pyboot_svc.worker.mqtt.wire.encoder import (
    PING,
    PublishEncoder,
    encode_acknowledgements,
    encode_pubacks,
    encode_pubcomps,
    encode_result_properties,
    encode_user_properties,
    id_lead,
)
from pyboot_svc.worker.mqtt.wire.errors import Broken
from pyboot_svc.worker.mqtt.wire.inflight import InFlight
from pyboot_svc.worker.mqtt.wire.plane import (
    PlaneOwner,
    batch_of,
    encoding_failure,
    new_places,
    pending_of,
)
from pyboot_svc.worker.mqtt.wire.send_buffer import LONG_PAYLOAD, ControlSocket, SendBuffer
from pyboot_svc.worker.mqtt.wire.tls_errors import would_block

_READ_BYTES = 64 * 1024
# Results may have a topic each, which may be long; so may properties.
_MOST_ENCODERS, _MOST_ENCODER_BYTES = 256, 1024 * 1024
# More is not taken from the post_queue while so much waits for the network.
_MOST_UNWRITTEN_BYTES = 1024 * 1024


class BulkPlane:
    """Reads and writes the socket itself, and hands paho what is not for the data plane.

    It publishes at QoS 0 and 1 only: of QoS 2 paho keeps the account. What comes at QoS 2 gets its
    PUBREC, by which it becomes ours, when it is acknowledged: processed, not only received.
    """

    def __init__(
        self,
        client: ControlClient,
        sock: Any,
        session: int,
        owner: PlaneOwner,
        results: ResultOptions = DEFAULT_RESULTS,
    ) -> None:
        self._client = client
        self._recv: Callable[[int], bytes] = sock.recv
        self._session = session
        self._owner = owner
        self._v5 = client.v5
        self._decoder = Decoder(self._v5, client.max_message)
        # What came by this connection and is not acknowledged; of that, what came at QoS 2.
        self._open: set[int] = set()
        self._exact: set[int] = set()
        self._retain = results.retain
        self._properties = encode_result_properties(results) if self._v5 else b""
        self._encoders: dict[tuple[Destination, bool], PublishEncoder] = {}
        self._encoder_bytes = 0
        # The last one, and what it was for.
        self._last: Destination | None = None
        self._last_named = False
        self._last_encoder: PublishEncoder
        self._in_flight = InFlight()
        self._output = SendBuffer(sock)
        self._control = ControlSocket(sock, self._output)
        client.use_socket(self._control)
        client.on_queued = self._have_written
        self.pending = pending_of(sock)
        self.full = False
        self.wants_write = client.wants_write
        self.answers = 0

    def read(self) -> int:
        try:
            data = self._recv(_READ_BYTES)
        except would_block():
            self.full = False
            return 0
        except Exception as error:  # TLS and WebSocket fail in many ways
            raise Broken from error
        if not data:
            raise Broken
        size = len(data)
        self.full = size == _READ_BYTES
        if size == 4 and (packet_id := self._decoder.lone_answer(data)):
            self._take_answer(packet_id)
            return 1
        message = self._decoder.lone_message(data)
        if message is None:
            return self._take(self._decoder.feed(data))
        topic, payload, packet_id = message
        if packet_id:
            self._open.add(packet_id)
        self._owner.on_messages(
            MessageBatch([topic], [payload], [packet_id], [monotonic_ns()], self._session)
        )
        return 1

    def _take(self, arrivals: Arrivals) -> int:
        broken = arrivals.broken
        if arrivals.others or arrivals.exact or arrivals.released:
            broken = self._take_others(arrivals) or broken
        if arrivals.packet_ids:
            batch = batch_of(arrivals, self._session)
            if arrivals.duplicates:
                batch = batch.only(new_places(arrivals, self._open))
            elif batch.redeliverable:
                self._open.update(arrivals.packet_ids)
            if batch.packet_ids:
                self._owner.on_messages(batch)
        if arrivals.settled or arrivals.refused:
            self._take_answers(arrivals)
        if broken is not None:
            raise Broken from broken
        return len(arrivals.packet_ids) + len(arrivals.settled)

    def _take_answer(self, packet_id: int) -> None:
        safe = self._in_flight.settle_one(packet_id)
        if safe:
            self.answers += 1
            self._owner.on_published(safe, [])

    def _take_answers(self, arrivals: Arrivals) -> None:
        refused: list[tuple[Sendable, Refusal]] = []
        for packet_id, reason, properties in arrivals.refused:
            item = self._in_flight.take(packet_id)
            if item is not None:
                refused.append((item, refusal(reason, properties)))
        safe = self._in_flight.settle(arrivals.settled)
        if safe or refused:
            self.answers += 1
            self._owner.on_published(safe, refused)

    def _take_others(self, arrivals: Arrivals) -> Exception | None:
        """Before the messages, one of which may be acknowledged at once; gives what ended it."""
        self._exact.update(arrivals.exact)
        if arrivals.released:
            self._send(encode_pubcomps(arrivals.released))
        self._control.received(arrivals.others)
        try:
            for _ in arrivals.others:
                self._client.read()
        except Broken as error:
            return error
        return None

    def write(self) -> None:
        client, output = self._client, self._output
        if client.wants_write:
            client.write()
        output.flush()
        self.wants_write = output.sent < output.queued or client.wants_write
        if self._in_flight.unwritten and (safe := self._in_flight.written(output.sent)):
            self.answers += 1
            self._owner.on_published(safe, [])

    def ping(self) -> None:
        self._send(PING)

    @property
    def in_flight(self) -> int:
        return self._in_flight.count

    def room(self, window: int) -> int:
        output = self._output
        if output.queued - output.sent > _MOST_UNWRITTEN_BYTES:
            return 0
        return window - self._in_flight.count

    @property
    def oldest(self) -> int | None:
        return self._in_flight.oldest

    def unsafe(self) -> list[Sendable]:
        return self._in_flight.unsafe()

    def publish_results(
        self, destination: Destination, batches: Sequence[ResultBatch]
    ) -> list[tuple[ResultBatch, str]]:
        output, in_flight, qos = self._output, self._in_flight, destination.qos
        for results in batches:
            payloads = results.payloads
            count = len(payloads)
            # What is delivered once and sent once has no duplicates, and needs no id.
            named = self._v5 and (qos > 0 or results.chunk.batch.redeliverable)
            if destination is self._last and named == self._last_named:  # by far the most frequent
                encoder = self._last_encoder
            else:
                encoder = self._encoder(destination, named)
            packet_ids: Sequence[int] = in_flight.add(results, count) if qos else ()
            ids: Sequence[bytes] = results.ids() if named else ()
            if count == 1 and results.size < LONG_PAYLOAD:
                id_ = ids[0] if named else b""
                output.append(encoder.encode_one(payloads[0], packet_ids[0] if qos else 0, id_))
            else:
                parts = encoder.encode(payloads, packet_ids, ids)
                together = max(map(len, payloads)) < LONG_PAYLOAD
                output.extend([b"".join(parts)] if together else parts)
            if not qos:
                in_flight.add_unanswered(results, count, output.queued)
            self.wants_write = True
        return []

    def publish_lone(
        self, destination: Destination, chunk: Chunk, payload: bytes
    ) -> ResultBatch | None:
        qos = destination.qos
        named = self._v5 and (qos > 0 or chunk.batch.redeliverable)
        if destination is self._last and named == self._last_named:
            encoder = self._last_encoder
        else:
            encoder = self._encoder(destination, named)
        id_ = ids_of(chunk.digests)[0] if named else b""
        if qos:
            return self._publish_lone_numbered(encoder, chunk, payload, id_)
        if self._output.send(encoder.encode_one(payload, 0, id_)):
            self.answers += 1
            return None
        results = ResultBatch(chunk, range(1), [payload])
        self._in_flight.add_unanswered(results, 1, self._output.queued)
        self.wants_write = True
        return results

    def _publish_lone_numbered(
        self, encoder: PublishEncoder, chunk: Chunk, payload: bytes, id_: bytes
    ) -> ResultBatch:
        results = ResultBatch(chunk, range(1), [payload])
        (packet_id,) = self._in_flight.add(results, 1)
        try:
            self.wants_write = not self._output.send(encoder.encode_one(payload, packet_id, id_))
        except Broken:  # then it is still in the hands of who wanted to send it
            self._in_flight.take(packet_id)
            raise
        return results

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
        retain, others = False, b""
        if row.options is not None:
            retain, others = row.options
        elif row.lane == RESULTS:
            retain, others = self._retain, self._properties
        properties = encode_user_properties(row.properties, others) if self._v5 else b""
        encoder = PublishEncoder(row.topic, qos, properties, retain=retain)
        packet_ids = self._in_flight.add(row, 1) if qos else ()
        try:
            self._output.extend(encoder.encode([row.payload], packet_ids))
        except Exception:
            for packet_id in packet_ids:
                self._in_flight.take(packet_id)
            raise
        if not qos:
            self._in_flight.add_unanswered(row, 1, self._output.queued)
        self.wants_write = True

    def acknowledge(self, session: int, packet_ids: Sequence[int]) -> None:
        if session != self._session:
            return
        if not all(packet_ids):
            packet_ids = list(filter(None, packet_ids))
        if not packet_ids:
            return
        self._open.difference_update(packet_ids)
        if self._exact:
            self._output.append(encode_acknowledgements(packet_ids, self._exact))
            self._exact.difference_update(packet_ids)
        else:
            self._output.append(encode_pubacks(packet_ids))
        self.wants_write = True

    def _encoder(self, to: Destination, named: bool) -> PublishEncoder:
        encoder = self._encoders.get((to, named)) or self._make_encoder(to, named)
        self._last, self._last_named, self._last_encoder = to, named, encoder
        return encoder

    def _make_encoder(self, to: Destination, named: bool) -> PublishEncoder:
        lead = b""
        if self._v5:
            lead = id_lead(to.properties) if named else encode_user_properties({}, to.properties)
        # Both are in the destination, and in what the encoder makes of it.
        size = 2 * (len(to.topic) + len(to.properties))
        most = _MOST_ENCODER_BYTES - size
        if len(self._encoders) >= _MOST_ENCODERS or self._encoder_bytes > most:
            self._encoders.clear()
            self._encoder_bytes = 0
        self._encoder_bytes += size
        encoder = PublishEncoder(to.topic, to.qos, lead, retain=to.retain)
        self._encoders[to, named] = encoder
        return encoder

    def _send(self, packets: bytes) -> None:
        self._output.append(packets)
        self.wants_write = True

    def _have_written(self) -> None:
        """paho has queued something."""
        self.wants_write = True
