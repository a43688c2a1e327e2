"""A worker's two ends without a network: its data planes on sockets in memory, and what sees
messages to their end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pyboot_svc.config import Broker, Edge, InstanceConfig
from pyboot_svc.model.state import ModelState
from pyboot_svc.worker.delivery.completion import Completion
from pyboot_svc.worker.delivery.dead_letters import DeadLetters
from pyboot_svc.worker.delivery.model_state import StateSaver
from pyboot_svc.worker.delivery.post_queue import PostQueue
from pyboot_svc.worker.delivery.settlement import Settlement
from pyboot_svc.worker.durables import Durables
from pyboot_svc.worker.memory_budget import MemoryBudget
from pyboot_svc.worker.messages import (
    Chunk,
    Destination,
    MessageBatch,
    ResultBatch,
    Sendable,
    by_destination,
)
from pyboot_svc.worker.mqtt.interfaces import BrokerLimits, Session
from pyboot_svc.worker.mqtt.link.paho_client import ControlClient
from pyboot_svc.worker.mqtt.wire.bulk_plane import BulkPlane
from pyboot_svc.worker.mqtt.wire.decoder import Decoder
from pyboot_svc.worker.mqtt.wire.encoder import PublishEncoder, encode_pubacks
from pyboot_svc.worker.mqtt.wire.plane import PlaneOwner
from pyboot_svc.worker.stats import Stats

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
        batch = self._taken.all()
        batch.origin = self
        return batch

    def acknowledge(self, batch: MessageBatch, start: int, stop: int) -> None:
        self._plane.acknowledge(_SESSION, batch.packet_ids[start:stop])

    def write(self) -> None:
        """What was acknowledged since the last time."""
        self._plane.write()


class PostEnd:
    """Where results go, from the model thread to the acknowledgement of their inputs."""

    def __init__(self, config: InstanceConfig, durables: Durables) -> None:
        edge = config.edge
        protocol = edge.post.broker.protocol
        budget = MemoryBudget(edge.queue.bytes)
        # What the model keeps is not saved.
        saver = StateSaver(ModelState({}), durables.store)
        letters = DeadLetters(
            config, durables.store, durables.spool.dead_letters, wake=lambda: None
        )
        self._queue = PostQueue(edge.queue.post, budget)
        settlement = Settlement(budget, saver)
        self._completion = Completion(self._queue, letters, saver, settlement, Stats())
        self._socket = MemorySocket()
        self._plane = _plane("post", protocol, edge.max_message, self._socket, self)
        self._usual = Destination(edge.post.topic, min(edge.post.qos, 1))
        self._broker = Decoder(protocol == "5", edge.max_message)

    def hand_on(self, chunk: Chunk) -> None:
        """What the model has made of it, as a model thread does it; failures are none here."""
        chunk.failures.clear()
        self._completion.hand_on(chunk, last=True)

    def write(self) -> bool:
        """As much as is in the window; whether there was something."""
        taken = self._queue.take(self._plane.room(_WINDOW))
        if any(results.chunk.unusual for results in taken):
            for results in taken:
                for to, part in by_destination(results, self._usual):
                    self._plane.publish_results(to, [part])
        else:
            self._plane.publish_results(self._usual, taken)
        self._plane.write()
        return bool(taken)

    def answer(self) -> None:
        """The broker acknowledges what was written."""
        packet_ids = self._broker.feed(self._socket.written()).packet_ids
        if any(packet_ids):
            self._socket.receive(encode_pubacks(packet_ids))

    def settle(self) -> None:
        """Take the broker's answers."""
        while self._socket.unread:
            self._plane.read()

    def on_messages(self, batch: MessageBatch) -> None:
        raise AssertionError("results are only sent")

    def on_published(self, safe: list[Sendable], refused: object) -> None:
        self._completion.published([item for item in safe if isinstance(item, ResultBatch)])


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
    def on_subscribed(self, topic_filter: str, code: int, reason: str) -> None: ...
    def on_unsubscribed(self) -> None: ...
    def on_ended(self, reason: str, *, taken_over: bool = False, refused: bool = False) -> None: ...


def _plane(
    role: str, protocol: str, max_message: int, sock: MemorySocket, owner: PlaneOwner
) -> BulkPlane:
    session = Session("pyboot-bench", False, _WINDOW, max_message)
    client = ControlClient(role, Broker("localhost", protocol=protocol), session, _Silence())
    return BulkPlane(client, sock, _SESSION, owner)
