"""Publishes to the post broker, in order, and tells when each message is safe there."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Protocol

from pyboot_svc.config import InstanceConfig
from pyboot_svc.logs import RateLimit
from pyboot_svc.worker.connection import Carriage, Connection
from pyboot_svc.worker.handler import MAX_PACKET_BYTES, BrokerLimits, Session
from pyboot_svc.worker.leader import Leader
from pyboot_svc.worker.link import LinkStatus
from pyboot_svc.worker.message import Batch, Parcel
from pyboot_svc.worker.outgoing import Outgoing, Sendable

_WINDOW = 2000
# paho looks at every message in flight at every PUBACK: more would cost more than it gains.
_PLAIN_WINDOW = 100
# Of a PUBLISH packet beside topic, payload and properties: a little more than it can take.
_HEADER_BYTES = 96

log = logging.getLogger(__name__)


class Source(Protocol):
    """Where the outbox gets its messages, one call at a time.

    `take_rows` reads the disk unless it is told not to, and then it gives what was read ahead: only
    the outbox's thread has the time. The results go to the endpoint's topic.
    """

    def connected(self) -> None: ...
    def lost(self, in_flight: list[Sendable]) -> None: ...
    def ready(self) -> bool: ...
    def rows_ready(self) -> bool: ...
    def take_rows(self, room: int, *, from_disk: bool = True) -> list[Outgoing]: ...
    def take_results(self, room: int) -> list[Parcel]: ...
    def delivered(self, items: list[Sendable]) -> None: ...
    def refused(self, items: list[Sendable], reason: str) -> None: ...


class MqttOutbox:
    """Keeps up to a window of messages in flight, taken from the source only while connected."""

    def __init__(self, config: InstanceConfig, leader: Leader | None = None) -> None:
        edge = config.edge
        self._endpoint = edge.post
        # Of QoS 2 paho keeps the account.
        bulk = edge.data_plane == "bulk" and edge.post.qos < 2
        self._window = _WINDOW if bulk else _PLAIN_WINDOW
        session = Session(f"{config.identity.client_id}-post", False, self._window)
        carriage = Carriage(bulk, edge.max_linger_us, leader)
        self._connection = Connection("post", edge.post.broker, session, carriage, self)
        self._limits = BrokerLimits(self._window, MAX_PACKET_BYTES)
        self._log_limit = RateLimit(5, 10.0)
        self._source: Source  # from `start` on

    @property
    def overdue(self) -> float:
        return self._connection.overdue

    @property
    def status(self) -> LinkStatus:
        return self._connection.status

    @property
    def in_flight(self) -> int:
        return self._connection.in_flight

    def start(self, source: Source, on_crash: Callable[[], None]) -> None:
        self._source = source
        self._connection.start(on_crash)

    def wake(self) -> None:
        """Look for something to send, soon."""
        self._connection.wake()

    def nudge(self) -> None:
        """Look for results to send, here and now if possible."""
        self._connection.nudge()

    def stop(self, timeout: float) -> None:
        self._connection.stop(timeout)

    @property
    def full(self) -> bool:
        return False

    def on_connected(self, session_present: bool, limits: BrokerLimits) -> None:
        self._limits = BrokerLimits(min(self._window, limits.in_flight), limits.packet_bytes)
        self._source.connected()

    def on_subscribed(self, code: int, reason: str) -> None:
        raise AssertionError("an outbox subscribes to nothing")

    def on_messages(self, batch: Batch) -> None:
        log.warning("post broker sent %d messages that nobody asked for", len(batch))

    def on_lost(self, in_flight: list[Sendable]) -> None:
        self._source.lost(in_flight)

    def on_published(self, safe: list[Sendable], refused: list[tuple[Sendable, str]]) -> None:
        for item, reason in refused:
            self._refuse(item, reason)
        if safe:
            self._source.delivered(safe)

    def on_turn(self) -> None:
        self._send_rows(from_disk=True)
        self._send_results()

    def on_nudge(self) -> bool:
        rows = self._source.rows_ready()
        if rows:
            self._send_rows(from_disk=False)
        more = self._send_results()
        return more or (rows and self._source.rows_ready())

    def _send_rows(self, *, from_disk: bool) -> None:
        room = self._room()
        if room > 0:
            rows = self._source.take_rows(room, from_disk=from_disk)
            if fitting := [row for row in rows if self._row_fits(row)]:
                self._connection.publish_rows(fitting)

    def _send_results(self) -> bool:
        """Whether there may be more, for which there was no room."""
        room = self._room()
        if room <= 0:
            return True
        results: Sequence[Parcel] = self._source.take_results(room)
        if not results:
            return False
        full = sum(map(len, results)) == room
        if self._limits.packet_bytes < MAX_PACKET_BYTES:
            results = [part for parcel in results for part in self._fitting(parcel)]
        self._connection.publish_results(self._endpoint.topic, self._endpoint.qos, results)
        return full

    def wants_turn(self) -> bool:
        return self._source.ready() and self._room() > 0

    def _room(self) -> int:
        return self._connection.room(self._limits.in_flight)

    def _fitting(self, parcel: Parcel) -> list[Parcel]:
        """What of it the broker takes; the rest is refused here.

        The broker would close the connection, and again each time it is tried.
        """
        most = self._limits.packet_bytes - _HEADER_BYTES - len(self._endpoint.topic.encode())
        found, start = [], 0
        for number, payload in enumerate(parcel.payloads):
            if len(payload) > most:
                if start < number:
                    found.append(parcel.part(start, number))
                self._refuse(parcel.part(number, number + 1), self._too_large())
                start = number + 1
        if start < len(parcel):
            found.append(parcel.part(start, len(parcel)))
        return found

    def _row_fits(self, row: Outgoing) -> bool:
        size = len(row.payload) + _HEADER_BYTES + len(row.topic.encode())
        size += sum(len(key) + len(value) + 5 for key, value in row.properties.items())
        if size <= self._limits.packet_bytes:
            return True
        self._refuse(row, self._too_large())
        return False

    def _too_large(self) -> str:
        return f"larger than the {self._limits.packet_bytes} bytes it takes"

    def _refuse(self, item: Sendable, reason: str) -> None:
        silent = self._log_limit.admit("refused")
        if silent is not None:
            topic = item.topic if isinstance(item, Outgoing) else self._endpoint.topic
            log.error("post broker refused a message for %s: %s (+%d)", topic, reason, silent)
        self._source.refused([item], reason)
