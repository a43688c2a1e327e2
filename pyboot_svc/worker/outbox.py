"""Publishes to the post broker, in order, and tells when each message is safe there."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Protocol

from pyboot_svc.config import InstanceConfig
from pyboot_svc.logs import RateLimit
from pyboot_svc.worker.connection import Connection
from pyboot_svc.worker.handler import MAX_PACKET_BYTES, BrokerLimits, Session
from pyboot_svc.worker.link import LinkStatus
from pyboot_svc.worker.message import Message
from pyboot_svc.worker.outgoing import Outgoing

# paho looks at every message in flight at every PUBACK: more would cost more than it gains.
_WINDOW = 100
# Of a PUBLISH packet beside topic, payload and properties: a little more than it can take.
_HEADER_BYTES = 32

log = logging.getLogger(__name__)


class Source(Protocol):
    """Where the outbox gets its messages; all calls come from the outbox's thread."""

    def connected(self) -> None: ...
    def lost(self, in_flight: list[Outgoing]) -> None: ...
    def ready(self) -> bool: ...
    def take(self, room: int) -> list[Outgoing]: ...
    def delivered(self, items: list[Outgoing]) -> None: ...
    def refused(self, items: list[Outgoing], reason: str) -> None: ...


class MqttOutbox:
    """Keeps up to a window of messages in flight, taken from the source only while connected."""

    def __init__(self, config: InstanceConfig) -> None:
        session = Session(f"{config.identity.client_id}-post", persistent=False, window=_WINDOW)
        self._connection = Connection("post", config.edge.post.broker, session, self)
        self._limits = BrokerLimits(_WINDOW, MAX_PACKET_BYTES)
        self._in_flight: dict[int, Outgoing] = {}
        self._log_limit = RateLimit(5, 10.0)
        self._source: Source | None = None

    @property
    def overdue(self) -> float:
        return self._connection.overdue

    @property
    def status(self) -> LinkStatus:
        return self._connection.status

    @property
    def in_flight(self) -> int:
        return len(self._in_flight)

    def start(self, source: Source, on_crash: Callable[[], None]) -> None:
        self._source = source
        self._connection.start(on_crash)

    def wake(self) -> None:
        self._connection.wake()

    def stop(self, timeout: float) -> None:
        self._connection.stop(timeout)

    def on_connected(self, session_present: bool, limits: BrokerLimits) -> None:
        self._limits = BrokerLimits(min(_WINDOW, limits.in_flight), limits.packet_bytes)
        self._source_or_fail().connected()

    def on_subscribed(self, refusal: str | None) -> None:
        raise AssertionError("an outbox subscribes to nothing")

    def on_messages(self, batch: list[Message]) -> None:
        log.warning("post broker sent %d messages that nobody asked for", len(batch))

    def on_lost(self) -> None:
        unsafe = list(self._in_flight.values())
        self._in_flight.clear()
        self._source_or_fail().lost(unsafe)

    def on_published(self, outcomes: list[tuple[int, str | None]]) -> None:
        safe: list[Outgoing] = []
        for mid, refusal in outcomes:
            item = self._in_flight.pop(mid, None)
            if item is None:
                continue
            if refusal is None:
                safe.append(item)
            else:
                self._refuse(item, refusal)
        if safe:
            self._source_or_fail().delivered(safe)

    def on_turn(self) -> None:
        room = self._limits.in_flight - len(self._in_flight)
        if room <= 0:
            return
        for item in self._source_or_fail().take(room):
            extra = sum(len(key) + len(value) + 5 for key, value in item.properties.items())
            size = len(item.payload) + len(item.topic.encode()) + extra + _HEADER_BYTES
            if size > self._limits.packet_bytes:
                # The broker would close the connection, and again each time it is tried.
                self._refuse(item, f"larger than the {self._limits.packet_bytes} bytes it takes")
                continue
            mid = self._connection.publish(item.topic, item.payload, item.qos, item.properties)
            self._in_flight[mid] = item

    def wants_turn(self) -> bool:
        return len(self._in_flight) < self._limits.in_flight and self._source_or_fail().ready()

    def _refuse(self, item: Outgoing, reason: str) -> None:
        silent = self._log_limit.admit("refused")
        if silent is not None:
            log.error("post broker refused a message for %s: %s (+%d)", item.topic, reason, silent)
        self._source_or_fail().refused([item], reason)

    def _source_or_fail(self) -> Source:
        assert self._source is not None
        return self._source
