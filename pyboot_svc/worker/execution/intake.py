"""Where messages come in, from the broker or from the dead letters that are tried again."""

from __future__ import annotations

from pyboot_svc.worker.delivery.completion import Completion
from pyboot_svc.worker.delivery.settlement import Settlement
from pyboot_svc.worker.execution.pool import IdleWork
from pyboot_svc.worker.execution.pre_queue import PreQueue
from pyboot_svc.worker.messages import MessageBatch
from pyboot_svc.worker.stats import Stats


class Intake:
    """Queues messages for the model until it is closed, and wakes the one who waits elsewhere."""

    def __init__(
        self,
        pre_queue: PreQueue,
        completion: Completion,
        settlement: Settlement,
        stats: Stats,
        idle_work: IdleWork,
    ) -> None:
        self._pre_queue = pre_queue
        self._completion = completion
        self._settlement = settlement
        self._stats = stats
        self._idle_work = idle_work
        self._open = True

    def deliver(self, batch: MessageBatch) -> None:
        if not self._open:
            # Not acknowledged, so the broker keeps those of QoS 1, for the next start or another
            # instance.
            self._completion.dropped_at_stop(batch.packet_ids.count(0), arrived=False)
            return
        self._stats.received(len(batch.payloads))
        if batch.redeliverable:
            self._settlement.admit(batch)
        dropped = self._pre_queue.put(batch)
        if dropped:
            self._completion.dropped(dropped, for_bytes=self._pre_queue.short_of_bytes)
        if self._idle_work.waiting:
            self._idle_work.wake()

    def tick(self, batch: MessageBatch) -> None:
        """A call is due: it waits as messages do, and is not counted among them."""
        if not self._open:
            return
        self._settlement.admit(batch)
        self._pre_queue.put(batch)
        if self._idle_work.waiting:
            self._idle_work.wake()

    def close(self) -> None:
        self._open = False
