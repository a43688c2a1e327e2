"""A message that is published from the database: a result that was spooled, or a dead letter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pyboot_svc.worker.message import Parcel

RESULTS, DEAD_LETTERS = 0, 1


@dataclass(frozen=True, slots=True, eq=False)
class Outgoing:
    """The row `row` of the lane `lane`; `properties` are user properties.

    `size` is what the row takes of the disk, in bytes, as it is estimated.
    """

    topic: str
    payload: bytes
    qos: int
    properties: Mapping[str, str]
    lane: int = 0
    row: int = 0
    size: int = 0


# What can be on its way to the broker: results that come straight from the model, or a row.
Sendable = Parcel | Outgoing


def lane_of(item: Sendable) -> int:
    """What goes straight out is a result."""
    return item.lane if isinstance(item, Outgoing) else RESULTS


def count_of(item: Sendable) -> int:
    """How many messages that is."""
    return len(item.payloads) if isinstance(item, Parcel) else 1
