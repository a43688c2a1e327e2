"""What the wing has in common with those who use it, and a connection with its owner."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from pyboot_svc.config.settings import DEFAULT_MAX_MESSAGE
from pyboot_svc.worker.messages import Chunk, MessageBatch, ResultBatch, Sendable, StoredMessage
from pyboot_svc.worker.mqtt.wire.plane import DataPlane, PlaneOwner

# What the format of MQTT's length field allows.
MAX_PACKET_BYTES = 268_435_455

# Where an inbox hands what came, and where it counts what befalls its session.
Deliver = Callable[[MessageBatch], None]
Count = Callable[[str, int], None]


class Source(Protocol):
    """Where the outbox gets its messages, one call at a time.

    `take_rows` reads the disk unless it is told not to, and then it gives what was read ahead: only
    the outbox's thread has the time. The results go to the endpoint's topic.
    """

    def connected(self) -> None: ...
    def lost(self, in_flight: list[Sendable]) -> None: ...
    def hold(self, lane: int, again: list[Sendable]) -> None:
        """Give nothing of this lane until `resume`, and then what is to be sent again first."""

    def resume(self, lane: int) -> None: ...
    def ready(self) -> bool: ...
    def rows_ready(self) -> bool: ...
    def take_rows(self, room: int, *, from_disk: bool = True) -> list[StoredMessage]: ...
    def take_results(self, room: int) -> list[ResultBatch]: ...
    def is_next(self, chunk: Chunk) -> bool:
        """Whether nothing goes out before the results of this chunk, which none of them is yet."""

    def published_at_once(self, chunk: Chunk) -> None:
        """The broker has the one result of a chunk that `is_next`."""

    def on_its_way(self, results: ResultBatch) -> None:
        """The one result of a chunk that `is_next` has been sent; `delivered` will follow."""

    def delivered(self, items: list[Sendable]) -> None: ...
    def refused(self, items: list[Sendable], reason: str) -> None: ...


class InHand(Protocol):
    """Notes which stored message a packet is being made of: a crash then is counted against it."""

    def crashes(self, row: StoredMessage) -> int:
        """How many crashes it was in hand at, if they are too many; else 0."""

    def each(self, rows: Sequence[StoredMessage]) -> Iterator[StoredMessage]:
        """These; each is in hand until the next is asked for."""


class BrokerLimits(NamedTuple):
    """What the broker lets a client do: messages in flight to it, bytes of one packet, and the
    highest QoS of what is published.

    For `session_seconds` it keeps the session when the client is away; None: as asked for. `shares`
    says whether it has shared subscriptions, as far as it tells.
    """

    in_flight: int
    packet_bytes: int
    session_seconds: int | None = None
    shares: bool = True
    # Whether it keeps messages that are published with `retain`.
    retains: bool = True
    qos: int = 2


class Link(Protocol):
    """An open connection, as its handler sees it, from within its calls."""

    @property
    def plane(self) -> DataPlane: ...
    def subscribe(self, topic_filter: str, qos: int) -> None: ...
    def unsubscribe(self, topic_filter: str) -> None: ...
    def drop(self, reason: str, *, refused: bool = False) -> None:
        """Give this connection up and open another one after a while: a longer one when the broker
        has `refused` what it is for."""

    def hurry(self) -> None:
        """Make the next attempt at once: is the broker there, whatever it thinks of a message?"""

    @property
    def farewell(self) -> str:
        """Why the broker has ended the session, in its words (MQTT 5); empty if it didn't say."""

    @property
    def too_large(self) -> bool:
        """Whether it said that it was sent something too large."""

    @property
    def silent(self) -> bool:
        """Whether it was given up for want of an answer."""

    @property
    def selective(self) -> bool:
        """Whether others were answered, when one was not."""

    @property
    def lifeless(self) -> bool:
        """Whether it was given up since nothing came any more, no answer to a ping either."""


class Handler(PlaneOwner, Protocol):
    """What the owner of a connection does with it.

    Calls come one at a time: from the connection's thread, and `on_try_send`, `on_published` and
    `wants_turn` from any other that tries to send.
    """

    # Whether there may be more to send, for which there was no room, or no time.
    waiting: bool

    def on_connected(self, link: Link, session_present: bool, limits: BrokerLimits) -> None: ...

    def on_lost(self, in_flight: list[Sendable]) -> str | None:
        """What was published and not reported by `on_published` is not known to be safe.

        Says what may have been the reason, if anything is known of it.
        """

    @property
    def full(self) -> bool:
        """Whether it had better be sent nothing more for now."""

    def on_subscribed(self, topic_filter: str, code: int, reason: str) -> None:
        """The broker's answer to one `subscribe`, in whatever order: the QoS that it grants, or
        from 128 on a refusal; and in words."""

    def on_unsubscribed(self) -> None:
        """The broker's answer to one `unsubscribe`, in order."""

    def on_turn(self) -> None:
        """The connection is up, and the loop turned: send what there is to send."""

    def on_try_send(self) -> None:
        """The same in the thread that tries: send what takes no disk."""

    def wants_turn(self) -> bool:
        """While it is `waiting`: whether there is more to send right now, without waiting for the
        network."""


@dataclass
class Will:
    """What the broker publishes, retained, when a client is gone without a DISCONNECT.

    Its QoS is lowered for a broker that takes no such client with another one.
    """

    topic: str
    payload: bytes
    qos: int = 1


class Session(NamedTuple):
    """How a client presents itself. `window` bounds its unacknowledged messages, either way, and
    `max_message` the bytes of a message's payload that it takes."""

    client_id: str
    persistent: bool
    window: int
    max_message: int = DEFAULT_MAX_MESSAGE
    will: Will | None = None
