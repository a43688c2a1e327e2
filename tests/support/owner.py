"""Who owns a connection in a test: does next to nothing, and notes what it is told."""

from __future__ import annotations

from collections.abc import Callable

from pyboot_svc.worker.messages import MessageBatch, Sendable
from pyboot_svc.worker.mqtt.interfaces import BrokerLimits, Link
from pyboot_svc.worker.mqtt.refusal.refusals import Refusal


class Owner:
    """`told` are the events in order, `links` the connections; `connected` is called with each."""

    def __init__(self, connected: Callable[[Link], object] = lambda link: None) -> None:
        self.told: list[tuple[object, ...]] = []
        self.links: list[Link] = []
        self.batches: list[MessageBatch] = []
        self.limits: list[BrokerLimits] = []
        self.turns = 0
        self.tries = 0
        self.waiting = False
        self.full = False
        self._connected = connected

    def on_connected(self, link: Link, session_present: bool, limits: BrokerLimits) -> None:
        self.told.append(("connected", session_present))
        self.links.append(link)
        self.limits.append(limits)
        self._connected(link)

    def on_lost(self, in_flight: list[Sendable]) -> str | None:
        self.told.append(("lost", len(in_flight)))
        return None

    def on_subscribed(self, topic_filter: str, code: int, reason: str) -> None:
        self.told.append(("subscribed", topic_filter, code, reason))

    def on_unsubscribed(self) -> None:
        self.told.append(("unsubscribed",))

    def on_messages(self, batch: MessageBatch) -> None:
        self.batches.append(batch)

    def on_published(self, safe: list[Sendable], refused: list[tuple[Sendable, Refusal]]) -> None:
        self.told.append(("published", len(safe), len(refused)))

    def on_turn(self) -> None:
        self.turns += 1

    def on_try_send(self) -> None:
        self.tries += 1
        self.waiting = False

    def wants_turn(self) -> bool:
        return False
