"""How large the packet of a message is."""

from __future__ import annotations

from pyboot_svc.config import Endpoint, ResultOptions
from pyboot_svc.worker.messages import (
    ID_BYTES,
    RESULTS,
    Addressed,
    Chunk,
    Sendable,
    StoredMessage,
)
from pyboot_svc.worker.mqtt.wire.encoder import (
    encode_result_properties,
    encode_user_properties,
    id_lead,
    publish_size,
)
from pyboot_svc.worker.mqtt.wire.plane import has_duplicates


class PacketSizes:
    """In bytes, of what goes to `endpoint`; results at the QoS `qos`, or at their own up to
    `most_qos`."""

    def __init__(self, endpoint: Endpoint, options: ResultOptions) -> None:
        self._topic = endpoint.topic
        self._v5 = endpoint.broker.protocol == "5"
        self._others = encode_result_properties(options)
        # Without an id, and with it.
        self._usual = self._properties(self._others, False), self._properties(self._others, True)
        self.qos = self.most_qos = endpoint.qos

    def of(self, item: Sendable) -> int:
        """Of the largest one."""
        if isinstance(item, StoredMessage):
            others = self._others if item.lane == RESULTS else b""
            if item.options is not None:
                _, others = item.options
            properties = len(encode_user_properties(item.properties, others)) if self._v5 else 0
            return publish_size(item.topic, len(item.payload), item.qos, properties)
        if item.chunk.unusual:  # each may have other properties, and another topic
            return max(self.of_result(payload, item.chunk) for payload in item.payloads)
        return self.of_result(max(item.payloads, key=len), item.chunk)

    def of_result(self, payload: bytes, chunk: Chunk) -> int:
        if not isinstance(payload, Addressed):
            return self.of_length(len(payload), named=has_duplicates(self.qos, chunk))
        to = payload.destination
        qos = min(to.qos, self.most_qos)
        properties = self._properties(to.properties, has_duplicates(qos, chunk))
        return publish_size(to.topic, len(payload), qos, properties)

    def of_length(self, payload: int, *, named: bool) -> int:
        """Of a result with so many bytes, on the usual topic."""
        return publish_size(self._topic, payload, self.qos, self._usual[named])

    def _properties(self, others: bytes, named: bool) -> int:
        if not self._v5:
            return 0
        return len(id_lead(others)) + ID_BYTES if named else len(encode_user_properties({}, others))
