"""Which of several instances a message is for, where all of them get all messages: that of its key.

Each key belongs to the instance whose hash with it is the highest (rendezvous hashing), so that
with one instance more, or one less, only the keys of that one change their place.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pyboot_svc.model.codec import PayloadError
from pyboot_svc.topics import Field, NotThere
from pyboot_svc.worker.messages import MessageBatch

try:
    from _blake2 import blake2b
except ImportError:
    from hashlib import blake2b

# Whose place is remembered, unless they are long.
_MOST_KEYS, _LONGEST_KEY = 20_000, 200


class Partition:
    """The messages of the instance `number` of `count`, by the key that `by` names."""

    def __init__(self, by: str, number: int, count: int, decode: Callable[[bytes], Any]) -> None:
        self._key = Field(by)
        self._number = number
        self._count = count
        # A key that is a level of the topic needs no look at the payload.
        self._decode = None if self._key.is_level else decode
        self._owners: dict[str, int] = {}

    def forget(self) -> None: ...

    def sift(self, batch: MessageBatch) -> tuple[MessageBatch | None, list[int]]:
        """What is for this instance, and the numbers of the others, to be acknowledged at once."""
        mine: list[int] = []
        others: list[int] = []
        for place, topic in enumerate(batch.topics):
            if self._owner_of(topic, batch.payloads[place]) == self._number:
                mine.append(place)
            else:
                others.append(batch.packet_ids[place])
        if not others:
            return batch, []
        return batch.only(mine) if mine else None, others

    def _owner_of(self, topic: str, payload: bytes) -> int:
        """One without a key is the first instance's."""
        try:
            value = None if self._decode is None else self._decode(payload)
            key = self._key.text(value, topic)
        except (NotThere, PayloadError):
            return 1
        if len(key) > _LONGEST_KEY:
            return owner_of(key, self._count)
        owner = self._owners.get(key)
        if owner is None:
            if len(self._owners) >= _MOST_KEYS:
                self._owners.clear()
            owner = self._owners[key] = owner_of(key, self._count)
        return owner


def owner_of(key: str, count: int) -> int:
    """The number of the instance, from 1 on."""
    encoded = key.encode(errors="surrogatepass")

    def weight(number: int) -> bytes:
        return blake2b(encoded, digest_size=8, salt=number.to_bytes(8)).digest()

    return max(range(1, count + 1), key=weight)
