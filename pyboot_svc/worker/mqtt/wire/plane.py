"""The data plane of one connection: how PUBLISH and PUBACK travel. Two siblings do it.

`BulkPlane` (bulk_plane.py) handles many packets by one call of the kernel; `PlainPlane`
(plain_plane.py) leaves each to paho's public API, and is the reference.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from pyboot_svc.worker.messages import (
    NOTHING_PARTICULAR,
    Chunk,
    Destination,
    MessageBatch,
    Particulars,
    ResultBatch,
    Sendable,
    StoredMessage,
)
from pyboot_svc.worker.mqtt.refusal.refusals import Refusal
from pyboot_svc.worker.mqtt.wire.decoder import Arrivals


class PlaneOwner(Protocol):
    """Is told of what comes, from within `read` and `write`."""

    def on_messages(self, batch: MessageBatch) -> None: ...
    def on_published(self, safe: list[Sendable], refused: list[tuple[Sendable, Refusal]]) -> None:
        """These were sent (QoS 0) or are safe with the broker; those were refused, and why."""


class DataPlane(Protocol):
    """One connection's. `read` and `write` tell its owner, and raise Broken at its end."""

    # Whether the last read took as much as a read can: there is more to read at once.
    full: bool
    # Whether there is something to write.
    wants_write: bool
    # Grows with the answers to what was published, and with what was sent at QoS 0.
    answers: int
    # How many bytes a TLS or WebSocket layer holds, which select can't see; None without one.
    pending: Callable[[], int] | None

    def read(self) -> int:
        """How many messages came, and answers to what was published."""

    def write(self) -> None: ...
    def ping(self) -> None:
        """Tell the broker that the connection lives; its answer may be long in coming."""

    @property
    def in_flight(self) -> int: ...
    def room(self, window: int) -> int:
        """How many more may be published, of `window` in flight: none while the network has to
        take some of what waits."""

    @property
    def oldest(self) -> int | None:
        """The number of the message that has been in flight longest, unanswered; None without."""

    def unsafe(self) -> list[Sendable]:
        """What was published and is not known to be safe, in order."""

    def publish_results(
        self, destination: Destination, batches: Sequence[ResultBatch]
    ) -> list[tuple[ResultBatch, str]]:
        """Gives those of which no packet can be made, and why; so does `publish_rows`."""

    def publish_rows(self, rows: Sequence[StoredMessage]) -> list[tuple[StoredMessage, str]]: ...
    def publish_lone(
        self, destination: Destination, chunk: Chunk, payload: bytes
    ) -> ResultBatch | None:
        """`payload`, the one result of this chunk, written at once, while nothing else is to be
        written. Gives it if it is in flight: of QoS 1, or not all of it taken by the socket."""

    def acknowledge(self, session: int, packet_ids: Sequence[int]) -> None:
        """Those of earlier connections are not this one's business: the broker sends them again,
        and that copy will be acknowledged. 0 is no number: those are of QoS 0."""


class NoPlane:
    """That of a connection that is not open: there is no room on it, and nothing comes."""

    full = False
    wants_write = False
    answers = 0
    pending: Callable[[], int] | None = None
    in_flight = 0
    oldest = None

    def read(self) -> int:
        return 0

    def write(self) -> None: ...
    def ping(self) -> None: ...
    def room(self, window: int) -> int:
        return 0

    def unsafe(self) -> list[Sendable]:
        return []

    def publish_results(
        self, destination: Destination, batches: Sequence[ResultBatch]
    ) -> list[tuple[ResultBatch, str]]:
        raise AssertionError("there is no room for results")

    def publish_rows(self, rows: Sequence[StoredMessage]) -> list[tuple[StoredMessage, str]]:
        raise AssertionError("there is no room for rows")

    def publish_lone(
        self, destination: Destination, chunk: Chunk, payload: bytes
    ) -> ResultBatch | None:
        raise AssertionError("there is no room for a result")

    def acknowledge(self, session: int, packet_ids: Sequence[int]) -> None: ...


def batch_of(arrivals: Arrivals, session: int) -> MessageBatch:
    """What has arrived just now, at least one message."""
    times = [time.monotonic_ns()] * len(arrivals.packet_ids)
    particulars = NOTHING_PARTICULAR
    if arrivals.about or arrivals.invalid or arrivals.retained:
        particulars = Particulars(arrivals.invalid, arrivals.retained, arrivals.about)
    columns = arrivals.topics, arrivals.payloads, arrivals.packet_ids, times
    return MessageBatch(*columns, session, particulars)


def new_places(arrivals: Arrivals, known: set[int]) -> list[int]:
    """The places of what has not come before; the numbers of all are `known` from then on.

    Some brokers send again what is not acknowledged soon enough. What came first stands for both:
    acknowledged twice, the second time might be for another message, which has got the number.
    """
    duplicates = set(arrivals.duplicates)
    places = []
    for place, packet_id in enumerate(arrivals.packet_ids):
        if packet_id > 0 and packet_id in known and place in duplicates:
            continue
        known.add(packet_id)
        places.append(place)
    return places


def encoding_failure(error: Exception) -> str:
    """Why no packet can be made of a message, whatever was stumbled over: it is that one's."""
    return f"no packet can be made of it ({type(error).__name__}: {error})"


def has_duplicates(qos: int, chunk: Chunk) -> bool:
    """What is delivered once and sent once has none, and needs no id to recognise them by."""
    return qos > 0 or chunk.batch.redeliverable


def pending_of(sock: Any) -> Callable[[], int] | None:
    """Asks a TLS or WebSocket layer how many bytes it holds; nothing else holds any."""
    return getattr(sock, "pending", None)
