"""What an instance says of itself to its post broker: online, draining, offline, retained.

A birth when it is connected, and a last will for when it is gone without a word. Nothing of it is
a result: it is not counted, not spooled, and not sent again but by the next connection's birth.
"""

from __future__ import annotations

import json
import logging
import time
from collections import deque
from collections.abc import Callable
from typing import Protocol, cast

from pyboot_svc import __version__
from pyboot_svc.config import InstanceConfig
from pyboot_svc.text import printable
from pyboot_svc.worker.messages import Chunk, ResultBatch, Sendable, StoredMessage
from pyboot_svc.worker.mqtt.home_assistant import Sensors
from pyboot_svc.worker.mqtt.interfaces import BrokerLimits, Link, Source, Will
from pyboot_svc.worker.mqtt.refusal.refusals import Refusal
from pyboot_svc.worker.mqtt.refusal.unwelcome import Unwelcome
from pyboot_svc.worker.mqtt.wire.plane import DataPlane

ONLINE, DRAINING, OFFLINE = "online", "draining", "offline"
# Of results that are looked at for what Home Assistant can show.
_MOST_LOOKED_AT = 20
# What a broker may take one of, and not the other.
_STATUS, _DISCOVERY = "status", "discovery message"

# Why the broker doesn't take a message; None if it may.
Forbids = Callable[[Sendable], str | None]

log = logging.getLogger(__name__)


class Presence(Protocol):
    """Who is told of it: the outbox, from within its connection's calls, but for `leaving` and
    `stopped`."""

    # What the broker says when this one is gone.
    will: Will | None
    # What was sent and not answered.
    unanswered: list[StoredMessage]

    @property
    def due(self) -> bool:
        """Whether there is something to `send`."""

    def watched(self, source: Source) -> Source:
        """The same, looked at as long as that is of use."""

    def connected(self, *, at_once: bool) -> None:
        """`at_once`: at the first attempt."""

    def lost(self, in_flight: list[Sendable], link: Link) -> str | None:
        """The connection was, and these were not answered. None: the first of them is not its own.
        Else that may be the reason, and this is what is known of it."""

    def leaving(self, *, for_good: bool) -> None: ...
    def stopped(self) -> None: ...
    def send(self, plane: DataPlane, limits: BrokerLimits, room: int, forbids: Forbids) -> None: ...
    def without_own(self, items: list[Sendable]) -> list[Sendable]:
        """What of it is not for the presence."""

    def answered(self, safe: list[Sendable], refused: list[tuple[Sendable, Refusal]]) -> None:
        """Some of these may be its own."""


class NoPresence:
    """It wasn't asked for."""

    will: Will | None = None
    due = False

    def __init__(self) -> None:
        self.unanswered: list[StoredMessage] = []

    def watched(self, source: Source) -> Source:
        return source

    def connected(self, *, at_once: bool) -> None: ...
    def lost(self, in_flight: list[Sendable], link: Link) -> str | None:
        return None

    def leaving(self, *, for_good: bool) -> None: ...
    def stopped(self) -> None: ...
    def send(self, plane: DataPlane, limits: BrokerLimits, room: int, forbids: Forbids) -> None: ...
    def without_own(self, items: list[Sendable]) -> list[Sendable]:
        return items

    def answered(self, safe: list[Sendable], refused: list[tuple[Sendable, Refusal]]) -> None: ...


