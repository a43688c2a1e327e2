"""What the outbox publishes: a result straight from the model, or a row of the spool."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pyboot_svc.worker.message import Message


@dataclass(frozen=True, slots=True, eq=False)
class Outgoing:
    """One message to publish. It is either the result of `message`, or the row `row` of a lane."""

    topic: str
    payload: bytes
    qos: int
    properties: Mapping[str, str]
    message: Message | None = None
    lane: int = 0
    row: int = 0
