"""The one object that travels through a worker, from the inbox to its acknowledgement."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from typing import Any

DIGEST_BYTES = 16


class Message:
    """An input message and what became of it.

    `session` numbers the connection it came by: its acknowledgement is good for that one only.
    `arrived` is the monotonic clock in ns. `result` is the payload to publish, or None.
    """

    __slots__ = (
        "arrived",
        "digest",
        "holds",
        "mid",
        "payload",
        "qos",
        "result",
        "row",
        "session",
        "topic",
    )

    def __init__(
        self, topic: str, payload: bytes, qos: int, mid: int = 0, session: int = 0, arrived: int = 0
    ) -> None:
        self.topic = topic
        self.payload = payload
        self.qos = qos
        self.mid = mid
        self.session = session
        self.arrived = arrived
        self.result: bytes | None = None
        # Made by `digest_all`, when it is first needed.
        self.digest = b""
        # Of a message that is tried again: its row among the dead.
        self.row = 0
        # What has still to come true before it is settled; one thing is its result's safety.
        self.holds = 1

    @property
    def id(self) -> str:
        """Names the message by its content: the same when it is delivered and computed again."""
        return digest_all([self])[0].hex()


def digest_all(messages: Iterable[Message]) -> list[bytes]:
    """The digests of topic and payload, made where they aren't yet."""
    topic: str | None = None
    begun: Callable[[], Any] | None = None
    found: list[bytes] = []
    for message in messages:
        if not message.digest:
            if message.topic != topic:
                topic, begun = message.topic, None
                digest = hashlib.blake2b(_lead(topic) + message.payload, digest_size=DIGEST_BYTES)
            else:
                # Topics mostly come in runs: what they have in common is digested once.
                if begun is None:
                    begun = hashlib.blake2b(_lead(topic), digest_size=DIGEST_BYTES).copy
                digest = begun()
                digest.update(message.payload)
            message.digest = digest.digest()
        found.append(message.digest)
    return found


def _lead(topic: str) -> bytes:
    return topic.encode() + b"\0"


class Chunk:
    """Consecutive messages that one model thread works through.

    Chunks are numbered in order of arrival. `results` has an item for each message that is done
    with: what to publish, or None. Only the thread at work appends to it; whoever takes the work
    away from it goes on with a list of its own. `together` says that the model has them all.
    """

    __slots__ = ("messages", "number", "results", "together")

    def __init__(self, number: int, messages: list[Message]) -> None:
        self.number = number
        self.messages = messages
        self.results: list[bytes | None] = []
        self.together = False

    @property
    def waiting(self) -> int:
        """How many the model has not been called for."""
        if self.together:
            return 0
        return max(len(self.messages) - len(self.results) - 1, 0)
