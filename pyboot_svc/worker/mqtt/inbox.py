"""Takes messages from the pre broker, and acknowledges them there when told to."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

from pyboot_svc.config import InstanceConfig
from pyboot_svc.metrics.snapshot import ConnectionStatus
from pyboot_svc.model.formats import codec_of
from pyboot_svc.text import printable
from pyboot_svc.worker.messages import MessageBatch, Sendable, StoredMessage
from pyboot_svc.worker.mqtt.interfaces import (
    BrokerLimits,
    Count,
    Deliver,
    Link,
    Session,
)
from pyboot_svc.worker.mqtt.link.connection import Connection
from pyboot_svc.worker.mqtt.link.life import Terms, TransportOptions
from pyboot_svc.worker.mqtt.link.paho_client import SESSION_SECONDS
from pyboot_svc.worker.mqtt.reactor import Reactor
from pyboot_svc.worker.mqtt.refusal.refusals import Refusal
from pyboot_svc.worker.mqtt.session.notes import SessionNotes
from pyboot_svc.worker.mqtt.session.partition import Partition
from pyboot_svc.worker.mqtt.session.retained import NewRetained, NoRetained
from pyboot_svc.worker.mqtt.session.sieve import Sieve
from pyboot_svc.worker.mqtt.wire.plane import DataPlane, NoPlane
from pyboot_svc.worker.notices import Notices

log = logging.getLogger(__name__)

# Of the clock of arrivals, in ns.
_SECOND = 1e9
# Of a SUBACK, from here on.
REFUSED = 0x80
UNSHARED = (
    "several instances need them; with `share: false` each gets every message, with `instance: 1` "
    "and `threads` one does all"
)
_SHORT_SESSION = (
    "the pre broker keeps the session for %d s only, not the %d s that it was asked for: after a "
    "longer absence what was published is missing"
)
_LOWER_QOS = (
    "the pre broker granted QoS %d for %s, not QoS %d: inputs can get lost; its configuration or "
    "its access rules limit it"
)


class MqttInbox:
    """Subscribes, hands on whole batches, and sends acknowledgements in the order they come.

    `subscriptions` is where it notes what its session at the broker is subscribed to.
    """

    def __init__(
        self, config: InstanceConfig, subscriptions: Path, reactor: Reactor | None = None
    ) -> None:
        edge = config.edge
        self._endpoint = edge.pre
        group, plain = config.identity.share_group, edge.pre.topics
        shared = tuple(f"$share/{group}/{topic}" for topic in plain)
        several = edge.instance > 1
        self._shared = edge.share and several and edge.partition is None
        self._filters, self._other_filters = (shared, plain) if self._shared else (plain, shared)
        self._named = printable(" and ".join(self._filters))
        # Those that the broker has granted, at which QoS.
        self._granted: dict[str, int] = {}
        self._client_id = edge.pre.broker.client_id_of(config.identity, "pre")
        self._notes = SessionNotes(subscriptions, edge.pre.broker.address, self._client_id)
        self._notices = Notices()
        self._persistent = edge.pre.qos > 0
        repeats = edge.pre.broker.protocol != "5" and self._persistent and not self._shared
        self._sieves: list[Sieve] = []
        if edge.partition is not None and several:
            decode = codec_of(edge).decode
            number = config.identity.number
            self._sieves.append(Partition(edge.partition, number, edge.instance, decode))
        if edge.retained == "ignore":
            self._sieves.append(NoRetained())
        elif repeats:
            self._sieves.append(NewRetained())
        self._asked_qos = min(edge.pre.qos, 1)
        session = Session(
            self._client_id,
            persistent=edge.pre.qos > 0,
            window=min(edge.queue.pre, 65_535),
            max_message=edge.max_message,
        )
        options = TransportOptions(edge.data_plane == "bulk", edge.max_linger_us, reactor)
        self._window = session.window
        self._connection = Connection(Terms("pre", edge.pre.broker, session, options), self)
        self._link: Link
        self._plane: DataPlane = NoPlane()
        # Whether there are acknowledgements to send.
        self.waiting = False
        self._acknowledged: deque[tuple[int, Sequence[int]]] = deque()
        self._commands: deque[StoredMessage] = deque()
        self._deliver: Deliver = lambda batch: None
        self._unacknowledged: Callable[[], int] = int
        self._count: Count = lambda name, count: None
        self._crowded: Callable[[], bool] = bool
        self._subscribed = False
        self._open = True
        self._leaving = False
        self._left = False
        # UNSUBSCRIBEs that the broker has not answered yet.
        self._unanswered = 0
        self._last_arrival = time.monotonic()

    @property
    def overdue(self) -> float:
        return self._connection.overdue

    @property
    def status(self) -> ConnectionStatus:
        return self._connection.status

    @property
    def notices(self) -> list[str]:
        """What the broker grants less than it was asked for."""
        return self._notices.texts

    @property
    def subscribed(self) -> bool:
        return self._subscribed

    def start(
        self,
        deliver: Deliver,
        unacknowledged: Callable[[], int],
        crowded: Callable[[], bool],
        count: Count,
        on_crash: Callable[[], None],
    ) -> None:
        """`unacknowledged` says how many of QoS 1 were delivered, and not acknowledged yet;
        `crowded`, whether as many bytes are held as may be. `count` is told of sessions that were
        lost, or may be."""
        self._count = count
        self._deliver = deliver
        self._crowded = crowded
        self._unacknowledged = unacknowledged
        self._connection.start(on_crash)

    def acknowledge(self, batch: MessageBatch, start: int, stop: int) -> None:
        """These of a batch that it delivered are done with."""
        self._acknowledged.append((batch.session, batch.packet_ids[start:stop]))
        self.waiting = True
        self._connection.try_send()

    def command(self, topic: str, payload: bytes) -> None:
        """Publish this at QoS 0 to who sends the input, as soon as there is a connection; from any
        thread."""
        self._commands.append(StoredMessage(topic, payload, 0, {}, options=(False, b"")))
        self.waiting = True
        self._connection.try_send()

    def leave(self) -> None:
        """Unsubscribe for good; what the broker holds for this session already still comes in."""
        self._leaving = True
        self._connection.wake()

    @property
    def quiet_seconds(self) -> float:
        """How long ago the last messages came; of one that leaves, 0 until the broker has answered
        that it sends nothing new."""
        if self._leaving and not self._left and self.status.state == "connected":
            return 0.0
        return time.monotonic() - self._last_arrival

    def close_intake(self) -> None:
        """Take nothing more in; what is in hand can still be acknowledged."""
        self._open = False
        self._connection.wake()

    def stop(self, timeout: float) -> None:
        self._connection.stop(timeout, end_session=self._leaving)

    @property
    def full(self) -> bool:
        """Whether the broker has sent more than it was told to, which not every one keeps to, or
        more bytes than there is room for. Of QoS 0 what is too much is dropped instead."""
        return self._persistent and (self._unacknowledged() > self._window or self._crowded())

    def on_connected(self, link: Link, session_present: bool, limits: BrokerLimits) -> None:
        self._link, self._plane = link, link.plane
        self._unanswered = 0
        if self._shared and not limits.shares:
            self._link.drop(f"it has no shared subscriptions: {UNSHARED}", refused=True)
            return
        if self._persistent:
            self._resume(session_present, limits)
        else:
            self._forget()  # a clean start has just ended what session there was
        # Anew for each connection: mosquitto forgets a session's shared subscriptions when it is
        # restarted, and keeps the session.
        # At QoS 2 a client owns a message from its PUBREC on, long before it is processed; at
        # QoS 1 the broker keeps it until it is acknowledged, and duplicates can be recognised.
        self._granted = {}
        for topic_filter in self._filters:
            self._link.subscribe(topic_filter, self._asked_qos)

    def _resume(self, present: bool, limits: BrokerLimits) -> None:
        """Go on with the session that the broker has kept, or begin one."""
        noted = self._notes.filters()
        if not present:
            for sieve in self._sieves:
                sieve.forget()
        if not present and self._notes.established:
            self._count("sessions_lost", 1)
            log.warning(
                "the pre broker has lost the session %s: what it held of %s, and what was "
                "published since, may be missing; does it keep sessions when it is restarted "
                "(mosquitto: `persistence true`), and for as long as this instance was away?",
                self._client_id,
                self._named,
            )
        elif present and self._shared:
            self._count("sessions_unsure", 1)
            log.log(
                logging.WARNING if self.status.connects > 1 else logging.INFO,
                "the pre broker has kept the session %s, which doesn't say that it has kept its "
                "shared subscription %s: when mosquitto is restarted, what is published before the "
                "instances are back is missing",
                self._client_id,
                self._named,
            )
        kept = limits.session_seconds
        short = kept is not None and kept < SESSION_SECONDS
        self._notices.show("session", _SHORT_SESSION % (kept, SESSION_SECONDS) if short else "")
        # The session remembers what it was subscribed to before the configuration changed.
        others = {*noted, *self._other_filters} - {*self._filters} if present else ()
        for other in sorted(others):
            self._unsubscribe(other)
        if not {*self._filters} <= {*noted}:
            self._note(list(dict.fromkeys((*noted, *self._filters))))

    def on_subscribed(self, topic_filter: str, code: int, reason: str) -> None:
        named = printable(topic_filter)
        if code >= REFUSED:
            hint = f"; {UNSHARED}" if self._shared else ""
            self._link.drop(
                f"the subscription to {named} was refused: {reason}{hint}",
                refused=True,
            )
            return
        self._granted[topic_filter] = code
        asked = self._asked_qos
        lower = _LOWER_QOS % (code, named, asked) if code < asked else ""
        self._notices.show(f"qos of {named}", lower)
        if self._subscribed or len(self._granted) < len({*self._filters}):
            return
        for granted, qos in self._granted.items():
            log.info("subscribed to %s at QoS %d", printable(granted), qos)
        if self._persistent:
            self._establish()
        self._subscribed = True

    def on_unsubscribed(self) -> None:
        self._unanswered -= 1
        if self._leaving and not self._subscribed and not self._unanswered:
            # What is still to come was the session's before.
            self._last_arrival = time.monotonic()
            self._left = True

    def on_lost(self, in_flight: list[Sendable]) -> str | None:
        self._subscribed = False
        self._plane = NoPlane()
        return None

    def on_messages(self, batch: MessageBatch) -> None:
        self._last_arrival = batch.arrived[-1] / _SECOND
        batch.origin = self
        for sieve in self._sieves:
            news, others = sieve.sift(batch)
            if others:
                self._plane.acknowledge(batch.session, others)
            if news is None:
                return
            batch = news
        self._deliver(batch)

    def on_published(self, safe: list[Sendable], refused: list[tuple[Sendable, Refusal]]) -> None:
        """Commands need no answer."""

    def wants_turn(self) -> bool:
        return True

    def on_try_send(self) -> None:
        self.waiting = False  # first: what another thread adds from here on is not overlooked
        acknowledged = self._acknowledged
        while acknowledged:
            session, packet_ids = acknowledged.popleft()
            self._plane.acknowledge(session, packet_ids)
        if self._commands:
            self._send_commands()

    def _send_commands(self) -> None:
        commands = [self._commands.popleft() for _ in range(len(self._commands))]
        for command, reason in self._plane.publish_rows(commands):
            log.warning("nothing is published to %s: %s", printable(command.topic), reason)

    def on_turn(self) -> None:
        self.on_try_send()
        done = self._leaving or (not self._open and self._endpoint.qos == 0)
        if done and self._subscribed:
            self._subscribed = False
            for topic_filter in self._filters:
                self._unsubscribe(topic_filter)
            self._forget()  # with a session that is left the broker forgets it, too

    def _unsubscribe(self, topic_filter: str) -> None:
        self._unanswered += 1
        self._link.unsubscribe(topic_filter)

    def _note(self, filters: list[str]) -> None:
        try:
            self._notes.note(filters)
        except OSError as error:
            log.warning(
                "%s can't be written: %s; when pre_topic is changed, the broker will go on sending "
                "what is published to the old one, too",
                self._notes.subscribed,
                error.strerror,
            )

    def _establish(self) -> None:
        """All other subscriptions of the session are gone."""
        if self._notes.filters() != [*self._filters]:
            self._note([*self._filters])
        try:
            self._notes.establish()
        except OSError as error:
            log.warning(
                "%s can't be written: %s; after a restart of this instance nobody will know "
                "whether the broker has lost its session",
                self._notes.session,
                error.strerror,
            )

    def _forget(self) -> None:
        try:
            self._notes.forget()
        except OSError as error:
            log.warning("%s can't be removed: %s", self._notes.session, error.strerror)
