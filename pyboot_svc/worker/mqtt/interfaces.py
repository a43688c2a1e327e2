"""Between a connection and its owner: how it presents itself, and what it is told."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Protocol

from pyboot_svc.config import Edge
from pyboot_svc.worker.messages import MessageBatch, Sendable
from pyboot_svc.worker.mqtt.refusal.refusals import Refusal

# What the format of MQTT's length field allows.
MAX_PACKET_BYTES = 268_435_455


@dataclass(frozen=True)
class BrokerLimits:
    """What the broker lets a client do: messages in flight to it, bytes of one packet, and the
    highest QoS of what is published.

    For `session_seconds` it keeps the session when the client is away; None: as asked for. `shares`
    says whether it has shared subscriptions, as far as it tells.
    """

    in_flight: int
    packet_bytes: int
    session_seconds: int | None = None
    shares: bool = True
    qos: int = 2


class Handler(Protocol):
    """What the owner of a connection does with it.

    Calls come one at a time: from the connection's thread, and `on_nudge`, `on_published` and
    `wants_turn` from any other that nudged it.
    """

    def on_connected(self, session_present: bool, limits: BrokerLimits) -> None: ...

    def on_lost(self, in_flight: list[Sendable]) -> str | None:
        """What was published and not reported by `on_published` is not known to be safe.

        Says what may have been the reason, if anything is known of it.
        """

    def on_messages(self, batch: MessageBatch) -> None: ...

    @property
    def full(self) -> bool:
        """Whether it had better be sent nothing more for now."""

    def on_subscribed(self, code: int, reason: str) -> None:
        """The broker's answer: the QoS that it grants, or from 128 on a refusal; and in words."""

    def on_published(self, safe: list[Sendable], refused: list[tuple[Sendable, Refusal]]) -> None:
        """These were sent (QoS 0) or are safe with the broker; those were refused, and why."""

    def on_turn(self) -> None:
        """The connection is up, and the loop turned: send what there is to send."""

    def on_nudge(self) -> bool:
        """The same in the thread that nudged: send what takes no disk; says whether more may be
        left, for which there was no room."""

    def wants_turn(self) -> bool:
        """Whether there is more to send right now, without waiting for the network."""


@dataclass(frozen=True)
class Session:
    """How a client presents itself. `window` bounds its unacknowledged messages, either way, and
    `max_message` the bytes of a message's payload that it takes."""

    client_id: str
    persistent: bool
    window: int
    max_message: int = Edge.max_message


@dataclass(frozen=True)
class ConnectionStatus:
    """`state` is connecting, connected or unreachable; `since` is the wall clock's seconds.

    A `reason` while it is connected: it is not known yet whether the broker answers again.
    """

    address: str
    state: str
    reason: str
    since: float
    attempts: int = 0
    connects: int = 0

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)
