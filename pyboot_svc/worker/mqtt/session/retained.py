"""Retained messages that a broker of MQTT 3.1.1 sends anew each time that it is subscribed to."""

from __future__ import annotations

from pyboot_svc.worker.messages import MessageBatch

# Topics whose latest message is remembered.
_MOST_TOPICS = 20_000


class RetainedFilter:
    """Recognises those that this process has had already: each is its topic's latest message.

    By MQTT 5 the broker is asked not to send them. Not to subscribe again would do, too, but for a
    broker that has forgotten the subscription.
    """

    def __init__(self) -> None:
        # Hashes: topics and messages may be long.
        self._latest: dict[int, int] = {}

    def forget(self) -> None:
        """A new session: all that is retained is news."""
        self._latest = {}

    def sift(self, batch: MessageBatch) -> tuple[MessageBatch | None, list[int]]:
        """What is new of it, and the numbers of the others, which can be acknowledged at once.

        They are copies: as long as the first one is not safe, the broker sends it again.
        """
        if len(self._latest) > _MOST_TOPICS:
            self._latest = {}
        topics, payloads = map(hash, batch.topics), map(hash, batch.payloads)
        if not batch.retained:
            self._latest.update(zip(topics, payloads, strict=True))
            return batch, []
        retained = frozenset(batch.retained)
        new: list[int] = []
        old: list[int] = []
        for place, (topic, payload) in enumerate(zip(topics, payloads, strict=True)):
            if place in retained and self._latest.get(topic) == payload:
                old.append(place)
            else:
                self._latest[topic] = payload
                new.append(place)
        if not old:
            return batch, []
        return batch.only(new) if new else None, [batch.packet_ids[place] for place in old]
