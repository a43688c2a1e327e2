"""Publishes to the post broker, in order, and tells when each message is safe there."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from pyboot_svc.config import InstanceConfig
from pyboot_svc.logs import RateLimit
from pyboot_svc.metrics.snapshot import ConnectionStatus
from pyboot_svc.text import printable
from pyboot_svc.worker.messages import (
    DEAD_LETTERS,
    RESULTS,
    Chunk,
    Destination,
    MessageBatch,
    ResultBatch,
    Sendable,
    StoredMessage,
    by_destination,
    content_of,
    count_of,
    lane_of,
)
from pyboot_svc.worker.mqtt.interfaces import (
    MAX_PACKET_BYTES,
    BrokerLimits,
    InHand,
    Link,
    Session,
    Source,
)
from pyboot_svc.worker.mqtt.link.connection import Connection
from pyboot_svc.worker.mqtt.link.life import Terms, TransportOptions
from pyboot_svc.worker.mqtt.presence import presence_of
from pyboot_svc.worker.mqtt.reactor import Reactor
from pyboot_svc.worker.mqtt.refusal.holds import place_of
from pyboot_svc.worker.mqtt.refusal.objections import Objections
from pyboot_svc.worker.mqtt.refusal.refusals import Refusal
from pyboot_svc.worker.mqtt.refusal.unknown_window import UnknownWindow
from pyboot_svc.worker.mqtt.wire.encoder import encode_result_properties, unsendable
from pyboot_svc.worker.mqtt.wire.plane import DataPlane, NoPlane
from pyboot_svc.worker.mqtt.wire.send_buffer import LONG_PAYLOAD

_WINDOW = 2000
# paho looks at every message in flight at every PUBACK: more would cost more than it gains.
_PLAIN_WINDOW = 100
_LETTER_QOS, _MOST_QOS = 1, 2

log = logging.getLogger(__name__)


class MqttOutbox:
    """Keeps up to a window of messages in flight, taken from the source only while connected.

    What is usual is here; what a broker has against messages is seen to by `Objections`.
    """

    def __init__(
        self,
        config: InstanceConfig,
        reactor: Reactor | None = None,
        in_hand: InHand | None = None,
    ) -> None:
        edge = config.edge
        self._endpoint = edge.post
        properties = encode_result_properties(edge.results)
        self._usual = Destination(edge.post.topic, edge.post.qos, edge.results.retain, properties)
        self._v5 = edge.post.broker.protocol == "5"
        # Of QoS 2 paho keeps the account.
        bulk = edge.data_plane == "bulk" and edge.post.qos < 2
        self._window = _WINDOW if bulk else _PLAIN_WINDOW
        self._untold = UnknownWindow() if edge.post.qos == 2 and not self._v5 else None
        self._limits = BrokerLimits(self._window, MAX_PACKET_BYTES)
        self._qos = edge.post.qos
        self._retain = edge.results.retain
        self._said_limits = False
        self._stopping = False
        self._in_hand = in_hand
        self._objections = Objections(edge.post, edge.results, self._window)
        self._log_limit = RateLimit(5, 10.0)
        self._link: Link
        self._source: Source  # from `start` on
        self._plane: DataPlane = NoPlane()
        self.waiting = False
        client_id = edge.post.broker.client_id_of(config.identity, "post")
        self._presence = presence_of(config)
        session = Session(client_id, False, self._window, will=self._presence.will)
        options = TransportOptions(bulk, edge.max_linger_us, reactor, edge.results)
        self._connection = Connection(Terms("post", edge.post.broker, session, options), self)
        # Look for something to send: soon, or results here and now if possible.
        self.wake = self._connection.wake
        self.try_send = self._connection.try_send
        # The one result of a chunk, here and now, of which the source is told; False unless it is
        # sent.
        self.send_lone: Callable[[Chunk], bool]
        self.send_lone = partial(self._connection.in_turn, self._send_lone)

    @property
    def overdue(self) -> float:
        return self._connection.overdue

    @property
    def status(self) -> ConnectionStatus:
        return self._connection.status

    @property
    def trouble(self) -> str | None:
        """Why results don't go out though the broker is there; None if they do."""
        reason = self._objections.trouble
        return f"it refuses results for now: {reason}; trying again" if reason else None

    @property
    def in_flight(self) -> int:
        return self._plane.in_flight

    def start(self, source: Source, on_crash: Callable[[], None]) -> None:
        self._source = self._presence.watched(source)
        self._connection.start(on_crash)

    def leaving(self, *, for_good: bool = False) -> None:
        """What is at hand is being finished, and this instance won't come back if `for_good`."""
        self._presence.leaving(for_good=for_good)
        self.wake()

    def stop(self, timeout: float) -> None:
        self._stopping = True
        self._presence.stopped()
        self._connection.stop(timeout)

    # What the connection tells:

    @property
    def full(self) -> bool:
        return False

    def on_connected(self, link: Link, session_present: bool, limits: BrokerLimits) -> None:
        self._link, self._plane = link, link.plane
        window = self._window if self._untold is None else self._untold.size
        self._limits = limits._replace(in_flight=min(window, limits.in_flight))
        self._qos = min(self._endpoint.qos, limits.qos)
        properties = self._usual.properties
        retain = self._retain and limits.retains
        self._usual = Destination(self._endpoint.topic, self._qos, retain, properties)
        at_once = self._connection.status.attempts == 1
        self._presence.connected(at_once=at_once)
        self._say_limits(limits)
        self._objections.connected(limits, self._qos, at_once=at_once)
        self._source.connected()

    def _say_limits(self, limits: BrokerLimits) -> None:
        if self._said_limits:
            return
        if limits.qos < max(self._endpoint.qos, _LETTER_QOS):
            self._said_limits = True
            log.warning(
                "post broker takes no QoS above %d: results (QoS %d) and dead letters (QoS %d) "
                "are published at QoS %d",
                limits.qos,
                self._endpoint.qos,
                _LETTER_QOS,
                limits.qos,
            )
        if self._retain and not limits.retains:
            self._said_limits = True
            log.warning("post broker keeps no messages: results are published without `retain`")

    def on_subscribed(self, topic_filter: str, code: int, reason: str) -> None:
        raise AssertionError("an outbox subscribes to nothing")

    def on_unsubscribed(self) -> None:
        raise AssertionError("an outbox unsubscribes from nothing")

    def on_messages(self, batch: MessageBatch) -> None:
        log.warning("post broker sent %d messages without a subscription", len(batch))

    def on_lost(self, in_flight: list[Sendable]) -> str | None:
        objections, link = self._objections, self._link
        # At a stop it is the worker that hangs up, and a network that fails minds no message.
        blameless = self._stopping or link.lifeless
        suspicion = None if blameless else self._presence.lost(in_flight, link)
        judged = not blameless and suspicion is None
        in_flight = self._presence.without_own(in_flight)
        if self._untold is not None and not blameless:
            self._untold.lost(sum(map(count_of, in_flight)))
        culprit = objections.culprit(in_flight, link) if judged else None
        again = objections.take_back()
        if culprit is not None:
            in_flight = [item for item in in_flight if item is not culprit]
            self._refuse(culprit, objections.give_up(culprit, link))
        if again:
            in_flight = sorted(again + in_flight, key=place_of)
        self._source.lost(in_flight)
        self._plane = NoPlane()
        self.waiting = False
        return objections.explain(link) if judged else suspicion or None

    def on_published(self, safe: list[Sendable], refused: list[tuple[Sendable, Refusal]]) -> None:
        objections, presence = self._objections, self._presence
        if presence.unanswered:
            told = safe, refused
            safe = presence.without_own(safe)
            refused = [one for one in refused if presence.without_own([one[0]])]
            presence.answered(*told)
        for item, refusal in refused:
            if not objections.takes(item, refusal):
                self._refuse(item, f"the post broker: {refusal.text}")
        if objections.active:
            safe = objections.safe(safe)
            unsafe = presence.without_own(self._plane.unsafe())
            for lane, again in objections.answered(unsafe):
                self._source.hold(lane, again)
            self._connection.wake()
        if not safe:
            return
        if self._untold is not None:
            self._untold.answered(sum(map(count_of, safe)))
        if self._qos == 0:
            objections.unanswered.written(safe)
        self._source.delivered(safe)

    def on_turn(self) -> None:
        source, objections = self._source, self._objections
        if self._presence.due:
            room, forbids = self._room(), self._objections.forbids
            self._presence.send(self._plane, self._limits, room, forbids)
        if objections.active:
            for lane in objections.due():
                source.resume(lane)
        self._send_rows(from_disk=True)
        self._send_results()
        self.waiting = source.ready()
        if objections.active and not self.waiting and self._plane.in_flight == 0:
            objections.end()

    def on_try_send(self) -> None:
        rows = self._source.rows_ready()
        if rows:
            self._send_rows(from_disk=False)
        more = self._send_results()
        self.waiting = more or (rows and self._source.rows_ready())

    def _send_lone(self, chunk: Chunk) -> bool:
        objections = self._objections
        payload: bytes = chunk.results[0]  # type: ignore[assignment]  # of one that is plain
        size = len(payload)
        if objections.active or size >= LONG_PAYLOAD or not self._source.is_next(chunk):
            return False
        if objections.bounded and objections.forbids_result(payload, chunk):
            return False
        plane, usual = self._plane, self._usual
        if usual.qos and plane.room(self._limits.in_flight) <= 0:
            return False
        on_its_way = plane.publish_lone(usual, chunk, payload)
        if on_its_way is None:
            objections.unanswered.written_one(size)
            self._source.published_at_once(chunk)
            return True
        self._source.on_its_way(on_its_way)
        if plane.wants_write:
            self.wake()
        return True

    def wants_turn(self) -> bool:
        # While answers and the time say when the next may be sent, they have the loop turn.
        return not self._objections.slows and self._room() > 0 and self._source.ready()

    def _room(self) -> int:
        room = self._plane.room(self._limits.in_flight)
        if self._objections.active:
            room = self._objections.room(room, self._plane.in_flight)
        return room

    def _send_rows(self, *, from_disk: bool) -> None:
        room = self._room()
        if room <= 0:
            return
        rows = self._source.take_rows(room, from_disk=from_disk)
        limited = self._limits.qos < _MOST_QOS or not self._limits.retains
        # What a row may do, it does in hand: a crash is counted against it.
        for row in rows if self._in_hand is None else self._in_hand.each(rows):
            if limited:
                row = self._allowed(row)
            if not self._fits(row):
                continue
            failed = self._plane.publish_rows([row])
            for _, failure in failed:
                self._refuse(row, failure)
            if self._objections.active and not failed:
                self._objections.sent(answered=row.qos > 0)

    def _allowed(self, row: StoredMessage) -> StoredMessage:
        """As the broker takes it."""
        options = row.options
        if not self._limits.retains and row.lane == RESULTS:
            others = options[1] if options is not None else self._usual.properties
            options = False, others
        return replace(row, qos=min(row.qos, self._limits.qos), options=options)

    def _send_results(self) -> bool:
        """Whether there may be more, for which there was no room."""
        plane, objections = self._plane, self._objections
        room = plane.room(self._limits.in_flight)
        if objections.active:
            room = objections.room(room, plane.in_flight)
        if room <= 0:
            return True
        results: Sequence[ResultBatch] = self._source.take_results(room)
        if not results:
            return False
        unusual = False
        for one in results:
            room -= len(one.payloads)
            unusual = unusual or one.chunk.unusual
        if objections.bounded:
            results = [part for batch in results for part in self._fitting(batch)]
        if unusual:
            failed = self._publish_by_destination(results)
        else:
            failed = plane.publish_results(self._usual, results)
        for batch, failure in failed:
            self._refuse(batch, failure)
        if objections.active:
            objections.sent(answered=self._qos > 0)
        return room == 0

    def _publish_by_destination(
        self, batches: Sequence[ResultBatch]
    ) -> list[tuple[ResultBatch, str]]:
        failed: list[tuple[ResultBatch, str]] = []
        for results in batches:
            for to, part in by_destination(results, self._usual):
                if to.qos > self._limits.qos or to.retain > self._limits.retains:
                    retain = to.retain and self._limits.retains
                    to = replace(to, qos=min(to.qos, self._limits.qos), retain=retain)
                failed += self._plane.publish_results(to, [part])
        return failed

    def _fitting(self, results: ResultBatch) -> list[ResultBatch]:
        """What of it the broker takes; the rest is refused here.

        The broker would close the connection, and again each time it is tried.
        """
        if self._objections.forbids(results) is None:
            return [results]
        found, start = [], 0
        for number, payload in enumerate(results.payloads):
            reason = self._objections.forbids_result(payload, results.chunk)
            if reason is not None:
                if start < number:
                    found.append(results.part(start, number))
                self._refuse(results.part(number, number + 1), reason)
                start = number + 1
        if start < len(results):
            found.append(results.part(start, len(results)))
        return found

    def _fits(self, row: StoredMessage) -> bool:
        crashes = self._in_hand.crashes(row) if self._in_hand is not None else 0
        if crashes:
            self._refuse(row, f"the process died {crashes} times when it was to be sent")
            return False
        reason = row.flaw or unsendable(row.topic, row.properties if self._v5 else {})
        if reason is None:
            reason = self._objections.forbids(row)
        if reason is None:
            return True
        self._refuse(row, reason)
        return False

    def _refuse(self, item: Sendable, reason: str) -> None:
        silent = self._log_limit.admit("refused")
        if silent is not None:
            topic, _ = content_of(item, self._endpoint.topic)
            what, end = "a result", "is given up"
            if lane_of(item) == DEAD_LETTERS:
                what, end = "a dead letter", "is only kept locally"
            more = f" ({silent} more were not shown)" if silent else ""
            log.error("%s for %s %s: %s%s", what, printable(topic), end, reason, more)
        self._source.refused([item], reason)
