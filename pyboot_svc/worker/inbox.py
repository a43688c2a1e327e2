"""Takes messages from the pre broker, and acknowledges them there when told to."""

from __future__ import annotations

import logging
import os
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

from pyboot_svc.config import InstanceConfig
from pyboot_svc.worker.connection import Carriage, Connection
from pyboot_svc.worker.handler import BrokerLimits, Session
from pyboot_svc.worker.leader import Leader
from pyboot_svc.worker.link import LinkStatus
from pyboot_svc.worker.message import Batch
from pyboot_svc.worker.outgoing import Sendable

log = logging.getLogger(__name__)

Deliver = Callable[[Batch], None]


class MqttInbox:
    """Subscribes, hands on whole batches, and sends acknowledgements in the order they come.

    `subscriptions` is where it notes what its session at the broker is subscribed to.
    """

    def __init__(
        self, config: InstanceConfig, subscriptions: Path, leader: Leader | None = None
    ) -> None:
        edge = config.edge
        self._endpoint = edge.pre
        shared = f"$share/{config.identity.share_group}/{edge.pre.topic}"
        self._filter = shared if edge.share and edge.instance > 1 else edge.pre.topic
        self._other_filter = edge.pre.topic if self._filter == shared else shared
        self._subscriptions = subscriptions
        self._persistent = edge.pre.qos > 0
        session = Session(
            config.identity.client_id,
            persistent=edge.pre.qos > 0,
            window=min(edge.queue.pre, 65_535),
        )
        carriage = Carriage(edge.data_plane == "bulk", edge.max_linger_us, leader)
        self._window = session.window
        self._connection = Connection("pre", edge.pre.broker, session, carriage, self)
        self._acknowledged: deque[tuple[int, Sequence[int]]] = deque()
        self._deliver: Deliver = lambda batch: None
        self._unacknowledged: Callable[[], int] = int
        self._subscribed = False
        self._open = True
        self._leaving = False
        self._last_arrival = time.monotonic()

    @property
    def overdue(self) -> float:
        return self._connection.overdue

    @property
    def status(self) -> LinkStatus:
        return self._connection.status

    @property
    def subscribed(self) -> bool:
        return self._subscribed

    def start(
        self, deliver: Deliver, unacknowledged: Callable[[], int], on_crash: Callable[[], None]
    ) -> None:
        """`unacknowledged` says how many of QoS 1 were delivered, and not acknowledged yet."""
        self._deliver = deliver
        self._unacknowledged = unacknowledged
        self._connection.start(on_crash)

    def acknowledge(self, session: int, mids: Sequence[int]) -> None:
        """These are done with; they came by the connection that `session` numbers."""
        self._acknowledged.append((session, mids))
        self._connection.nudge()

    def leave(self) -> None:
        """Unsubscribe for good; what the broker holds for this session already still comes in."""
        self._leaving = True
        self._connection.wake()

    @property
    def quiet_seconds(self) -> float:
        """How long ago the last messages came."""
        return time.monotonic() - self._last_arrival

    def close_intake(self) -> None:
        """Take nothing more in; what is in hand can still be acknowledged."""
        self._open = False
        self._connection.wake()

    def stop(self, timeout: float) -> None:
        self._connection.stop(timeout, end_session=self._leaving)

    @property
    def full(self) -> bool:
        """Whether the broker has sent more than it was told to: not every one keeps to it."""
        return self._persistent and self._unacknowledged() > self._window

    def on_connected(self, session_present: bool, limits: BrokerLimits) -> None:
        if self._persistent:
            # The session remembers what it was subscribed to before the configuration changed.
            noted = self._noted()
            others = {*noted, self._other_filter} - {self._filter} if session_present else ()
            for other in sorted(others):
                self._connection.unsubscribe(other)
            if self._filter not in noted:
                self._note([*noted, self._filter])
        # At QoS 2 a client owns a message from its PUBREC on, long before it is processed; at
        # QoS 1 the broker keeps it until it is acknowledged, and duplicates can be recognised.
        self._connection.subscribe(self._filter, min(self._endpoint.qos, 1))

    def on_subscribed(self, refusal: str | None) -> None:
        if refusal is not None:
            self._connection.drop(f"the subscription to {self._filter} was refused: {refusal}")
            return
        if not self._subscribed:
            log.info("subscribed to %s at QoS %d", self._filter, self._endpoint.qos)
            if self._persistent and self._noted() != [self._filter]:
                self._note([self._filter])  # the broker answers in order: the others are gone
        self._subscribed = True

    def on_lost(self, in_flight: list[Sendable]) -> None:
        self._subscribed = False

    def on_messages(self, batch: Batch) -> None:
        self._last_arrival = time.monotonic()
        self._deliver(batch)

    def on_published(self, safe: list[Sendable], refused: list[tuple[Sendable, str]]) -> None:
        raise AssertionError("an inbox publishes nothing")

    def wants_turn(self) -> bool:
        return bool(self._acknowledged)

    def on_nudge(self) -> bool:
        while self._acknowledged:
            self._connection.acknowledge(*self._acknowledged.popleft())
        return False

    def on_turn(self) -> None:
        self.on_nudge()
        done = self._leaving or (not self._open and self._endpoint.qos == 0)
        if done and self._subscribed:
            self._subscribed = False
            self._connection.unsubscribe(self._filter)

    def _noted(self) -> list[str]:
        try:
            text = self._subscriptions.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            return []
        return [line for line in text.split("\n") if line]

    def _note(self, filters: list[str]) -> None:
        text = "".join(f"{topic}\n" for topic in filters)
        try:
            _replace(self._subscriptions, text)
        except OSError as error:
            log.warning(
                "%s can't be written: %s; when pre_topic is changed, the broker will go on sending "
                "what is published to the old one, too",
                self._subscriptions,
                error.strerror,
            )


def _replace(file: Path, text: str) -> None:
    """Whenever the process or the host dies, the file is the old one or the new one."""
    partial = file.with_name(f".{file.name}.partial")
    with partial.open("w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    partial.replace(file)
