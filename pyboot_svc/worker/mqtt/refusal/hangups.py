"""Finds the message that a broker answers by hanging up, and tells it from those beside it.

A broker that doesn't take a message (too large, a topic or a QoS that it doesn't allow) may close
the connection without a word, and does so again each time that it comes. A connection is also
lost for many other reasons, which are no message's fault.

So when the same message was the first in flight at two losses, messages are sent one at a time.
When it wasn't the first, since acknowledgements of others get through or are lost with the
connection, half as many are in flight at a time, and half of that after the next loss, down to one.
Before the first of those that are alone, the connection has to live without any for a while, longer
each time, and to be lost sooner than that once it is sent. At three such losses the message is
given up. One after which the broker can't be reached at once was a restart, say, and hardly counts.

A message that is left without an answer, while the broker has one for others, is given up as well.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

from pyboot_svc.worker.messages import (
    ResultBatch,
    Sendable,
    content_of,
    count_of,
    topic_of,
)

_SUSPICIOUS_LOSSES = 2
_CERTAIN_LOSSES = 3
# After which the broker was away: it may be the message that ends it, but that takes many.
_CERTAIN_ABSENCES = 20
_FIRST_QUIET_SECONDS, _LAST_QUIET_SECONDS = 1.0, 16.0
# What is of QoS 0 gets no answer: so long it is alone on its way.
_UNANSWERED_SECONDS = 0.25

# One at a time is slow: then all is tried as usual once more.
_MOST_ALONE = 20

Key = tuple[object, ...]


class HangUps:
    """While there is a `window`, no more messages are to be in flight. While that is one, they are
    `alone`, and the owner asks `may_send` before each."""

    def __init__(self, topic: str, clock: Callable[[], float] = time.monotonic) -> None:
        """`topic` is that of results."""
        self._topic = topic
        self._clock = clock
        self.window: int | None = None
        # Losses by what was first in flight, of each kind: they are on their way side by side.
        self._heads: dict[Key, int] = {}
        # What was in flight at each of the last losses, by hashes: there may be many.
        self._common: set[int] = set()
        # How many are still to be looked at in this window, and how many behind them.
        self._left = self._behind = 0
        self._narrowed = False
        self._suspect: Key | None = None
        self._losses = self._absences = 0
        # The last loss came soon after a message was sent: which of both it was is seen later.
        self._unsettled = False
        self._ignored: tuple[Key, int] | None = None
        self._quiet_seconds = _FIRST_QUIET_SECONDS
        self._not_before = 0.0
        self._sent: float | None = None

    @property
    def alone(self) -> bool:
        return self.window == 1

    @property
    def suspects(self) -> bool:
        """Whether the last loss was that of a message alone in flight, or of few."""
        return self._suspect is not None or self._narrowed

    def connected(self, *, at_once: bool = True) -> None:
        """`at_once`: at the first attempt, so that the broker was there all the time."""
        if self._unsettled:
            self._losses += at_once
            self._absences += not at_once
            self._unsettled = False
        self._sent = None
        self._not_before = self._clock() + self._quiet_seconds

    def may_send(self) -> bool:
        """While `alone`, and nothing is in flight."""
        return self._clock() >= self._not_before

    def sent(self, *, answered: bool) -> None:
        """While `alone`: one was sent, to be `answered` or not."""
        self._sent = self._clock()
        if not answered:
            self._not_before = self._sent + _UNANSWERED_SECONDS

    def delivered(self, count: int) -> None:
        """While there is a window: these did no harm."""
        if self.alone:
            self._clear_suspicion()
        self._let_pass(count)

    def lost(self, in_flight: Sequence[Sendable]) -> Sendable | None:
        """The connection was; gives the message that is to blame for it, which is given up."""
        if self.window is None:
            self._look_for_suspects(in_flight)
            return None
        if not in_flight or (self.alone and self._sent is None):
            self._forget()  # it falls without any message, too
            return None
        if not self.alone:
            self._narrow(in_flight, self.window)
            return None
        return self._judge(in_flight[0])

    def ignored(self, in_flight: Sequence[Sendable], *, others_answered: bool) -> Sendable | None:
        """The connection was given up, for want of an answer to the first of these.

        Gives it if it is to blame: `others_answered` by the same broker, again and again.
        """
        self._forget()
        if not in_flight or not others_answered or count_of(in_flight[0]) > 1:
            return None
        key = self._key(in_flight[0])
        before = self._ignored[1] if self._ignored is not None and self._ignored[0] == key else 0
        self._ignored = (key, before + 1) if before + 1 < _CERTAIN_LOSSES else None
        return None if self._ignored else in_flight[0]

    def _judge(self, first: Sendable) -> Sendable | None:
        """It was alone in flight."""
        assert self._sent is not None
        soon = self._clock() - self._sent <= self._quiet_seconds
        self._quiet_seconds = min(2 * self._quiet_seconds, _LAST_QUIET_SECONDS)
        key = self._key(first)
        if key != self._suspect:
            self._suspect, self._losses, self._absences = key, 0, 0
        self._unsettled = soon
        if self._losses + soon < _CERTAIN_LOSSES and self._absences + soon < _CERTAIN_ABSENCES:
            return None
        self._clear_suspicion()
        self._let_pass(1)
        return first

    def _look_for_suspects(self, in_flight: Sequence[Sendable]) -> None:
        heads: dict[object, Key] = {}
        for item in in_flight:
            heads.setdefault(None if isinstance(item, ResultBatch) else item.lane, self._key(item))
        self._heads = {key: self._heads.get(key, 0) + 1 for key in heads.values()}
        contents = set(self._contents(in_flight))
        common = contents & self._common
        self._common = common or contents
        count = sum(map(count_of, in_flight))
        if any(losses >= _SUSPICIOUS_LOSSES for losses in self._heads.values()):
            self.window, self._left = 1, min(count, _MOST_ALONE)
            self._behind = count - self._left
        elif common:
            self.window, self._left = _half(count), count

    def _narrow(self, in_flight: Sequence[Sendable], window: int) -> None:
        """One of these it was."""
        self.window, self._left, self._behind = _half(window), sum(map(count_of, in_flight)), 0
        self._narrowed = True

    def _let_pass(self, count: int) -> None:
        self._left -= count
        if self._left > 0:
            return
        behind = self._behind
        self._forget()
        if behind:
            self.window, self._left = _half(behind), behind

    def _forget(self) -> None:
        self.window = None
        self._heads = {}
        self._common = set()
        self._behind = 0
        self._clear_suspicion()

    def _clear_suspicion(self) -> None:
        self._suspect = None
        self._losses = self._absences = 0
        self._unsettled = self._narrowed = False
        self._quiet_seconds = _FIRST_QUIET_SECONDS

    def _contents(self, in_flight: Sequence[Sendable]) -> Iterator[int]:
        for item in in_flight:
            if isinstance(item, ResultBatch):
                for payload in item.payloads:
                    yield hash((topic_of(payload, self._topic), bytes(payload)))
            else:
                yield hash((item.topic, item.payload))

    def _key(self, item: Sendable) -> Key:
        """The same for a result that went straight out, and after that by the spool."""
        return content_of(item, self._topic)


def _half(count: int) -> int:
    return max(1, count // 2)
