"""How large the packet of a message is."""

from __future__ import annotations

from pyboot_svc.config import Endpoint, ResultOptions
from pyboot_svc.worker.messages import (
    ID_BYTES,
    RESULTS,
    Addressed,
    Sendable,
    StoredMessage,
)
from pyboot_svc.worker.mqtt.wire.encoder import (
    encode_result_properties,
    encode_user_properties,
    id_lead,
    publish_size,
)


class PacketSizes:
    """In bytes, of what goes to `endpoint`; results at the QoS `qos`."""

    def __init__(self, endpoint: Endpoint, options: ResultOptions) -> None:
        self._topic = endpoint.topic
        self._v5 = endpoint.broker.protocol == "5"
        self._others = encode_result_properties(options)
        self._id_property = len(id_lead(self._others)) + ID_BYTES
        self.qos = endpoint.qos

    def of(self, item: Sendable) -> int:
        """Of the largest one."""
        if isinstance(item, StoredMessage):
            others = self._others if item.lane == RESULTS else b""
            if item.options is not None:
                _, others = item.options
            properties = len(encode_user_properties(item.properties, others)) if self._v5 else 0
            return publish_size(item.topic, len(item.payload), item.qos, properties)
        if item.chunk.unusual:  # each may have other properties, and another topic
            return max(map(self.of_result, item.payloads))
        return self.of_result(max(item.payloads, key=len))

    def of_result(self, payload: bytes) -> int:
        if not isinstance(payload, Addressed):
            return self.of_length(len(payload))
        to = payload.destination
        properties = len(id_lead(to.properties)) + ID_BYTES if self._v5 else 0
        return publish_size(to.topic, len(payload), self.qos, properties)

    def of_length(self, payload: int) -> int:
        """Of a result with so many bytes, on the usual topic."""
        properties = self._id_property if self._v5 else 0
        return publish_size(self._topic, payload, self.qos, properties)
