"""A worker's pipeline without brokers: messages come as fast as they are taken, results vanish."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from itertools import islice

from pyboot_svc.metrics.snapshot import ConnectionStatus
from pyboot_svc.threads import spawn
from pyboot_svc.worker.messages import Chunk, MessageBatch
from pyboot_svc.worker.mqtt.interfaces import Count, Deliver, Source

_CONNECTED = ConnectionStatus("memory", "connected", "", 0.0)
_MOST_AT_ONCE = 1000


class MemoryInbox:
    """`feed` delivers messages; nobody waits for their acknowledgements."""

    status = _CONNECTED
    overdue = -1.0
    subscribed = True
    quiet_seconds = 0.0

    def __init__(self, topic: str, payloads: Iterator[bytes], *, redeliverable: bool) -> None:
        self._topic = topic
        self._payloads = payloads
        self._packet_id = 1 if redeliverable else -1
        self.notices: list[str] = []

    def start(
        self,
        deliver: Deliver,
        unacknowledged: Callable[[], int],
        crowded: Callable[[], bool],
        count: Count,
        on_crash: Callable[[], None],
    ) -> None:
        self._deliver = deliver

    def feed(self, count: int) -> None:
        """By numbers, so that none is dropped, of whatever QoS they are."""
        self._deliver(
            MessageBatch(
                [self._topic] * count,
                list(islice(self._payloads, count)),
                [self._packet_id] * count,
                [time.monotonic_ns()] * count,
            )
        )

    def command(self, topic: str, payload: bytes) -> None: ...
    def leave(self) -> None: ...
    def close_intake(self) -> None: ...
    def stop(self, timeout: float) -> None: ...


class MemoryOutbox:
    """Takes what there is, from a thread of its own, and has it delivered at once."""

    status = _CONNECTED
    overdue = -1.0
    trouble: str | None = None
    in_flight = 0

    def __init__(self) -> None:
        self._woken = threading.Event()
        self._open = True

    def start(self, source: Source, on_crash: Callable[[], None]) -> None:
        self._source = source
        self._thread = spawn("post", self._run, on_crash)

    def wake(self) -> None:
        self._woken.set()

    try_send = wake

    def send_lone(self, chunk: Chunk) -> bool:
        """None is ever alone here: as many come as can be taken."""
        return False

    def leaving(self, *, for_good: bool = False) -> None: ...
    def stop(self, timeout: float) -> None:
        self._open = False
        self.wake()
        self._thread.join(timeout)

    def _run(self) -> None:
        self._source.connected()
        while self._open:
            self._woken.wait()
            self._woken.clear()
            while taken := self._source.take_results(_MOST_AT_ONCE):
                self._source.delivered([*taken])
        self._source.lost([])