class RetainedPresence:
    """At the topic that the edge names."""

    def __init__(self, config: InstanceConfig) -> None:
        assert config.edge.status is not None
        self._instance = config.identity
        self._topic = config.edge.status.topic_of(config.identity)
        self.will: Will | None = Will(self._topic, self._payload(OFFLINE, None))
        self.unanswered: list[StoredMessage] = []
        self._unwelcome = Unwelcome()
        self._state = ONLINE
        self._for_good = False
        self._sensors = Sensors(config) if config.edge.status.home_assistant else None
        # What is to be said, in order: a state that lasted no longer than a moment, too.
        self._unsaid: deque[tuple[str, bytes]] = deque()

    @property
    def due(self) -> bool:
        return bool(self._unsaid) or self._unwelcome.is_over()

    def watched(self, source: Source) -> Source:
        if self._sensors is None:
            return source
        return cast(Source, _FirstResults(source, self))

    def look_at(self, payload: bytes) -> None:
        """It is one of the first results."""
        if self._sensors is not None:
            self._unsaid.extend(self._sensors.of(payload))

    def connected(self, *, at_once: bool) -> None:
        self.unanswered = []  # of the connection before
        self._unwelcome.connected(at_once=at_once)
        self._say_all()

    def lost(self, in_flight: list[Sendable], link: Link) -> str | None:
        if not in_flight or not self._is_own(in_flight[0]):
            self._unwelcome.lost([], silent=False)
            return None
        topics = [row.topic for row in self.unanswered]
        culprit = self._unwelcome.lost(topics, silent=link.silent)
        if culprit is not None:
            self._give_up(culprit, link)
        if not self._unwelcome.suspects:
            return ""
        link.hurry()
        kind, topic = self._kind(topics[0]), printable(topics[0])
        return f"it happens whenever the {kind} at {topic} is sent"

    def _give_up(self, topic: str, link: Link) -> None:
        kind = self._kind(topic)
        self._unwelcome.give_up(kind)
        does = "leaves it without an answer" if link.silent else "closes the connection for it"
        why = link.farewell or "is this client allowed to publish there?"
        topic = printable(topic)
        log.warning(
            "the %s at %s is not published for an hour: the post broker %s each time: %s",
            *(kind, topic, does, why),
        )

    def _kind(self, topic: str) -> str:
        return _STATUS if topic == self._topic else _DISCOVERY

    def leaving(self, *, for_good: bool) -> None:
        self._for_good |= for_good
        if self._state != DRAINING:
            self._state = DRAINING
            self._say_state()

    def stopped(self) -> None:
        self._state = OFFLINE
        if not self._for_good:
            self._say_state()
            return
        self._unsaid.append((self._topic, b""))  # nobody is to wonder where it is
        if self._sensors is not None and self._instance.number == 1:
            self._unsaid.extend((topic, b"") for topic, _ in self._sensors.known())

    def _say_all(self) -> None:
        self._unsaid.clear()
        self._say_state()
        if self._sensors is not None:
            self._unsaid.extend(self._sensors.known())

    def _say_state(self) -> None:
        self._unsaid.append((self._topic, self._payload(self._state, round(time.time(), 1))))

    def send(self, plane: DataPlane, limits: BrokerLimits, room: int, forbids: Forbids) -> None:
        """Each is safe with the broker when that answers; without room for one more that waits for
        an answer, they go without."""
        if self._unwelcome.is_over():
            self._unwelcome.forgive()
            self._say_all()
        while self._unsaid and self._may_send(room):
            topic, payload = self._unsaid.popleft()
            if not self._unwelcome.allows(self._kind(topic)):
                continue
            qos = self._qos(limits) if room > 0 else 0
            row = StoredMessage(topic, payload, qos, {}, options=(limits.retains, b""))
            reason = forbids(row)
            if reason is not None:
                kind = self._kind(topic)
                log.warning("the %s at %s is not published: %s", kind, printable(topic), reason)
                continue
            room -= 1
            self.unanswered.append(row)
            plane.publish_rows([row])
            self._unwelcome.sent(answered=qos > 0)

    def _qos(self, limits: BrokerLimits) -> int:
        """No higher than that of the last will, with which the broker let it in."""
        assert self.will is not None
        return min(self.will.qos, limits.qos)

    def _may_send(self, room: int) -> bool:
        unwelcome = self._unwelcome
        return not unwelcome.alone or (room > 0 and not self.unanswered and unwelcome.may_send())

    def _payload(self, state: str, since: float | None) -> bytes:
        told = {"state": state, "instance": str(self._instance), "model": self._instance.model}
        return json.dumps({**told, "version": __version__, "since": since}).encode()

    def without_own(self, items: list[Sendable]) -> list[Sendable]:
        return [item for item in items if not self._is_own(item)]

    def answered(self, safe: list[Sendable], refused: list[tuple[Sendable, Refusal]]) -> None:
        for item, refusal in refused:
            if self._is_own(item):
                topic = cast(StoredMessage, item).topic
                log.warning(
                    "the post broker refuses the %s at %s: %s",
                    *(self._kind(topic), printable(topic), refusal.text),
                )
        ended = {id(item) for item in (*safe, *(item for item, _ in refused))}
        left = [row for row in self.unanswered if id(row) not in ended]
        self.unanswered = left
        if not left and not self._unsaid:
            self._unwelcome.all_answered()

    def _is_own(self, item: Sendable) -> bool:
        return any(item is row for row in self.unanswered)


class _FirstResults:
    """A source whose first results are looked at; after them the outbox goes on with it alone."""

    def __init__(self, source: Source, presence: RetainedPresence) -> None:
        self._source = source
        self._presence = presence
        self._left = _MOST_LOOKED_AT

    def __getattr__(self, name: str) -> object:
        return getattr(self._source, name)

    def is_next(self, chunk: Chunk) -> bool:
        return not self._left and self._source.is_next(chunk)

    def take_results(self, room: int) -> list[ResultBatch]:
        taken = self._source.take_results(room)
        for results in taken:
            if not results.chunk.unusual:
                for payload in results.payloads[: self._left]:
                    self._presence.look_at(payload)
                self._left -= min(self._left, len(results))
        return taken


def presence_of(config: InstanceConfig) -> Presence:
    return NoPresence() if config.edge.status is None else RetainedPresence(config)
