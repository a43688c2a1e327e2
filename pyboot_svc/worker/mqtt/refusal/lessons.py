"""What messages that a broker hung up on teach about those that are still to be sent."""

from __future__ import annotations

import time
from collections.abc import Callable

# How long what is as large as a message that was given up is not tried.
_LESSON_SECONDS = 600.0
_MOST_IN_A_ROW = 3
# With so many messages that were given up, and smaller ones to the same topic that weren't, it is
# the size; with so many topics of such messages it isn't the topic.
_CERTAIN_SIZES, _CERTAIN_TOPICS = 2, 3
# Of those that are remembered.
_MOST_TOPICS = 100


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
        # Which topics take something is known as long as it is open.
        self._until = self._clock() + _LESSON_SECONDS if any_topic else self._open_until
