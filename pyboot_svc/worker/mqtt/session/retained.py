"""Retained messages that a model is not to get: what it has had already, or all of them."""

from __future__ import annotations

from pyboot_svc.worker.messages import MessageBatch, pick

# Topics whose latest message is remembered.
_MOST_TOPICS = 20_000


class NoRetained:
    """Passes over all that was published before it was subscribed to."""

    def forget(self) -> None: ...

    def sift(self, batch: MessageBatch) -> tuple[MessageBatch | None, list[int]]:
        if not batch.retained:
            return batch, []
        retained = frozenset(batch.retained)
        new = [place for place in range(len(batch)) if place not in retained]
        return batch.only(new) if new else None, pick(batch.packet_ids, batch.retained)


class NewRetained:
    """Of a broker of MQTT 3.1.1, which sends them anew each time that it is subscribed to.

    Recognises those that this process has had already: each is its topic's latest message.

    By MQTT 5 the broker is asked not to send them. Not to subscribe again would do, too, but for a
    broker that has forgotten the subscription.
    """

    def __init__(self) -> None:
        # Hashes: topics and messages may be long.
        self._latest: dict[int, int] = {}

    def forget(self) -> None:
        self._latest = {}

    def sift(self, batch: MessageBatch) -> tuple[MessageBatch | None, list[int]]:
        # Those that are known are copies: as long as the first one is not safe, it comes again.
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
