"""Puts payloads beside what messages before them have said, which their codec needs to know."""

from __future__ import annotations

import threading
from collections.abc import Callable

from pyboot_svc.config import Edge
from pyboot_svc.model.sparkplug.births import Births
from pyboot_svc.model.sparkplug.rebirths import NoRebirths, Rebirths, Request
from pyboot_svc.worker.messages import MessageBatch

Deliver = Callable[[MessageBatch], None]


class Placing:
    """Before the messages wait for the model, and are decoded by any of its threads, in any order:
    here they come in order of arrival."""

    def __init__(self, births: Births, deliver: Deliver) -> None:
        self._births = births
        self._deliver = deliver
        self._session: int | None = None
        # The broker's messages come by one thread, those that are tried again by another.
        self._lock = threading.Lock()

    def deliver(self, batch: MessageBatch) -> None:
        births, invalid = self._births, batch.particulars.invalid
        columns = zip(batch.topics, batch.payloads, batch.packet_ids, strict=True)
        with self._lock:
            if batch.session != self._session:
                births.reconnected()
                self._session = batch.session
            batch.payloads = [
                payload if place in invalid else births.arrived(topic, payload, kept=packet_id > 0)
                for place, (topic, payload, packet_id) in enumerate(columns)
            ]
        self._deliver(batch)

    def deliver_again(self, batch: MessageBatch) -> None:
        """Those that had become dead letters."""
        with self._lock:
            batch.payloads = list(map(self._births.again, batch.topics, batch.payloads))
        self._deliver(batch)


def placing_of(edge: Edge, deliver: Deliver, command: Request) -> Placing:
    """As the edge says; `command` publishes to edge nodes."""
    reasons = edge.sparkplug.rebirth_on
    return Placing(Births(Rebirths(reasons, command) if reasons else NoRebirths()), deliver)
