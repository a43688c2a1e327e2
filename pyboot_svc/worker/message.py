"""The one object that travels through a worker, from the inbox to its acknowledgement."""

from __future__ import annotations

import hashlib


class Message:
    """An input message and what became of it.

    `session` numbers the connection it came by: its acknowledgement is good for that one only.
    `arrived` is the monotonic clock in ns. `result` is the payload to publish, or None.
    """

    __slots__ = ("arrived", "holds", "mid", "payload", "qos", "result", "row", "session", "topic")

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
        # Of a message that is tried again: its row among the dead.
        self.row = 0
        # What has still to come true before it is settled; one thing is its result's safety.
        self.holds = 1

    @property
    def id(self) -> str:
        """Names the message by its content: the same when it is delivered and computed again."""
        digest = hashlib.blake2b(self.topic.encode(), digest_size=16)
        digest.update(b"\0")
        digest.update(self.payload)
        return digest.hexdigest()


class Chunk:
    """Consecutive messages that one model thread works through.

    Chunks are numbered in order of arrival. `started` counts the messages that the model has
    been called for: the others still wait, though no longer in the queue.
    """

    __slots__ = ("messages", "number", "started")

    def __init__(self, number: int, messages: list[Message]) -> None:
        self.number = number
        self.messages = messages
        self.started = 0

    @property
    def waiting(self) -> int:
        return len(self.messages) - self.started
