"""A message that is published from the database: a result that was spooled, or a dead letter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pyboot_svc.worker.message import Message


@dataclass(frozen=True, slots=True, eq=False)
class Outgoing:
    """The row `row` of the lane `lane`; `properties` are user properties."""

    topic: str
    payload: bytes
    qos: int
    properties: Mapping[str, str]
    lane: int = 0
    row: int = 0


# What can be on its way to the broker: a result that comes straight from the model, or a row.
Sendable = Message | Outgoing
