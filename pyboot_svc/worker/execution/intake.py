"""Where messages come in, from the broker or from the dead letters that are tried again."""

from __future__ import annotations

from collections.abc import Callable

from pyboot_svc.worker.delivery.completion import Completion
from pyboot_svc.worker.execution.pre_queue import PreQueue
from pyboot_svc.worker.messages import MessageBatch


class Intake:
    """Queues messages for the model until it is closed; `wake` tells who waits elsewhere."""

    def __init__(
        self, pre_queue: PreQueue, completion: Completion, wake: Callable[[], None]
    ) -> None:
        self._pre_queue = pre_queue
        self._completion = completion
        self._wake = wake
        self._open = True

    def deliver(self, batch: MessageBatch) -> None:
        if not self._open:
            # Not acknowledged, so the broker keeps those of QoS 1, for the next start or another
            # instance.
            self._completion.dropped_at_stop(batch.packet_ids.count(0), arrived=False)
            return
        self._completion.admit(batch)
        dropped = self._pre_queue.put(batch)
        if dropped:
            self._completion.dropped(dropped)
        self._wake()

    def close(self) -> None:
        self._open = False
