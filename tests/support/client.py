"""The tests' own MQTT client: a plant that publishes, and somebody who reads the results."""

from __future__ import annotations

import json
import threading
from types import TracebackType
from typing import Any

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from support.poll import until

_SESSION_SECONDS = 3600


class Plant:
    """A connected client. `received` holds (topic, payload) of all that arrived, in order.

    With a `session` of that name the broker keeps what arrives while it is not connected.
    """

    def __init__(self, port: int, protocol: str = "5", session: str = "") -> None:
        self.received: list[tuple[str, bytes]] = []
        self._subscribed = threading.Event()
        self._client = _client(protocol, session)
        self._client.on_message = self._on_message
        self._client.on_subscribe = lambda *_: self._subscribed.set()
        # One of its own: paho 2.1 takes what comes at QoS 2 off its account of what goes out, and
        # then sends more than the broker takes.
        self._source = _client(protocol, "")
        self._source.max_inflight_messages_set(20)
        self._source.max_queued_messages_set(0)
        _connect(self._client, port, protocol, session)
        _connect(self._source, port, protocol, "")
        for client in (self._client, self._source):
            client.reconnect_delay_set(1, 1)
            client.loop_start()
        for client in (self._client, self._source):
            until(client.is_connected, "the test's client is connected")

    def __enter__(self) -> Plant:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def subscribe(self, topic: str, qos: int = 2) -> Plant:
        self._subscribed.clear()
        self._client.subscribe(topic, qos)
        assert self._subscribed.wait(20), "no SUBACK"
        return self

    def publish(self, topic: str, payload: Any, qos: int = 0, *, retain: bool = False) -> None:
        """Publish bytes as they are, anything else as JSON; returns when it has been sent."""
        self._source.publish(topic, _encoded(payload), qos, retain).wait_for_publish(20)

    def publish_all(self, topic: str, payloads: list[Any], qos: int = 0) -> None:
        """Publish many without waiting for each; returns when all have been sent."""
        infos = [self._source.publish(topic, _encoded(item), qos) for item in payloads]
        for info in infos:
            info.wait_for_publish(60)

    def publish_soon(self, topic: str, payloads: list[Any], qos: int = 0) -> None:
        """Publish many, and don't wait until they have been sent."""
        for item in payloads:
            self._source.publish(topic, _encoded(item), qos)

    def payloads(self, topic: str | None = None) -> list[Any]:
        """What arrived (on `topic`), decoded."""
        return [json.loads(data) for name, data in list(self.received) if topic in (None, name)]

    def wait_for(self, count: int, timeout: float = 30.0) -> list[Any]:
        """Wait until `count` messages have arrived; gives all, decoded."""
        until(lambda: len(self.received) >= count, f"{count} messages", timeout)
        return self.payloads()

    def close(self) -> None:
        for client in (self._client, self._source):
            client.disconnect()
            client.loop_stop()

    def _on_message(self, client: Client, userdata: Any, message: MQTTMessage) -> None:
        self.received.append((message.topic, bytes(message.payload)))


def _client(protocol: str, session: str) -> Client:
    v5 = protocol == "5"
    return Client(
        CallbackAPIVersion.VERSION2,
        client_id=session,
        clean_session=None if v5 else not session,
        protocol=MQTTProtocolVersion.MQTTv5 if v5 else MQTTProtocolVersion.MQTTv311,
    )


def _connect(client: Client, port: int, protocol: str, session: str) -> None:
    if protocol != "5" or not session:
        client.connect("127.0.0.1", port)
        return
    properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
    properties.SessionExpiryInterval = _SESSION_SECONDS
    client.connect("127.0.0.1", port, clean_start=False, properties=properties)


def _encoded(payload: Any) -> bytes:
    return payload if isinstance(payload, bytes) else json.dumps(payload).encode()
