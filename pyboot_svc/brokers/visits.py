"""Looks at one end of a model: connects as its worker would, and asks what that would ask."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from pyboot_svc.config import InstanceConfig
from pyboot_svc.worker.messages import Sendable, StoredMessage
from pyboot_svc.worker.mqtt.guest import Guest, Visit
from pyboot_svc.worker.mqtt.interfaces import BrokerLimits, Link
from pyboot_svc.worker.mqtt.link.opening import Deadline
from pyboot_svc.worker.mqtt.link.paho_client import HINT
from pyboot_svc.worker.mqtt.refusal.refusals import Refusal


@dataclass
class Answers:
    """What a broker said. `limits` are None when it didn't let us in, `ended` says why a visit
    ended before all was answered.

    `granted` are the codes of its SUBACKs with their words, by filter; `published` the outcome by
    topic: None for a message that it took.
    """

    limits: BrokerLimits | None = None
    ended: str = ""
    granted: dict[str, tuple[int, str]] = field(default_factory=dict)
    published: dict[str, Refusal | None] = field(default_factory=dict)


def ask_to_subscribe(config: InstanceConfig, filters: Sequence[str], qos: int) -> Answers:
    """What becomes of these subscriptions at the pre broker; what they bring is passed over."""
    return _Subscribing(config, filters, qos).answers()


def ask_to_publish(config: InstanceConfig, topics: Sequence[str], payload: bytes) -> Answers:
    """What becomes of `payload` on these topics, if there are any, at the post broker."""
    return _Publishing(config, topics, payload).answers()


class _Asking(Guest):
    """Within one deadline."""

    # What is to be answered when it runs out.
    last = ""

    def __init__(self, config: InstanceConfig, role: str) -> None:
        self._visit = Visit(config, role)
        self._answers = Answers()
        self._deadline = Deadline()

    def answers(self) -> Answers:
        ended = self._visit.make(self, self._deadline)
        self._answers.ended = self._answers.ended or ended
        return self._answers

    def on_connected(self, link: Link, session_present: bool, limits: BrokerLimits) -> None:
        self._answers.limits = limits
        self.ask(link, limits)
        self._look()

    def on_turn(self) -> None:
        if not self._deadline.left:
            self._answers.ended = str(self._deadline.no_answer(self.last, HINT))
            self._visit.leave()

    def ask(self, link: Link, limits: BrokerLimits) -> None:
        raise NotImplementedError

    @property
    def done(self) -> bool:
        raise NotImplementedError

    def _look(self) -> None:
        if self.done:
            self._visit.leave()


class _Subscribing(_Asking):
    last = "SUBSCRIBE"

    def __init__(self, config: InstanceConfig, filters: Sequence[str], qos: int) -> None:
        super().__init__(config, "pre")
        self._filters = filters
        self._qos = qos

    def ask(self, link: Link, limits: BrokerLimits) -> None:
        for topic_filter in self._filters:
            link.subscribe(topic_filter, self._qos)

    def on_subscribed(self, topic_filter: str, code: int, reason: str) -> None:
        self._answers.granted[topic_filter] = code, reason
        self._look()

    @property
    def done(self) -> bool:
        return len(self._answers.granted) == len({*self._filters})


class _Publishing(_Asking):
    """One after the other: a broker may allow no more in flight."""

    last = "PUBLISH"

    def __init__(self, config: InstanceConfig, topics: Sequence[str], payload: bytes) -> None:
        super().__init__(config, "post")
        self._rest = list(topics)
        self._payload = payload
        self._link: Link
        self._qos = 0

    def ask(self, link: Link, limits: BrokerLimits) -> None:
        self._link = link
        self._qos = min(1, limits.qos)  # at QoS 0 nothing is answered
        self._publish_next()

    def on_published(self, safe: list[Sendable], refused: list[tuple[Sendable, Refusal]]) -> None:
        for item, refusal in [*((item, None) for item in safe), *refused]:
            assert isinstance(item, StoredMessage)  # we sent nothing else
            self._answers.published[item.topic] = refusal
            self._rest.remove(item.topic)
        self._publish_next()
        self._look()

    @property
    def done(self) -> bool:
        return not self._rest

    def _publish_next(self) -> None:
        if self._rest:
            row = StoredMessage(self._rest[0], self._payload, self._qos, {})
            for _, reason in self._link.plane.publish_rows([row]):
                self._answers.ended = reason
                self._visit.leave()
