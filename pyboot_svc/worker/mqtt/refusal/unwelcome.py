"""Status messages that a broker answers by hanging up, or not at all.

Results must not wait for them, and nothing is lost without them. They are found as results are, see
`hangups`, and then those of their kind are not sent for a while.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from pyboot_svc.worker.messages import Sendable, StoredMessage
from pyboot_svc.worker.mqtt.refusal.hangups import HangUps

# Each try costs several connections.
_AGAIN_SECONDS = 3600.0


class Unwelcome:
    """`alone` while one is sent at a time; the owner asks `may_send` before each, and always
    whether it `allows` one of that kind."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._hang_ups = HangUps("", clock)
        # Which kinds are not sent, and until when.
        self._until: dict[str, float] = {}

    @property
    def alone(self) -> bool:
        return self._hang_ups.alone

    @property
    def suspects(self) -> bool:
        """Whether the last connection was lost while one was alone on its way."""
        return self._hang_ups.suspects

    def may_send(self) -> bool:
        return self._hang_ups.may_send()

    def allows(self, kind: str) -> bool:
        return kind not in self._until

    def give_up(self, kind: str) -> None:
        self._until[kind] = self._clock() + _AGAIN_SECONDS

    def is_over(self) -> bool:
        """Whether a kind that was given up is to be tried again."""
        return bool(self._until) and min(self._until.values()) <= self._clock()

    def forgive(self) -> None:
        now = self._clock()
        self._until = {kind: until for kind, until in self._until.items() if until > now}

    def connected(self, *, at_once: bool) -> None:
        self._hang_ups.connected(at_once=at_once)

    def sent(self, *, answered: bool) -> None:
        """One was, which will be `answered` or not."""
        if self.alone:
            self._hang_ups.sent(answered=answered)

    def all_answered(self) -> None:
        """Whatever there was to say was taken: since each connection is told all anew, one that was
        taken speaks for none of the others."""
        self._hang_ups = HangUps("", self._clock)

    def lost(self, topics: Sequence[str], *, silent: bool) -> str | None:
        """The connection was, while nothing but messages to these topics, in this order, can be to
        blame for it; `silent`: for want of an answer. Gives the topic of the one that is."""
        # Of the same topic each is as welcome as the next, whatever the time in it.
        sent: list[Sendable] = [StoredMessage(topic, b"", 1, {}) for topic in topics]
        if silent:
            culprit = self._hang_ups.ignored(sent, others_answered=True)
        else:
            culprit = self._hang_ups.lost(sent)
        return culprit.topic if isinstance(culprit, StoredMessage) else None
