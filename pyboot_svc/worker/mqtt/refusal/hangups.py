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

import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence

from pyboot_svc.worker.messages import (
    RESULTS,
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

# How long what is as large as a message that was given up is not tried.
_LESSON_SECONDS = 600.0
_MOST_IN_A_ROW = 3
# With so many messages that were given up, and smaller ones to the same topic that weren't, it is
# the size; with so many topics of such messages it isn't the topic.
_CERTAIN_SIZES, _CERTAIN_TOPICS = 2, 3
# Of those that are remembered.
_MOST_TOPICS = 100
# One at a time is slow: then all is tried as usual once more.
_MOST_ALONE = 20

# A broker that hangs up does so that soon after what it minds.
_MOMENTS_SECONDS, _MOMENT_SECONDS = 1.0, 0.1
_MOST_MOMENTS = 100

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
        before, self._common = self._common, contents & self._common or contents
        count = sum(map(count_of, in_flight))
        if any(losses >= _SUSPICIOUS_LOSSES for losses in self._heads.values()):
            self.window, self._left = 1, min(count, _MOST_ALONE)
            self._behind = count - self._left
        elif before & self._common:
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


class Lesson:
    """What messages that were given up teach about others of the same way.

    One as large as one of them is not tried for a while. Of results it takes two that were given
    up, or one of which the broker said it, while none as large got through, and a smaller one that
    did, to the topic of one of them: else size may not be what the broker minds. Once several
    topics had such, a smaller one to any will do, but then what goes to a topic that has taken one
    is tried. Nor is one tried to a topic of which several were given up, one after the other, while
    others half as large got through. Dead letters are `optional`, since they are kept locally: one
    is enough, and after some that were given up, none is tried.
    """

    def __init__(
        self, *, optional: bool = False, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._optional = optional
        self._clock = clock
        # The smallest one that was given up, how many were, and the topics of all of them; None:
        # nothing is open.
        self._size: int | None = None
        self._count = 0
        self._topics: set[str] = set()
        self._open_until = 0.0
        # The topics to which a smaller one got through since.
        self._taking: set[str] = set()
        self._in_a_row = 0
        self._until = 0.0
        # From this size on, to any topic or to those of which nothing is known; None while there is
        # none.
        self.bytes: int | None = None
        self._any_topic = True
        # The largest that got through, how many to a topic were given up since one to it did, and
        # until when which topics are not tried.
        self._largest_taken = 0
        self._refused: dict[str, int] = {}
        self._closed: dict[str, float] = {}

    @property
    def open(self) -> bool:
        """Whether there is something to learn from what gets through, or to apply."""
        return self._size is not None or self.bytes is not None or bool(self._closed)

    @property
    def of_topics(self) -> bool:
        """Whether it depends on the topic what is not tried."""
        return bool(self._closed) or (self.bytes is not None and not self._any_topic)

    @property
    def slow(self) -> bool:
        """Whether so many were given up without one that got through that it may be anything."""
        return not self._optional and self._in_a_row >= _MOST_IN_A_ROW

    def given_up(self, size: int, topic: str, *, too_large: bool = False) -> None:
        """`too_large`: the broker said so."""
        self._size = size if self._size is None else min(size, self._size)
        self._count += _CERTAIN_SIZES if too_large else 1
        self._topics.add(topic)
        self._open_until = self._clock() + _LESSON_SECONDS
        self._in_a_row += 1
        if self._optional:
            self._draw(0 if self._in_a_row >= _MOST_IN_A_ROW else self._size)
            return
        refused = self._refused.pop(topic, 0) + 1
        self._refused[topic] = refused
        if refused >= _MOST_IN_A_ROW and size <= 2 * self._largest_taken:
            self._closed[topic] = self._open_until
        for known in (self._refused, self._closed):
            if len(known) > _MOST_TOPICS:
                del known[next(iter(known))]

    def warned(self, size: int) -> None:
        """A message of the other way was given up."""
        self._draw(size if self.bytes is None else min(size, self.bytes))

    def taken(self, size: int, topic: str) -> None:
        """The broker has one of this size."""
        self._in_a_row = 0
        self._largest_taken = max(self._largest_taken, size)
        self._refused.pop(topic, None)
        if self._closed:
            now = self._clock()
            self._closed = {topic: until for topic, until in self._closed.items() if until >= now}
        self.disproved(size)
        if self._size is None:
            return
        if size >= self._size or self._clock() > self._open_until:
            self._close()
            return
        if len(self._taking) < _MOST_TOPICS:
            self._taking.add(topic)
        if self._count < _CERTAIN_SIZES:
            return  # it may be anything in that one
        if topic in self._topics:
            self._draw(self._size)
            self._close()
        elif len(self._topics) >= _CERTAIN_TOPICS:
            self._draw(self._size, any_topic=False)

    def disproved(self, size: int) -> None:
        """The broker takes messages of this size."""
        if self.bytes and size >= self.bytes:
            self.bytes = None

    def forbids(self, size: int, topic: str) -> bool:
        if self.bytes is not None and self._clock() > self._until:
            self.bytes = None
        if self.bytes is None or size < self.bytes:
            return False
        return self._any_topic or topic not in self._taking

    def closes(self, topic: str) -> bool:
        """Whether none to this topic is tried."""
        return self._closed.get(topic, 0.0) >= self._clock()

    def _close(self) -> None:
        self._size, self._count = None, 0
        self._topics.clear()
        self._taking.clear()

    def _draw(self, size: int, *, any_topic: bool = True) -> None:
        self.bytes, self._any_topic = size, any_topic
        self._until = self._clock() + _LESSON_SECONDS


class Unanswered:
    """What was written at QoS 0 just before a connection was lost: no answer tells what did it.

    A message of twice the size of others is named. When that happens again and again, and others
    of its size never got through, it is taken for too large.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        # Since when, the smallest and the largest: of each moment of the last second.
        self._recent: deque[tuple[float, int, int]] = deque(maxlen=_MOST_MOMENTS)
        # The latest of them once more: while it lasts, nothing within it is news.
        self._until, self._least, self._most = -math.inf, 0, 0
        self._survived = 0
        self._sizes: list[int] = []

    def written(self, items: Sequence[Sendable]) -> None:
        """These were."""
        sizes: list[int] = []
        for item in items:
            if isinstance(item, ResultBatch):
                sizes += map(len, item.payloads)
            elif item.lane == RESULTS:
                sizes.append(len(item.payload))
        if sizes:
            self._note(min(sizes), max(sizes), self._clock())

    def written_one(self, size: int) -> None:
        """The same of a result of this size."""
        now = self._clock()
        if not self._least <= size <= self._most or now >= self._until:
            self._note(size, size, now)

    def _note(self, least: int, most: int, now: float) -> None:
        self._age(now)
        recent = self._recent
        if recent and now - recent[-1][0] < _MOMENT_SECONDS and most < 2 * recent[-1][2]:
            since, before_least, before_most = recent.pop()
            recent.append((since, min(least, before_least), max(most, before_most)))
        else:  # what is so much larger has a place of its own: those before it did no harm
            recent.append((now, least, most))
        since, self._least, self._most = recent[-1]
        self._until = since + _MOMENT_SECONDS

    def lost(self) -> tuple[int | None, bool]:
        """The size of the message that may be the reason, and whether it is that for certain."""
        self._age(self._clock())
        recent = list(self._recent)
        self._recent.clear()
        self._until = -math.inf
        if not recent:
            return None, False
        largest = max(most for _, _, most in recent)
        # The broker reads in order: what it closed the connection for came after these.
        for _, _, most in recent:
            if most == largest:
                break
            self._survived = max(self._survived, most)
        usual = self._survived or min(least for _, least, _ in recent)
        if largest < 2 * usual:
            self._sizes.clear()
            return None, False
        if self._survived:
            self._sizes.append(largest)
        if len(self._sizes) < _CERTAIN_LOSSES:
            return largest, False
        smallest = min(self._sizes)
        self._sizes.clear()
        return smallest, True

    def _age(self, now: float) -> None:
        """What was written that long ago did no harm."""
        recent = self._recent
        while recent and recent[0][0] < now - _MOMENTS_SECONDS:
            self._survived = max(self._survived, recent.popleft()[2])
