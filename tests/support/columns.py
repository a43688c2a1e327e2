"""Messages in columns, made of what a test is about, and taken apart again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, cast

from pyboot_svc.model.state import ModelState
from pyboot_svc.worker.delivery.model_state import StateSaver
from pyboot_svc.worker.delivery.post_queue import PostQueue
from pyboot_svc.worker.memory_budget import MemoryBudget
from pyboot_svc.worker.messages import (
    NOTHING_PARTICULAR,
    NOWHERE,
    Chunk,
    Message,
    MessageBatch,
    Origin,
    Particulars,
    ResultBatch,
)


def roomy_budget() -> MemoryBudget:
    """One that no test fills."""
    return MemoryBudget(2**40)


def without_state() -> StateSaver:
    """That of a model which keeps nothing."""
    return StateSaver(ModelState({}), cast(Any, None))


def batch_of(
    payloads: Sequence[bytes],
    topics: str | Sequence[str] = "in",
    *,
    packet_ids: Sequence[int] | None = None,
    arrived: int = 0,
    session: int = 0,
    redeliverable: bool = True,
    origin: Origin = NOWHERE,
    particulars: Particulars = NOTHING_PARTICULAR,
) -> MessageBatch:
    """One topic is that of all. If no `packet_ids` are given, they count from 1, as of QoS 1; of
    what isn't to be `redeliverable`, they are those of QoS 0."""
    count = len(payloads)
    if packet_ids is None:
        packet_ids = range(1, count + 1) if redeliverable else [0] * count
    batch = MessageBatch(
        [topics] * count if isinstance(topics, str) else list(topics),
        list(payloads),
        list(packet_ids),
        [arrived] * count,
        session,
        particulars,
    )
    batch.origin = origin
    return batch


def chunk_of(payloads: Sequence[bytes], number: int = 0, **about: Any) -> Chunk:
    """A chunk of such a batch."""
    return Chunk(number, batch_of(payloads, **about))


def result_batch_of(payloads: Sequence[bytes], number: int = 0, **about: Any) -> ResultBatch:
    """A result for each message of a chunk: its own payload."""
    chunk = chunk_of(payloads, number, **about)
    return ResultBatch(chunk, range(len(chunk)), list(payloads))


class Acknowledged:
    """An origin that notes what of its batches was acknowledged."""

    def __init__(self) -> None:
        self.calls: list[tuple[MessageBatch, int, int]] = []

    def acknowledge(self, batch: MessageBatch, start: int, stop: int) -> None:
        self.calls.append((batch, start, stop))

    @property
    def packet_ids(self) -> list[int]:
        """Those that a broker waits for."""
        return [
            mid for batch, start, stop in self.calls for mid in batch.packet_ids[start:stop] if mid
        ]

    @property
    def payloads(self) -> list[bytes]:
        return [
            payload for batch, start, stop in self.calls for payload in batch.payloads[start:stop]
        ]


def messages_of(batch: MessageBatch) -> list[Message]:
    return [batch.message(place) for place in range(len(batch))]


def payloads_of(result_batches: Iterable[ResultBatch]) -> list[bytes]:
    return [payload for results in result_batches for payload in results.payloads]


class Standing:
    """What a pool hands its results to, where they stay in their queue."""

    def __init__(self, results: PostQueue) -> None:
        self.room, self.wait_for_room = results.room, results.wait_for_room
        self.sends_lone = False

    def try_send(self) -> None: ...
    def send_lone(self, chunk: Chunk) -> bool:
        return False
