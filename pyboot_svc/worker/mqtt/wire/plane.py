"""The data plane of one connection: how PUBLISH and PUBACK travel. Two siblings do it.

`BulkPlane` (bulk_plane.py) handles many packets by one call of the kernel; `PlainPlane`
(plain_plane.py) leaves each to paho's public API, and is the reference.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from pyboot_svc.worker.messages import MessageBatch, ResultBatch, Sendable, StoredMessage
from pyboot_svc.worker.mqtt.refusal.refusals import Refusal
from pyboot_svc.worker.mqtt.wire.decoder import Arrivals


class DataPlane(Protocol):
    """One connection's. What it collects is fetched by `arrived` and `outcomes`.

    `read` and `write` raise OSError when the connection is lost, and whatever they stumble over
    when what comes is not MQTT.
    """

    def read(self) -> None: ...
    def write(self) -> None: ...
    @property
    def wants_write(self) -> bool: ...
    @property
    def buffered(self) -> bool:
        """Whether a TLS or WebSocket layer holds bytes, which select can't see."""

    @property
    def full(self) -> bool:
        """Whether the last read took as much as a read can: there is more to read at once."""

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

    def arrived(self) -> MessageBatch | None: ...
    def outcomes(self) -> tuple[list[Sendable], list[tuple[Sendable, Refusal]]]:
        """What is safe by now (sent, at QoS 0), and what was refused, with the reason."""

    def publish_results(
        self, topic: str, qos: int, parcels: Sequence[ResultBatch]
    ) -> list[tuple[ResultBatch, str]]:
        """Gives those of which no packet can be made, and why; so does `publish_rows`."""

    def publish_rows(self, rows: Sequence[StoredMessage]) -> list[tuple[StoredMessage, str]]: ...
    def acknowledge(self, session: int, packet_ids: Sequence[int]) -> None:
        """Those of earlier connections are not this one's business: the broker sends them again,
        and that copy will be acknowledged. 0 is no number: those are of QoS 0."""


class Collected:
    """The outcomes that reads and writes have brought, until they are fetched."""

    def __init__(self) -> None:
        self.full = False
        self._safe: list[Sendable] = []
        self._refused: list[tuple[Sendable, Refusal]] = []

    def outcomes(self) -> tuple[list[Sendable], list[tuple[Sendable, Refusal]]]:
        safe, refused = self._safe, self._refused
        if safe:
            self._safe = []
        if refused:
            self._refused = []
        return safe, refused


class NoPlane(Collected):
    """That of a connection that is not open: there is no room on it, and nothing comes."""

    wants_write = False
    buffered = False
    in_flight = 0
    oldest = None

    def read(self) -> None: ...
    def write(self) -> None: ...
    def ping(self) -> None: ...
    def arrived(self) -> None: ...
    def room(self, window: int) -> int:
        return 0

    def unsafe(self) -> list[Sendable]:
        return []

    def publish_results(
        self, topic: str, qos: int, parcels: Sequence[ResultBatch]
    ) -> list[tuple[ResultBatch, str]]:
        raise AssertionError("there is no room for results")

    def publish_rows(self, rows: Sequence[StoredMessage]) -> list[tuple[StoredMessage, str]]:
        raise AssertionError("there is no room for rows")

    def acknowledge(self, session: int, packet_ids: Sequence[int]) -> None: ...


def batch_of(arrivals: Arrivals, session: int) -> MessageBatch:
    """What has arrived just now, at least one message."""
    times = [time.monotonic_ns()] * len(arrivals.packet_ids)
    return MessageBatch(
        arrivals.topics,
        arrivals.payloads,
        arrivals.packet_ids,
        times,
        session,
        redeliverable=arrivals.redeliverable,
        invalid=arrivals.invalid,
        retained=arrivals.retained,
    )


def encoding_failure(error: Exception) -> str:
    """Why no packet can be made of a message, whatever was stumbled over: it is that one's."""
    return f"no packet can be made of it ({type(error).__name__}: {error})"


def has_duplicates(qos: int, parcel: ResultBatch) -> bool:
    """What is delivered once and sent once has none, and needs no id to recognise them by."""
    return qos > 0 or parcel.redeliverable


def pending_of(sock: Any) -> Callable[[], int]:
    """Asks a TLS or WebSocket layer how many bytes it holds; nothing else holds any."""
    return getattr(sock, "pending", None) or int
