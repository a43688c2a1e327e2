"""Publishes results to the post broker, in order, and tells when each is safe there."""

from __future__ import annotations

import logging
from collections.abc import Callable

from pyboot_svc.config import InstanceConfig
from pyboot_svc.logs import RateLimit
from pyboot_svc.worker.connection import Connection
from pyboot_svc.worker.handler import MAX_PACKET_BYTES, BrokerLimits, Session
from pyboot_svc.worker.link import LinkStatus
from pyboot_svc.worker.message import Message
from pyboot_svc.worker.queues import PostQueue

# paho looks at every message in flight at every PUBACK: more would cost more than it gains.
_WINDOW = 100
# Of a PUBLISH packet beside topic and payload: a little more than it can take.
_HEADER_BYTES = 16

log = logging.getLogger(__name__)

Published = Callable[[list[Message]], None]


class MqttOutbox:
    """Keeps up to a window of results in flight, taken from the queue only while connected."""

    def __init__(self, config: InstanceConfig) -> None:
        self._endpoint = config.edge.post
        session = Session(f"{config.identity.client_id}-post", persistent=False, window=_WINDOW)
        self._connection = Connection("post", config.edge.post.broker, session, self)
        self._window = _WINDOW
        self._most_bytes = MAX_PACKET_BYTES
        self._in_flight: dict[int, Message] = {}
        self._limit = RateLimit(5, 10.0)
        self._results: PostQueue | None = None
        self._published: Published = lambda messages: None
        self._refused: Published = lambda messages: None

    @property
    def overdue(self) -> float:
        return self._connection.overdue

    @property
    def status(self) -> LinkStatus:
        return self._connection.status

    @property
    def in_flight(self) -> int:
        return len(self._in_flight)

    def start(
        self,
        results: PostQueue,
        published: Published,
        refused: Published,
        on_crash: Callable[[], None],
    ) -> None:
        self._results = results
        self._published = published
        self._refused = refused
        self._connection.start(on_crash)

    def wake(self) -> None:
        self._connection.wake()

    def stop(self, timeout: float) -> None:
        self._connection.stop(timeout)

    def on_connected(self, session_present: bool, limits: BrokerLimits) -> None:
        self._window = min(_WINDOW, limits.in_flight)
        self._most_bytes = limits.packet_bytes - len(self._endpoint.topic.encode()) - _HEADER_BYTES

    def on_subscribed(self, refusal: str | None) -> None:
        raise AssertionError("an outbox subscribes to nothing")

    def on_messages(self, batch: list[Message]) -> None:
        log.warning("post broker sent %d messages that nobody asked for", len(batch))

    def on_lost(self) -> None:
        # paho sends those of QoS 1 and 2 again by itself; those of QoS 0 it has forgotten.
        if self._endpoint.qos == 0 and self._in_flight:
            unsent = list(self._in_flight.values())
            self._in_flight.clear()
            assert self._results is not None
            self._results.put_back(unsent)

    def on_published(self, outcomes: list[tuple[int, str | None]]) -> None:
        safe: list[Message] = []
        refused: list[Message] = []
        for mid, refusal in outcomes:
            message = self._in_flight.pop(mid, None)
            if message is None:
                continue
            (safe if refusal is None else refused).append(message)
            if refusal is not None:
                self._log_refusal(refusal)
        if safe:
            self._published(safe)
        if refused:
            self._refused(refused)

    def on_turn(self) -> None:
        assert self._results is not None
        room = self._window - len(self._in_flight)
        if room <= 0:
            return
        topic, qos = self._endpoint.topic, self._endpoint.qos
        oversize: list[Message] = []
        for message in self._results.take(room):
            assert message.result is not None
            if len(message.result) > self._most_bytes:
                # The broker would close the connection, and again each time it is tried.
                oversize.append(message)
                continue
            self._in_flight[self._connection.publish(topic, message.result, qos)] = message
        if oversize:
            self._log_refusal(f"larger than the {self._most_bytes} bytes that it takes")
            self._refused(oversize)

    def wants_turn(self) -> bool:
        assert self._results is not None
        return self._results.ready > 0 and len(self._in_flight) < self._window

    def _log_refusal(self, refusal: str) -> None:
        silent = self._limit.admit("refused")
        if silent is not None:
            topic = self._endpoint.topic
            log.error("post broker refused a result for %s: %s (+%d)", topic, refusal, silent)
