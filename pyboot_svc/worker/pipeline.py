"""The data's way through a worker, and the figures that it shows on the way.

inbox ─► pre_queue ─► model threads ─► post_queue ─► outbox
  ▲                        │ nothing to publish        │ published
  └──── settlement: acknowledge in order of arrival ◄──┘
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any, Protocol

from pyboot_svc.config import Edge
from pyboot_svc.logs import RateLimit
from pyboot_svc.model.codec import codec_named
from pyboot_svc.model.context import Context
from pyboot_svc.model.loader import Model
from pyboot_svc.worker.inbox import Deliver
from pyboot_svc.worker.link import LinkStatus
from pyboot_svc.worker.message import Message
from pyboot_svc.worker.outbox import Published
from pyboot_svc.worker.pool import ModelPool
from pyboot_svc.worker.queues import PostQueue, PreQueue
from pyboot_svc.worker.settlement import Settlement
from pyboot_svc.worker.tally import Tally

_POLL_SECONDS = 0.02
# What the connections may take, of the time that is given for a drain, to say goodbye.
_FAREWELL_SECONDS = 1.0

log = logging.getLogger(__name__)


class Inbox(Protocol):
    """Where messages come from."""

    @property
    def status(self) -> LinkStatus: ...
    @property
    def overdue(self) -> float: ...
    @property
    def subscribed(self) -> bool: ...
    def start(self, deliver: Deliver, on_crash: Callable[[], None]) -> None: ...
    def acknowledge(self, messages: list[Message]) -> None: ...
    def close_intake(self) -> None: ...
    def stop(self, timeout: float) -> None: ...


class Outbox(Protocol):
    """Where results go; it takes them from the post_queue when it can send."""

    @property
    def status(self) -> LinkStatus: ...
    @property
    def overdue(self) -> float: ...
    @property
    def in_flight(self) -> int: ...
    def start(
        self,
        results: PostQueue,
        published: Published,
        refused: Published,
        on_crash: Callable[[], None],
    ) -> None: ...
    def wake(self) -> None: ...
    def stop(self, timeout: float) -> None: ...


class Pipeline:
    """Owns the stages of one worker and what flows between them."""

    def __init__(
        self,
        edge: Edge,
        model: Model,
        make_context: Callable[[], Context],
        inbox: Inbox,
        outbox: Outbox,
    ) -> None:
        self._threads = edge.threads
        self._inbox = inbox
        self._outbox = outbox
        self._tally = Tally()
        self._drop_log = RateLimit(1, 10.0)
        self._pre_queue = PreQueue(edge.queue.pre)
        self._post_queue = PostQueue(edge.queue.post, outbox.wake)
        self._settlement = Settlement(inbox.acknowledge)
        self._pool = ModelPool(
            model,
            codec_named(edge.codec),
            make_context,
            self._pre_queue,
            self._post_queue,
            self._settlement.settle,
            self._tally,
            edge.model_timeout,
        )

    def start(self, on_crash: Callable[[], None]) -> None:
        self._pool.start(self._threads, on_crash)
        self._outbox.start(self._post_queue, self._published, self._refused, on_crash)
        self._inbox.start(self._deliver, on_crash)

    def drain(self, timeout: float) -> int:
        """Take nothing more in, finish what is in hand; how many messages `timeout` left undone."""
        deadline = time.monotonic() + timeout
        self._inbox.close_intake()
        while self._in_hand() and time.monotonic() < deadline - _FAREWELL_SECONDS:
            time.sleep(_POLL_SECONDS)
        left = self._in_hand()
        self._pre_queue.close()
        self._post_queue.close()
        self._outbox.stop(max(deadline - time.monotonic(), _FAREWELL_SECONDS))
        self._inbox.stop(max(deadline - time.monotonic(), _FAREWELL_SECONDS))
        return left

    def tick(self) -> None:
        self._tally.tick()

    def depths(self) -> tuple[int, int]:
        """The messages that wait before and after the model."""
        return self._pre_queue.depth(), self._post_queue.depth()

    @property
    def subscribed(self) -> bool:
        return self._inbox.subscribed

    def stalls(self) -> list[str]:
        """The threads that don't get on, in words; empty when all is well."""
        threads = {"pre": self._inbox.overdue, "post": self._outbox.overdue, **self._pool.overdue()}
        return [
            f"thread {name} has not got on for {late:.0f} s longer than it may"
            for name, late in threads.items()
            if late > 0
        ]

    def not_ready(self) -> list[str]:
        """Why this instance can't do its work right now; empty when it can."""
        reasons = []
        for role, status in (("pre", self._inbox.status), ("post", self._outbox.status)):
            if status.state != "connected":
                reason = status.reason or status.state
                reasons.append(f"{role} broker {status.address}: {reason}")
        if not reasons and not self._inbox.subscribed:
            reasons.append("not subscribed yet")
        return reasons

    def figures(self) -> dict[str, Any]:
        pre, post = self.depths()
        return {
            "pre_queue": pre,
            "post_queue": post,
            "in_flight": self._outbox.in_flight,
            "unacknowledged": self._settlement.depth(),
            **self._tally.figures(),
            "brokers": {
                "pre": self._inbox.status.as_dict(),
                "post": self._outbox.status.as_dict(),
            },
        }

    def _in_hand(self) -> int:
        return self._pre_queue.unfinished() + self._post_queue.depth() + self._outbox.in_flight

    def _deliver(self, batch: list[Message]) -> None:
        self._tally.add("received", len(batch))
        self._settlement.admit(batch)
        refused = self._pre_queue.put(batch)
        if refused:
            self._tally.add("dropped", len(refused))
            silent = self._drop_log.admit("full")
            if silent is not None:
                log.warning(
                    "pre_queue is full: dropped %d messages of QoS 0; the model is too slow for "
                    "what arrives: raise `instance` or `threads`, or use pre_qos 1",
                    len(refused),
                )

    def _published(self, messages: list[Message]) -> None:
        self._tally.add("published", len(messages))
        self._tally.finished(message.arrived for message in messages)
        self._settlement.settle(messages)

    def _refused(self, messages: list[Message]) -> None:
        self._tally.add_errors("refused" for _ in messages)
        self._settlement.settle(messages)
