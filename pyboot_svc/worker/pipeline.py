"""A message's way through a worker, assembled; and the figures that it shows on the way.

inbox ─► intake ─► pre_queue ─► pool ─► completion ─► post_queue ─► forwarder ─► outbox
  ▲                                      ▲   │                       │ ▲           │
  │                                      │   └─► dead letters        ▼ │           │
  │                                      │                          spool          │
  └────────── settlement ◄───────────────┴── published, spooled, refused ◄─────────┘
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import NamedTuple, Protocol

from pyboot_svc.config import InstanceConfig
from pyboot_svc.config.settings import SPARKPLUG
from pyboot_svc.metrics.snapshot import Brokers, ConnectionStatus, Traffic
from pyboot_svc.model.context import Context
from pyboot_svc.model.loader import Model, ticking
from pyboot_svc.text import counted
from pyboot_svc.worker.delivery.completion import Completion
from pyboot_svc.worker.delivery.dead_letters import DeadLetters
from pyboot_svc.worker.delivery.forwarder import Forwarder
from pyboot_svc.worker.delivery.model_state import StateSaver
from pyboot_svc.worker.delivery.post_queue import PostQueue
from pyboot_svc.worker.delivery.redrive import Redrive
from pyboot_svc.worker.delivery.settlement import Settlement
from pyboot_svc.worker.durables import Durables
from pyboot_svc.worker.execution.failure_log import FailureLog, summary
from pyboot_svc.worker.execution.intake import Intake
from pyboot_svc.worker.execution.model_call import ModelCall
from pyboot_svc.worker.execution.pool import IdleWork, ModelPool
from pyboot_svc.worker.execution.pre_queue import PreQueue
from pyboot_svc.worker.execution.ticker import NoTicker, Ticker
from pyboot_svc.worker.memory_budget import MemoryBudget
from pyboot_svc.worker.messages import Chunk
from pyboot_svc.worker.mqtt.interfaces import Count, Deliver, Source
from pyboot_svc.worker.silence import Silence
from pyboot_svc.worker.stats import Stats
from pyboot_svc.worker.tracer import Tracer

_POLL_SECONDS = 0.02
# The broker sends what it has without pause: after this it has nothing more.
_QUIET_SECONDS = 1.0
# What the connections may take, of the time that is given for a drain, to say goodbye.
_FAREWELL_SECONDS = 1.0
_SHORTEST_FAREWELL_SECONDS = 0.1

log = logging.getLogger(__name__)


class Inbox(Protocol):
    """Where messages come from."""

    @property
    def status(self) -> ConnectionStatus: ...
    @property
    def overdue(self) -> float: ...
    @property
    def subscribed(self) -> bool: ...
    @property
    def notices(self) -> list[str]: ...
    def start(
        self,
        deliver: Deliver,
        unacknowledged: Callable[[], int],
        crowded: Callable[[], bool],
        count: Count,
        on_crash: Callable[[], None],
    ) -> None: ...
    def command(self, topic: str, payload: bytes) -> None: ...
    def leave(self) -> None: ...
    @property
    def quiet_seconds(self) -> float: ...
    def close_intake(self) -> None: ...
    def stop(self, timeout: float) -> None: ...


class Outbox(Protocol):
    """Where messages go; it takes them from its source when it can send."""

    @property
    def status(self) -> ConnectionStatus: ...
    @property
    def overdue(self) -> float: ...
    @property
    def trouble(self) -> str | None: ...
    @property
    def in_flight(self) -> int: ...
    def start(self, source: Source, on_crash: Callable[[], None]) -> None: ...
    def wake(self) -> None: ...
    def try_send(self) -> None: ...
    @property
    def send_lone(self) -> Callable[[Chunk], bool]: ...
    def leaving(self, *, for_good: bool = False) -> None: ...
    def stop(self, timeout: float) -> None: ...


class Links(NamedTuple):
    """The connections of a worker, and who turns them while the model has nothing to do."""

    inbox: Inbox
    outbox: Outbox
    idle_work: IdleWork


class Pipeline:
    """Owns the stages of one worker and what flows between them."""

    def __init__(
        self,
        config: InstanceConfig,
        model: Model,
        make_context: Callable[[], Context],
        durables: Durables,
        links: Links,
    ) -> None:
        edge = config.edge
        self._threads = edge.threads
        self._model = model
        self._durables = durables
        self._inbox = links.inbox
        self._outbox = links.outbox
        self._idle_work = links.idle_work
        self._stats = Stats()
        self._budget = MemoryBudget(edge.queue.bytes)
        self._saver = StateSaver(durables.state, durables.store)
        self._settlement = Settlement(self._budget, self._saver)
        self._post_queue = PostQueue(edge.queue.post, self._budget)
        dead_letters = DeadLetters(
            config, durables.store, durables.spool.dead_letters, links.outbox.wake
        )
        self.tracer = Tracer(edge.post.topic)
        self._completion = Completion(
            self._post_queue,
            dead_letters,
            self._saver,
            self._settlement,
            self._stats,
            self.tracer,
        )
        self._forwarder = Forwarder(
            edge, self._post_queue, durables.spool, links.outbox, self._completion
        )
        self._pre_queue = PreQueue(
            edge.queue.pre,
            self._budget,
            drop_oldest=edge.queue.overflow == "drop_oldest",
            lossy=edge.pre.qos == 0,
        )
        self._intake = Intake(
            self._pre_queue,
            self._completion,
            self._settlement,
            self._stats,
            links.idle_work,
        )
        self._deliver = again = self._intake.deliver
        if edge.codec == SPARKPLUG:
            from pyboot_svc.worker.execution.placing import placing_of  # which others don't need

            placing = placing_of(edge, self._intake.deliver, links.inbox.command)
            self._deliver, again = placing.deliver, placing.deliver_again
        self._redrive = Redrive(durables.store, durables.file, again, self._forwarder.send_again)
        self._ticker: Ticker | NoTicker = NoTicker()
        if ticking(model, edge.every) and edge.every is not None:
            self._ticker = Ticker(edge.every, self._intake.tick)
        self._pool = ModelPool(
            ModelCall.of(edge, model, durables, FailureLog()),
            make_context,
            self._pre_queue,
            self._completion,
            self._forwarder,
            links.idle_work,
        )
        self._ticked = time.monotonic()
        self._stalls: list[str] = []
        self._silence = Silence(" or ".join(edge.pre.topics))
        self._worked = threading.Event()

    def start(self, on_crash: Callable[[], None], *, here: bool = False) -> None:
        """With `here`, the caller goes on to `work`, and is the model's thread if it has one."""
        if not here:
            self._worked.set()
        self._durables.store.start(on_crash)
        self._pool.start(self._threads, on_crash, here=here)
        self._forwarder.start(on_crash)
        self._outbox.start(self._forwarder, on_crash)
        self._ticker.start(on_crash)
        self._inbox.start(
            self._deliver,
            lambda: self._settlement.unacknowledged,
            lambda: self._budget.full,
            self._stats.add,
            on_crash,
        )

    def work(self) -> None:
        """Call the model, in the thread that loaded it, until a drain has closed the intake; then
        close it."""
        try:
            self._pool.work()
            self._close_model()
        finally:
            self._worked.set()

    def _close_model(self) -> None:
        try:
            self._model.close()
        except BaseException as error:  # the user's code
            log.error("the model's close() failed: %s", summary(error))

    @property
    def worked(self) -> bool:
        """Whether `work` has come to its end, or was never called for."""
        return self._worked.is_set()

    def leave(self, timeout: float) -> None:
        """Before the last drain: take in what the broker holds for this instance, and no more."""
        self._outbox.leaving(for_good=True)
        self._inbox.leave()
        deadline = time.monotonic() + timeout
        self._wait(lambda: self._inbox.quiet_seconds > _QUIET_SECONDS, deadline)

    def drain(self, timeout: float) -> int:
        """Take nothing more in, finish what is in hand, spool what can't be published.

        Gives how many messages `timeout` left undone; those of QoS 1 and 2 stay with the broker.
        """
        deadline = time.monotonic() + timeout
        self._outbox.leaving()
        farewell = min(_FAREWELL_SECONDS, max(timeout / 4, _SHORTEST_FAREWELL_SECONDS))
        self._ticker.stop()
        self._intake.close()
        self._inbox.close_intake()
        self._wait(lambda: self._in_hand() + self._outbox.in_flight == 0, deadline - 2 * farewell)
        self._pre_queue.close()
        self._idle_work.wake()
        self._outbox.stop(farewell)
        self._forwarder.divert_all()
        # What the model has not begun stays with the broker: nobody waits for that.
        self._wait(lambda: self._pre_queue.taken() + self._leaving() == 0, deadline - farewell)
        left = self._in_hand()
        self._completion.dropped_at_stop(self._pre_queue.unprocessed())
        self._close(deadline)
        dropped = self._stats.count("dropped_at_stop")
        if dropped:
            what = counted(dropped, "message")
            log.warning("dropped %s of QoS 0 that the stop left unprocessed", what)
        return left

    def _close(self, deadline: float) -> None:
        """In the order of the way, storage after all that writes; each step runs, whatever one of
        the others does."""
        durables = self._durables

        def left() -> float:
            return max(deadline - time.monotonic(), _FAREWELL_SECONDS)

        for step in (
            self._post_queue.close,
            self._forwarder.stop,
            # What the model's close() keeps in its state is to be saved, too.
            lambda: self._worked.wait(left()),
            self._saver.save_all,
            lambda: durables.suspects.forget_cleared(lingering=0),
            # The last connection that closes takes the log into the database.
            self._redrive.close,
            durables.spool.close,
            lambda: durables.store.stop(left()),
            lambda: self._inbox.stop(left()),
            durables.journal.close,
        ):
            try:
                step()
            except Exception:
                log.exception("a step of the stop failed; the others go on")

    def add(self, counter: str, count: int) -> None:
        """To one of those that the figures have."""
        self._stats.add(counter, count)

    def tick(self) -> None:
        """About once a second: move the figures' window, and look after overlong calls."""
        now = time.monotonic()
        self._stats.tick()
        self._durables.store.tick()
        self._redrive.tick()
        self._durables.suspects.forget_cleared()
        self._pool.expire()
        self._saver.flush()
        self._stalls = self._pool.stalls(now - self._ticked)
        if not self._silence.is_over:
            counters = self._stats.counters()
            self._silence.look(now, subscribed=self._inbox.subscribed, counters=counters)
        self._ticked = now

    def depths(self) -> tuple[int, int]:
        """The messages that wait before and after the model."""
        return self._pre_queue.depth(), self._post_queue.depth()

    @property
    def subscribed(self) -> bool:
        return self._inbox.subscribed

    def stalls(self) -> list[str]:
        """What makes no progress, in words; empty when all is well."""
        threads = {"pre": self._inbox.overdue, "post": self._outbox.overdue}
        return self._stalls + [
            f"thread {name} made no progress for {late:.0f} s past its limit"
            for name, late in threads.items()
            if late > 0
        ]

    def not_ready(self) -> list[str]:
        """Why this instance can't do its work right now; empty when it can."""
        reasons = []
        for role, status in (("pre", self._inbox.status), ("post", self._outbox.status)):
            if status.state != "connected" or status.reason:
                reason = status.reason or status.state
                reasons.append(f"{role} broker {status.address}: {reason}")
        if not reasons and not self._inbox.subscribed:
            reasons.append("not subscribed yet")
        if not reasons and self._outbox.trouble is not None:
            reasons.append(f"post broker {self._outbox.status.address}: {self._outbox.trouble}")
        if self._durables.store.trouble is not None:
            reasons.append(self._durables.store.trouble)
        return reasons

    def notices(self) -> list[str]:
        """What is less than it was asked for, and no reason to stop."""
        calls, spans = self._pool.long_calls(), self.tracer.notices
        return [*self._inbox.notices, *self._silence.texts, *calls, *spans]

    def figures(self) -> Traffic:
        pre, post = self.depths()
        counted, spool = self._stats.figures(), self._durables.spool
        return Traffic(
            pre_queue=pre,
            post_queue=post,
            in_flight=self._outbox.in_flight,
            unacknowledged=self._settlement.unacknowledged,
            spooled=spool.results.depth,
            dead_letters_waiting=spool.dead_letters.depth,
            held_bytes=self._budget.size,
            counters=counted.counters,
            errors=counted.errors,
            rates=counted.rates,
            latency_ms=counted.latency_ms,
            histograms=counted.histograms,
            last=counted.last,
            brokers=Brokers(self._inbox.status, self._outbox.status),
        )

    def _wait(self, condition: Callable[[], bool], deadline: float) -> None:
        while not condition() and time.monotonic() < deadline:
            self._pool.expire()
            time.sleep(_POLL_SECONDS)

    def _in_hand(self) -> int:
        return self._pre_queue.unfinished() + self._leaving()

    def _leaving(self) -> int:
        """Results on their way to the broker or to the disk, and what waits for the state to be
        there."""
        waiting = self._post_queue.depth()  # first: what leaves it is counted where it goes
        return waiting + self._forwarder.live + self._forwarder.writing + self._saver.held
