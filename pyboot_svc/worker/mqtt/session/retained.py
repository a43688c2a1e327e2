"""Retained messages that a model is not to get: what it has had already, or all of them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from itertools import islice
from random import randrange

from pyboot_svc.worker.messages import MessageBatch, pick

log = logging.getLogger(__name__)

# Topics whose retained message is remembered.
MOST_RETAINED = 50_000
# Topics whose last message that came otherwise is.
_MOST_LIVE = 20_000
# Messages that are remembered at least, of whatever topic: with more of them each would cost more.
_GENERATION = 4_000


class NoRetained:
    """Passes over all that was published before it was subscribed to."""

    def forget(self) -> None: ...

    def sift(self, batch: MessageBatch) -> tuple[MessageBatch | None, list[int]]:
        places = batch.particulars.retained
        if not places:
            return batch, []
        retained = frozenset(places)
        new = [place for place in range(len(batch)) if place not in retained]
        return batch.only(new) if new else None, pick(batch.packet_ids, places)


class NewRetained:
    """Of a broker of MQTT 3.1.1, which sends them anew each time that it is subscribed to.

    Passes over those that this process has had already, as retained ones or when they were
    published: nobody can see which of those the broker keeps. What was published at QoS 1 comes
    with the session, also after an absence, so one that is known is a copy. One of QoS 0 may have
    been published again meanwhile: it is a copy as long as its topic has had no other message.

    By MQTT 5 the broker is asked not to send them. Not to subscribe again would do, too, but for a
    broker that has forgotten the subscription.
    """

    def __init__(self) -> None:
        self._said_full = False
        self.forget()

    def forget(self) -> None:
        self._retained = _Retained()
        # All by hashes, since topics and messages may be long: of each topic the last message that
        # came since its retained one, and the last messages of all, in two generations.
        self._live: dict[int, int] = {}
        self._recent: set[int] = set()
        self._older: set[int] = set()

    def sift(self, batch: MessageBatch) -> tuple[MessageBatch | None, list[int]]:
        # Those that are known are copies: as long as the first one is not safe, it comes again.
        places = batch.particulars.retained
        if not places:
            self._note(batch.topics, batch.payloads)
            return batch, []
        retained = frozenset(places)
        new: list[int] = []
        old: list[int] = []
        for place in range(len(batch)):
            if place not in retained:
                self._note([batch.topics[place]], [batch.payloads[place]])
                new.append(place)
            elif self._is_copy(batch, place):
                old.append(place)
            else:
                new.append(place)
        if not old:
            return batch, []
        return batch.only(new) if new else None, [batch.packet_ids[place] for place in old]

    def _note(self, topics: Sequence[str], payloads: Sequence[bytes]) -> None:
        """What is published just now."""
        self._live.update(zip(map(hash, topics), map(hash, payloads), strict=True))
        self._recent.update(map(hash, zip(topics, payloads, strict=True)))
        if len(self._recent) >= _GENERATION:
            self._older, self._recent = self._recent, set()
        excess = len(self._live) - _MOST_LIVE
        if excess > 0:  # and some more, so that it isn't each time
            for topic in list(islice(self._live, excess + _MOST_LIVE // 10)):
                del self._live[topic]

    def _is_copy(self, batch: MessageBatch, place: int) -> bool:
        """Whether this retained one was there before; it is known from now on."""
        message = batch.topics[place], batch.payloads[place]
        topic, payload = map(hash, message)
        live = self._live.pop(topic, None)
        before = self._retained.replace(topic, payload)
        self._say_when_full()
        if batch.packet_ids[place]:
            seen = hash(message)
            return payload in (before, live) or seen in self._recent or seen in self._older
        return payload == (before if live is None else live)

    def _say_when_full(self) -> None:
        if self._retained.full and not self._said_full:
            self._said_full = True
            log.warning(
                "there are retained messages of more than %d topics: some of them will be "
                "processed again at each connection; with `protocol: 5` none is",
                MOST_RETAINED,
            )


class _Retained:
    """Of each topic the last message that came as a retained one, by their hashes.

    Where there are too many topics, any one makes room: the broker sends them in the same order
    each time, and the oldest one is that which comes next.
    """

    def __init__(self) -> None:
        self._payloads: dict[int, int] = {}
        self._topics: list[int] = []
        # Whether one had to make room.
        self.full = False

    def replace(self, topic: int, payload: int) -> int | None:
        """What was there before."""
        before = self._payloads.get(topic)
        if before is None:
            self._make_room(topic)
        self._payloads[topic] = payload
        return before

    def _make_room(self, topic: int) -> None:
        if len(self._topics) < MOST_RETAINED:
            self._topics.append(topic)
            return
        self.full = True
        place = randrange(MOST_RETAINED)  # noqa: S311
        del self._payloads[self._topics[place]]
        self._topics[place] = topic
