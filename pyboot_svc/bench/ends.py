"""A worker's two connections without a network: its data planes on sockets in memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pyboot_svc.config import Broker, Edge
from pyboot_svc.worker.messages import Destination, MessageBatch, ResultBatch
from pyboot_svc.worker.mqtt.interfaces import BrokerLimits, Session
from pyboot_svc.worker.mqtt.link.paho_client import ControlClient
from pyboot_svc.worker.mqtt.wire.bulk_plane import BulkPlane
from pyboot_svc.worker.mqtt.wire.decoder import Decoder
from pyboot_svc.worker.mqtt.wire.encoder import PublishEncoder, encode_pubacks
from pyboot_svc.worker.mqtt.wire.plane import PlaneOwner

_SESSION = 1
_WINDOW = 65_535


class PreEnd:
    """Where messages come from: `offer` them, then `read` them as a worker does."""

    def __init__(self, edge: Edge, topic: str) -> None:
        protocol = edge.pre.broker.protocol
        self._socket = MemorySocket()
        self._taken = _Taken()
        self._plane = _plane("pre", protocol, edge.max_message, self._socket, self._taken)
        properties = b"\0" if protocol == "5" else b""
        self._encoder = PublishEncoder(topic, min(edge.pre.qos, 1), properties)

    def offer(self, payloads: Sequence[bytes]) -> None:
        """The broker has sent these."""
        packet_ids = range(1, len(payloads) + 1)
        self._socket.receive(b"".join(self._encoder.encode(payloads, packet_ids)))

    def read(self) -> MessageBatch:
        while self._socket.unread:
            self._plane.read()
        return self._taken.all()

    def acknowledge(self, batch: MessageBatch) -> None:
        if any(batch.packet_ids):
            self._plane.acknowledge(_SESSION, batch.packet_ids)
            self._plane.write()


class PostEnd:
    """Where results go."""

    def __init__(self, edge: Edge) -> None:
        protocol = edge.post.broker.protocol
        self._socket = MemorySocket()
        self._plane = _plane("post", protocol, edge.max_message, self._socket, _Taken())
        self._destination = Destination(edge.post.topic, min(edge.post.qos, 1))
        self._broker = Decoder(protocol == "5", edge.max_message)

    def write(self, results: Sequence[ResultBatch]) -> None:
        self._plane.publish_results(self._destination, results)
        self._plane.write()

    def answer(self) -> None:
        """The broker acknowledges what was written."""
        packet_ids = self._broker.feed(self._socket.written()).packet_ids
        if any(packet_ids):
            self._socket.receive(encode_pubacks(packet_ids))

    def settle(self) -> None:
        """Take the broker's answers."""
        while self._socket.unread:
            self._plane.read()


class MemorySocket:
    """What is read from it was put there, and what is written can be looked at."""

    def __init__(self) -> None:
        self._incoming = memoryview(b"")
        self._outgoing: list[bytes] = []

    def receive(self, data: bytes) -> None:
        self._incoming = memoryview(data)

    @property
    def unread(self) -> int:
        return len(self._incoming)

    def written(self) -> bytes:
        """All since the last time."""
        found, self._outgoing = b"".join(self._outgoing), []
        return found

    def recv(self, size: int) -> bytes:
        data, self._incoming = self._incoming[:size], self._incoming[size:]
        return bytes(data)

    def send(self, data: Any) -> int:
        self._outgoing.append(bytes(data))
        return len(data)


class _Taken:
    """What a data plane has brought."""

    def __init__(self) -> None:
        self._batches: list[MessageBatch] = []

    def on_messages(self, batch: MessageBatch) -> None:
        self._batches.append(batch)

    def on_published(self, safe: object, refused: object) -> None: ...

    def all(self) -> MessageBatch:
        """Since the last time, as one: there was something."""
        first, *others = self._batches
        self._batches = []
        for batch in others:
            first.extend(batch)
        return first


class _Silence:
    """Of a client that never connects nothing is told."""

    def on_connected(self, session_present: bool, limits: BrokerLimits) -> None: ...
    def on_subscribed(self, code: int, reason: str) -> None: ...
    def on_unsubscribed(self) -> None: ...
    def on_ended(self, reason: str, *, taken_over: bool = False, refused: bool = False) -> None: ...


def _plane(
    role: str, protocol: str, max_message: int, sock: MemorySocket, owner: PlaneOwner
) -> BulkPlane:
    session = Session("pyboot-bench", False, _WINDOW, max_message)
    client = ControlClient(role, Broker("localhost", protocol=protocol), session, _Silence())
    return BulkPlane(client, sock, _SESSION, owner)
