"""Publishes to the post broker, in order, and tells when each message is safe there."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace

from pyboot_svc.config import InstanceConfig
from pyboot_svc.logs import RateLimit
from pyboot_svc.metrics.snapshot import ConnectionStatus
from pyboot_svc.text import printable
from pyboot_svc.worker.messages import (
    DEAD_LETTERS,
    RESULTS,
    MessageBatch,
    ResultBatch,
    Sendable,
    StoredMessage,
    count_of,
    lane_of,
)
from pyboot_svc.worker.mqtt.interfaces import (
    MAX_PACKET_BYTES,
    BrokerLimits,
    InHand,
    Session,
    Source,
)
from pyboot_svc.worker.mqtt.link.connection import Connection, TransportOptions
from pyboot_svc.worker.mqtt.reactor import Reactor
from pyboot_svc.worker.mqtt.refusal.hangups import HangUps, Lesson, Unanswered
from pyboot_svc.worker.mqtt.refusal.holds import Holds, place_of
from pyboot_svc.worker.mqtt.refusal.refusals import Refusal
from pyboot_svc.worker.mqtt.refusal.unknown_window import UnknownWindow
from pyboot_svc.worker.mqtt.wire.encoder import (
    LONGEST_ID_PROPERTY,
    encode_user_properties,
    publish_size,
    unsendable,
)

_WINDOW = 2000
# paho looks at every message in flight at every PUBACK: more would cost more than it gains.
_PLAIN_WINDOW = 100
_LETTER_QOS = 1
_SAMPLE = 8

log = logging.getLogger(__name__)


class MqttOutbox:
    """Keeps up to a window of messages in flight, taken from the source only while connected."""

    def __init__(
        self,
        config: InstanceConfig,
        leader: Reactor | None = None,
        in_hand: InHand | None = None,
    ) -> None:
        edge = config.edge
        self._endpoint = edge.post
        self._v5 = edge.post.broker.protocol == "5"
        # Of QoS 2 paho keeps the account.
        bulk = edge.data_plane == "bulk" and edge.post.qos < 2
        self._window = _WINDOW if bulk else _PLAIN_WINDOW
        self._untold = UnknownWindow() if edge.post.qos == 2 and not self._v5 else None
        session = Session(f"{config.identity.client_id}-post", False, self._window)
        carriage = TransportOptions(bulk, edge.max_linger_us, leader)
        self._connection = Connection("post", edge.post.broker, session, carriage, self)
        self._limits = BrokerLimits(self._window, MAX_PACKET_BYTES)
        self._qos = edge.post.qos
        self._said_qos = False
        self._stopping = False
        self._in_hand = in_hand
        self._holds = Holds(self._window)
        self._hang_ups = HangUps(edge.post.topic)
        self._unanswered = Unanswered()
        self._lessons = {RESULTS: Lesson(), DEAD_LETTERS: Lesson(optional=True)}
        # Whether the lessons may have something to learn from what is taken.
        self._given_up = False
        self._letters_in_flight = 0
        self._log_limit = RateLimit(5, 10.0)
        self._source: Source  # from `start` on

    @property
    def overdue(self) -> float:
        return self._connection.overdue

    @property
    def status(self) -> ConnectionStatus:
        return self._connection.status

    @property
    def trouble(self) -> str | None:
        """Why results don't go out though the broker is there; None if they do."""
        reason = self._holds.reason(RESULTS)
        return f"it refuses results for now: {reason}; trying again" if reason else None

    @property
    def in_flight(self) -> int:
        return self._connection.in_flight

    def start(self, source: Source, on_crash: Callable[[], None]) -> None:
        self._source = source
        self._connection.start(on_crash)

    def wake(self) -> None:
        """Look for something to send, soon."""
        self._connection.wake()

    def try_send(self) -> None:
        """Look for results to send, here and now if possible."""
        self._connection.try_send()

    def stop(self, timeout: float) -> None:
        self._stopping = True
        self._connection.stop(timeout)

    @property
    def full(self) -> bool:
        return False

    def on_connected(self, session_present: bool, limits: BrokerLimits) -> None:
        window = self._window if self._untold is None else self._untold.size
        self._limits = replace(limits, in_flight=min(window, limits.in_flight))
        self._qos = min(self._endpoint.qos, limits.qos)
        if limits.qos < max(self._endpoint.qos, _LETTER_QOS) and not self._said_qos:
            self._said_qos = True
            log.warning(
                "post broker takes no QoS above %d: results (QoS %d) and dead letters (QoS %d) "
                "are published at QoS %d",
                limits.qos,
                self._endpoint.qos,
                _LETTER_QOS,
                limits.qos,
            )
        self._hang_ups.connected(at_once=self._connection.status.attempts == 1)
        self._source.connected()

    def on_subscribed(self, code: int, reason: str) -> None:
        raise AssertionError("an outbox subscribes to nothing")

    def on_messages(self, batch: MessageBatch) -> None:
        log.warning("post broker sent %d messages without a subscription", len(batch))

    def on_lost(self, in_flight: list[Sendable]) -> str | None:
        if self._untold is not None and not self._stopping:
            self._untold.lost(sum(map(count_of, in_flight)))
        # At a stop it is the worker that hangs up.
        culprit = None if self._stopping else self._culprit(in_flight)
        again = self._holds.lost()
        self._letters_in_flight = 0
        if culprit is not None:
            in_flight = [item for item in in_flight if item is not culprit]
            self._give_up(culprit)
        if again:
            in_flight = sorted(again + in_flight, key=place_of)
        self._source.lost(in_flight)
        if not self._hang_ups.suspects:
            return self._judge_unanswered()
        if not any(lesson.slow for lesson in self._lessons.values()):
            self._connection.hurry()
        return f"it happens whenever the same message is sent: {self._suspicion(self._qos or 1)}"

    def _culprit(self, in_flight: list[Sendable]) -> Sendable | None:
        if self._connection.silent:
            others = self._connection.selective
            return self._hang_ups.ignored(in_flight, others_answered=others)
        return self._hang_ups.lost(in_flight)

    def on_published(self, safe: list[Sendable], refused: list[tuple[Sendable, Refusal]]) -> None:
        if self._letters_in_flight:
            self._letters_in_flight -= _count_letters(safe)
        for item, refusal in refused:
            self._letters_in_flight -= lane_of(item) == DEAD_LETTERS
            if not self._holds.takes(item, refusal, self._endpoint.topic):
                self._refuse(item, f"the post broker: {refusal.text}")
        if self._unusual:
            safe = self._note_unusual(safe)
        if safe:
            if self._untold is not None:
                self._untold.answered(sum(map(count_of, safe)))
            if self._qos == 0 and (sizes := _some_sizes(safe)):
                self._unanswered.written(sizes)
            if self._given_up:
                self._learn(safe)
            self._source.delivered(safe)

    def on_turn(self) -> None:
        for lane in self._holds.due():
            self._source.resume(lane)
        self._send_rows(from_disk=True)
        self._send_results()
        if self._holds.active and self.in_flight == 0 and not self._source.ready():
            self._holds.end()

    def on_try_send(self) -> bool:
        rows = self._source.rows_ready()
        if rows:
            self._send_rows(from_disk=False)
        more = self._send_results()
        return more or (rows and self._source.rows_ready())

    def wants_turn(self) -> bool:
        # While something is unusual, answers and the time have the loop turn.
        return not self._unusual and self._source.ready() and self._room() > 0

    @property
    def _unusual(self) -> bool:
        return self._holds.active or self._hang_ups.alone

    def _room(self) -> int:
        room = self._connection.room(self._limits.in_flight)
        if not self._unusual:
            return room
        if self._holds.stopping:
            return 0
        if self._hang_ups.alone:
            return min(room, 1 - self.in_flight) if self._hang_ups.may_send() else 0
        return min(room, self._holds.window - self.in_flight)

    def _send_rows(self, *, from_disk: bool) -> None:
        room = self._room()
        if room <= 0:
            return
        rows = [row for row in self._source.take_rows(room, from_disk=from_disk) if self._fits(row)]
        if self._limits.qos < _LETTER_QOS or self._qos < self._endpoint.qos:
            rows = [replace(row, qos=min(row.qos, self._limits.qos)) for row in rows]
        for row in rows if self._in_hand is None else self._in_hand.each(rows):
            self._publish_row(row)

    def _publish_row(self, row: StoredMessage) -> None:
        for _, failure in self._connection.publish_rows([row]):
            self._refuse(row, failure)
            return
        self._letters_in_flight += row.lane == DEAD_LETTERS
        if self._hang_ups.alone:
            self._hang_ups.sent(answered=row.qos > 0)

    def _send_results(self) -> bool:
        """Whether there may be more, for which there was no room."""
        room = self._room()
        if room <= 0:
            return True
        results: Sequence[ResultBatch] = self._source.take_results(room)
        if not results:
            return False
        full = sum(map(len, results)) == room
        if self._limits.packet_bytes < MAX_PACKET_BYTES or self._given_up:
            results = [part for parcel in results for part in self._fitting(parcel)]
        for parcel, failure in self._connection.publish_results(
            self._endpoint.topic, self._qos, results
        ):
            self._refuse(parcel, failure)
        if self._hang_ups.alone:
            self._hang_ups.sent(answered=self._qos > 0)
        return full

    def _note_unusual(self, safe: list[Sendable]) -> list[Sendable]:
        """Gives what is safe, and comes to no second time."""
        if self._holds.active:
            safe = self._holds.safe(safe)
            letters = self._letters_in_flight
            left = {RESULTS: self.in_flight - letters, DEAD_LETTERS: letters}
            for lane, again in self._holds.answered(left):
                self._source.hold(lane, again)
        if self._hang_ups.alone:
            self._hang_ups.delivered(sum(map(count_of, safe)))
        self._connection.wake()
        return safe

    def _judge_unanswered(self) -> str | None:
        """What is known of a loss soon after results of QoS 0 were sent."""
        length, certain = self._unanswered.lost()
        if length is None or self._stopping:
            return None
        size = self._packet_size(length)
        if certain:
            for lesson in self._lessons.values():
                lesson.warned(size)
            self._given_up = True
        return f"right after a result of {size} bytes was sent at QoS 0: {self._suspicion(0)}"

    def _learn(self, safe: list[Sendable]) -> None:
        for item in safe:
            self._lessons[lane_of(item)].taken(self._size(item))
        self._given_up = any(lesson.open for lesson in self._lessons.values())

    def _give_up(self, item: Sendable) -> None:
        """It was alone in flight each time that the broker closed the connection, or the only one
        without an answer."""
        size, lane = self._size(item), lane_of(item)
        qos = item.qos if isinstance(item, StoredMessage) else self._qos
        if self._connection.silent:
            self._refuse(
                item,
                f"the post broker leaves it without an answer, and has one for others "
                f"({size} bytes, QoS {qos}): {self._suspicion(qos)}",
            )
            return
        self._lessons[lane].given_up(size)
        if lane == RESULTS:
            # What comes of it among the dead letters is no smaller.
            self._lessons[DEAD_LETTERS].warned(size)
        self._given_up = True
        self._refuse(
            item,
            f"the post broker closes the connection whenever it is sent ({size} bytes, QoS {qos}): "
            f"{self._suspicion(qos)}",
        )

    def _suspicion(self, qos: int) -> str:
        """By MQTT 5 the broker has told which QoS it takes."""
        more = ", or of a QoS that it doesn't support" if qos and not self._v5 else ""
        return f"is it larger than the broker takes, or for a topic that it doesn't allow{more}?"

    def _fitting(self, parcel: ResultBatch) -> list[ResultBatch]:
        """What of it the broker takes; the rest is refused here.

        The broker would close the connection, and again each time it is tried.
        """
        if self._too_large(self._size(parcel), RESULTS) is None:
            return [parcel]
        found, start = [], 0
        for number, payload in enumerate(parcel.payloads):
            reason = self._too_large(self._result_size(payload), RESULTS)
            if reason is not None:
                if start < number:
                    found.append(parcel.part(start, number))
                self._refuse(parcel.part(number, number + 1), reason)
                start = number + 1
        if start < len(parcel):
            found.append(parcel.part(start, len(parcel)))
        return found

    def _fits(self, row: StoredMessage) -> bool:
        crashes = self._in_hand.crashes(row) if self._in_hand is not None else 0
        if crashes and self._in_hand is not None:
            self._in_hand.clear(row)
            self._refuse(row, f"the process died {crashes} times when it was to be sent")
            return False
        reason = unsendable(row.topic, row.properties if self._v5 else {})
        if reason is None:
            reason = self._too_large(self._row_size(row), row.lane)
        if reason is None:
            return True
        self._refuse(row, reason)
        return False

    def _too_large(self, size: int, lane: int) -> str | None:
        if size > self._limits.packet_bytes:
            return f"the post broker: larger than the {self._limits.packet_bytes} bytes it takes"
        lesson = self._lessons[lane]
        if lesson.bytes is not None and lesson.forbids(size):
            return (
                f"the post broker: {size} bytes, and it closed the connection whenever one of "
                f"{lesson.bytes} was sent"
            )
        return None

    def _size(self, item: Sendable) -> int:
        """Of the packet; of the largest one."""
        if isinstance(item, StoredMessage):
            return self._row_size(item)
        return self._result_size(max(item.payloads, key=len))

    def _row_size(self, row: StoredMessage) -> int:
        properties = len(encode_user_properties(row.properties)) if self._v5 else 0
        return publish_size(row.topic, len(row.payload), row.qos, properties)

    def _result_size(self, payload: bytes) -> int:
        return self._packet_size(len(payload))

    def _packet_size(self, payload: int) -> int:
        properties = LONGEST_ID_PROPERTY if self._v5 else 0
        return publish_size(self._endpoint.topic, payload, self._qos, properties)

    def _refuse(self, item: Sendable, reason: str) -> None:
        silent = self._log_limit.admit("refused")
        if silent is not None:
            topic = item.topic if isinstance(item, StoredMessage) else self._endpoint.topic
            what, end = "a result", "is given up"
            if lane_of(item) == DEAD_LETTERS:
                what, end = "a dead letter", "is only kept locally"
            more = f" ({silent} more were not shown)" if silent else ""
            log.error("%s for %s %s: %s%s", what, printable(topic), end, reason, more)
        self._source.refused([item], reason)


def _count_letters(items: Sequence[Sendable]) -> int:
    return sum(lane_of(item) == DEAD_LETTERS for item in items)


def _some_sizes(items: Sequence[Sendable]) -> list[int]:
    """Of the payloads of a few results: to look at each would cost too much."""
    found: list[int] = []
    for item in items[-_SAMPLE:]:
        if isinstance(item, ResultBatch):
            found += map(len, item.payloads[-_SAMPLE:])
        elif item.lane == RESULTS:
            found.append(len(item.payload))
    return found
