"""How large the packet of a message is."""

from __future__ import annotations

from pyboot_svc.config import Endpoint
from pyboot_svc.worker.messages import Sendable, StoredMessage
from pyboot_svc.worker.mqtt.wire.encoder import (
    LONGEST_ID_PROPERTY,
    encode_user_properties,
    publish_size,
)


class PacketSizes:
    """In bytes, of what goes to `endpoint`; results at the QoS `qos`."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._topic = endpoint.topic
        self._v5 = endpoint.broker.protocol == "5"
        self.qos = endpoint.qos

    def of(self, item: Sendable) -> int:
        """Of the largest one."""
        if isinstance(item, StoredMessage):
            properties = len(encode_user_properties(item.properties)) if self._v5 else 0
            return publish_size(item.topic, len(item.payload), item.qos, properties)
        return self.of_result(max(map(len, item.payloads)))

    def of_result(self, payload: int) -> int:
        """With a payload of so many bytes."""
        properties = LONGEST_ID_PROPERTY if self._v5 else 0
        return publish_size(self._topic, payload, self.qos, properties)
