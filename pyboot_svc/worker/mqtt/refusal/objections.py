"""All that a broker has against messages, in whatever way it says so: one account of it.

It refuses them, for now or for good; it hangs up when they come; it leaves them unanswered.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from pyboot_svc.config import Endpoint, ResultOptions
from pyboot_svc.worker.messages import (
    DEAD_LETTERS,
    RESULTS,
    Chunk,
    ResultBatch,
    Sendable,
    StoredMessage,
    content_of,
    count_of,
    lane_of,
    topic_of,
)
from pyboot_svc.worker.mqtt.interfaces import MAX_PACKET_BYTES, BrokerLimits, Link
from pyboot_svc.worker.mqtt.refusal.hangups import HangUps
from pyboot_svc.worker.mqtt.refusal.holds import Holds
from pyboot_svc.worker.mqtt.refusal.lessons import Lesson
from pyboot_svc.worker.mqtt.refusal.refusals import Refusal
from pyboot_svc.worker.mqtt.refusal.sizes import PacketSizes
from pyboot_svc.worker.mqtt.refusal.unanswered import Unanswered


class Objections:
    """`active` while there is anything: nothing else has to be asked while there isn't.

    `bounded` says whether a message may be too large for the broker.
    """

    def __init__(self, endpoint: Endpoint, options: ResultOptions, window: int) -> None:
        self._topic = endpoint.topic
        self._v5 = endpoint.broker.protocol == "5"
        self._sizes = PacketSizes(endpoint, options)
        self._most = MAX_PACKET_BYTES
        self._holds = Holds(window)
        self._hang_ups = HangUps(endpoint.topic)
        # What was written at QoS 0.
        self.unanswered = Unanswered()
        self._lessons = {RESULTS: Lesson(), DEAD_LETTERS: Lesson(optional=True)}
        self.active = False
        self.bounded = False

    @property
    def trouble(self) -> str:
        """Why results are refused at the moment; empty when they aren't."""
        return self._holds.reason(RESULTS)

    @property
    def slows(self) -> bool:
        """Whether answers, and the time, say when the next message may be sent."""
        return self._holds.active or self._hang_ups.window is not None

    def connected(self, limits: BrokerLimits, qos: int, *, at_once: bool) -> None:
        """`qos` is that of results; `at_once`: at the first attempt."""
        self._sizes.qos, self._sizes.most_qos = qos, limits.qos
        self._most = limits.packet_bytes
        self._hang_ups.connected(at_once=at_once)
        self._look()

    # While messages are sent:

    def room(self, room: int, in_flight: int) -> int:
        """How many more may be sent, where otherwise there would be `room`."""
        if self._holds.stopping:
            return 0
        if self._hang_ups.alone and not self._hang_ups.may_send():
            return 0
        if self._hang_ups.window is not None:
            room = min(room, self._hang_ups.window - in_flight)
        return min(room, self._holds.window - in_flight) if self._holds.active else room

    def sent(self, *, answered: bool) -> None:
        """Something was, which will be `answered` or not."""
        if self._hang_ups.alone:
            self._hang_ups.sent(answered=answered)

    def forbids(self, item: Sendable) -> str | None:
        """Why the broker would close the connection for it, or for one of its results."""
        by_topic = self._lessons[RESULTS].of_topics
        if by_topic and isinstance(item, ResultBatch) and item.chunk.unusual:
            found = (self.forbids_result(payload, item.chunk) for payload in item.payloads)
            return next(filter(None, found), None)
        topic, _ = content_of(item, self._topic)
        return self._reason_against(self._sizes.of(item), topic, lane_of(item))

    def forbids_result(self, payload: bytes, chunk: Chunk) -> str | None:
        size = self._sizes.of_result(payload, chunk)
        return self._reason_against(size, topic_of(payload, self._topic), RESULTS)

    def due(self) -> Iterator[int]:
        """The lanes that may be tried again."""
        return self._holds.due()

    def end(self) -> None:
        """Nothing is in flight, and nothing waits: all that was tried again was taken."""
        if self._holds.active:
            self._holds.end()
            self._look()

    # When the broker has answered:

    def takes(self, item: Sendable, refusal: Refusal) -> bool:
        """Whether one that was refused is to be sent again, by `answered`."""
        taken = self._holds.takes(item, refusal, self._topic)
        self._look()
        return taken

    def safe(self, items: list[Sendable]) -> list[Sendable]:
        """While `active`: those of `items` that are, and come to no second time."""
        if self._holds.active:
            items = self._holds.safe(items)
        if self._hang_ups.window is not None:
            self._hang_ups.delivered(sum(map(count_of, items)))
        if any(lesson.open for lesson in self._lessons.values()):
            for item in items:
                topic, _ = content_of(item, self._topic)
                size = self._sizes.of(item)
                self._lessons[lane_of(item)].taken(size, topic)
                if lane_of(item) == RESULTS:
                    self._lessons[DEAD_LETTERS].disproved(size)
        self._look()
        return items

    def answered(self, in_flight: Sequence[Sendable]) -> Iterator[tuple[int, list[Sendable]]]:
        """The lanes of which nothing is in flight any more, with what is to be sent again."""
        if not self._holds.stopping:
            return
        left: Counter[int] = Counter()
        for item in in_flight:
            left[lane_of(item)] += count_of(item)
        yield from self._holds.answered(left)

    # When the connection was lost:

    def culprit(self, in_flight: list[Sendable], link: Link) -> Sendable | None:
        """The message that is to blame for it."""
        if link.silent:
            return self._hang_ups.ignored(in_flight, others_answered=link.selective)
        return self._hang_ups.lost(in_flight)

    def take_back(self) -> list[Sendable]:
        """What is to be sent again by another connection."""
        again = self._holds.lost()
        self._look()
        return again

    def give_up(self, item: Sendable, link: Link) -> str:
        """It was alone in flight each time that the broker closed the connection, or the only one
        without an answer. Gives the reason in words."""
        size, lane = self._sizes.of(item), lane_of(item)
        qos = item.qos if isinstance(item, StoredMessage) else self._sizes.qos
        about = f"({size} bytes, QoS {qos}): {link.farewell or self._suspicion(qos)}"
        if link.silent:
            return f"the post broker leaves it without an answer, and has one for others {about}"
        topic, _ = content_of(item, self._topic)
        self._lessons[lane].given_up(size, topic, too_large=link.too_large)
        if lane == RESULTS and self._lessons[RESULTS].closes(topic):
            self._lessons[DEAD_LETTERS].disproved(size)
        elif lane == RESULTS:
            # What comes of it among the dead letters is no smaller.
            self._lessons[DEAD_LETTERS].warned(size)
        self._look()
        return f"the post broker closes the connection whenever it is sent {about}"

    def explain(self, link: Link) -> str | None:
        """What is known of the reason."""
        if not self._hang_ups.suspects:
            return self._judge_unanswered(link)
        if not any(lesson.slow for lesson in self._lessons.values()):
            link.hurry()
        happens = "it happens whenever the same message is sent"
        # What the broker has said of it stands before that.
        return happens if link.farewell else f"{happens}: {self._suspicion(self._sizes.qos or 1)}"

    def _judge_unanswered(self, link: Link) -> str | None:
        """What is known of a loss soon after results of QoS 0 were sent."""
        length, certain = self.unanswered.lost()
        if length is None:
            return None
        # At QoS 0 few have an id; where they have, what is a little smaller is taken for as large.
        size = self._sizes.of_length(length, named=False)
        if certain:
            for lesson in self._lessons.values():
                lesson.warned(size)
            self._look()
        after = f"right after a result of {size} bytes was sent at QoS 0"
        return after if link.farewell else f"{after}: {self._suspicion(0)}"

    def _suspicion(self, qos: int) -> str:
        """By MQTT 5 the broker has told which QoS it takes."""
        more = ", or of a QoS that it doesn't support" if qos and not self._v5 else ""
        return f"is it larger than the broker takes, or for a topic that it doesn't allow{more}?"

    def _reason_against(self, size: int, topic: str, lane: int) -> str | None:
        if size > self._most:
            return f"the post broker: larger than the {self._most} bytes it takes"
        lesson = self._lessons[lane]
        if lesson.bytes is not None and lesson.forbids(size, topic):
            return (
                f"the post broker: {size} bytes, and it closed the connection whenever one of "
                f"{lesson.bytes} was sent"
            )
        if lesson.of_topics and lesson.closes(topic):
            return "the post broker: it closed the connection for each one to this topic"
        return None

    def _look(self) -> None:
        """At what has just been changed."""
        lessons = any(lesson.open for lesson in self._lessons.values())
        self.bounded = lessons or self._most < MAX_PACKET_BYTES
        self.active = lessons or self.slows
