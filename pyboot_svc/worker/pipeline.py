"""The data's way through a worker, and the figures that it shows on the way.

inbox ─► pre_queue ─► model threads ─► post_queue ─► courier ─► outbox
  ▲                     │       │                     │  ▲        │
  │                     │       └─ failed ─► graveyard│  │ spool  │ published
  │                     │ nothing to publish     │    ▼  │        │
  └── settlement: acknowledge in order of arrival ◄───┴──┴────────┘
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from pyboot_svc.config import InstanceConfig
from pyboot_svc.logs import RateLimit
from pyboot_svc.metrics.snapshot import Brokers, ConnectionStatus, Traffic
from pyboot_svc.model.codec import codec_named
from pyboot_svc.model.context import Context
from pyboot_svc.model.loader import Model
from pyboot_svc.worker.delivery.dead_letters import REFUSED, DeadLetters, refused, refused_result
from pyboot_svc.worker.delivery.forwarder import Forwarder
from pyboot_svc.worker.delivery.model_state import ModelState
from pyboot_svc.worker.delivery.post_queue import PostQueue
from pyboot_svc.worker.delivery.redrive import Redrive
from pyboot_svc.worker.delivery.settlement import Settlement
from pyboot_svc.worker.execution.crash_journal import CrashJournal
from pyboot_svc.worker.execution.failure_log import FailureLog
from pyboot_svc.worker.execution.poison import PoisonTracker
from pyboot_svc.worker.execution.pool import LONGEST_CHUNK, ModelPool
from pyboot_svc.worker.execution.pre_queue import PreQueue
from pyboot_svc.worker.execution.runner import ModelCall
from pyboot_svc.worker.execution.stored_in_hand import StoredInHand
from pyboot_svc.worker.memory_budget import Held, input_bytes
from pyboot_svc.worker.messages import (
    Message,
    MessageBatch,
    ResultBatch,
    Sendable,
    StoredMessage,
    count_of,
)
from pyboot_svc.worker.mqtt.interfaces import Count, Deliver, Source
from pyboot_svc.worker.mqtt.reactor import Reactor
from pyboot_svc.worker.stats import Stats
from pyboot_svc.worker.storage.disk_budget import DiskBudget
from pyboot_svc.worker.storage.durable_queue import DEAD_LETTERS, RESULTS, DurableQueue
from pyboot_svc.worker.storage.writer import DATABASE_NAME, DatabaseWriter

if TYPE_CHECKING:
    import sqlite3

_POLL_SECONDS = 0.02
# The broker sends what it has without pause: after this it has nothing more.
_QUIET_SECONDS = 1.0
# What the connections may take, of the time that is given for a drain, to say goodbye.
_FAREWELL_SECONDS = 1.0
_SHORTEST_FAREWELL_SECONDS = 0.1
_LEDGER_NAME = "in-hand"

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
    def acknowledge(self, session: int, packet_ids: Sequence[int]) -> None: ...
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
    def stop(self, timeout: float) -> None: ...


class Durables:
    """What survives the process: database, ledger, the model's state. Opened before the model."""

    def __init__(self, config: InstanceConfig, state_dir: Path) -> None:
        self.file = file = state_dir / DATABASE_NAME
        edge = config.edge
        self.store = DatabaseWriter(file, edge.spool.max_bytes)
        self.budget = DiskBudget(file, edge.spool.max_bytes, lambda: self.store.used)
        self.store.watch(self.budget.look)
        most = max(LONGEST_CHUNK, edge.batch.max_size if edge.batch is not None else 0)
        # One slot more: for what the outbox sends from the disk.
        self.ledger = CrashJournal(state_dir / _LEDGER_NAME, edge.threads + 1, most)
        self.suspects = PoisonTracker(self.store)
        self.suspects.load(self.ledger)
        self.rows_in_hand = StoredInHand(self.ledger, edge.threads, most, self.suspects)
        self.results = DurableQueue(self.store, file, RESULTS)
        self.dead_letters = DurableQueue(self.store, file, DEAD_LETTERS)
        self.budget.count(self.results)
        self.budget.count(self.dead_letters)
        connection = self.store.open_if_there()
        if connection is not None:
            self.results.load(connection)
            self.dead_letters.load(connection)
        elif self.store.trouble is not None:
            # What it holds has to come out as soon as it can be opened.
            self.store.submit(lambda connection: None, lambda: None)
        self.state = self._load_state(connection)

    def _load_state(self, connection: sqlite3.Connection | None) -> ModelState:
        """Also of a file that can't be written now; once it can be, both are made the same."""
        stored: dict[str, str] = {}
        if self.file.exists():
            from pyboot_svc.worker.storage.database import read_state, stored_state

            stored = read_state(self.file) if connection is None else stored_state(connection)
        state = ModelState(stored, known=connection is not None or bool(stored))
        self.store.watch(lambda opened: _meet(state, opened))
        return state


def _meet(state: ModelState, opened: sqlite3.Connection) -> None:
    from pyboot_svc.worker.storage.database import stored_state

    state.meet(stored_state(opened))


class Pipeline:
    """Owns the stages of one worker and what flows between them."""

    def __init__(
        self,
        config: InstanceConfig,
        model: Model,
        make_context: Callable[[], Context],
        safe: Durables,
        inbox: Inbox,
        outbox: Outbox,
        leader: Reactor | None = None,
    ) -> None:
        edge = config.edge
        self._threads = edge.threads
        self._safe = safe
        self._inbox = inbox
        self._outbox = outbox
        self._leader = leader
        self._tally = Stats()
        self._drop_log = RateLimit(1, 10.0)
        self._ticked = time.monotonic()
        self._stalls: list[str] = []
        self._open = True
        self._held = Held(edge.queue.bytes)
        self._pre_queue = PreQueue(
            edge.queue.pre,
            drop_oldest=edge.queue.overflow == "drop_oldest",
            held=self._held,
            lossy=edge.pre.qos == 0,
        )
        self._post_queue = PostQueue(edge.queue.post, lambda: self._courier.kick(), self._held)
        self._settlement = Settlement(
            self._acknowledge, lambda batch: self._held.add_inputs(-input_bytes(batch))
        )
        self._courier = Forwarder(
            edge.post,
            edge.spool,
            self._post_queue,
            safe.results,
            safe.dead_letters,
            safe.budget.room,
            outbox.wake,
            outbox.try_send,
        )
        self._revival = Redrive(safe.store, safe.file, self._deliver, self._courier.send_again)
        self._graveyard = DeadLetters(config, safe.store, safe.dead_letters, outbox.wake)
        calling = ModelCall(
            model,
            codec_named(edge.codec),
            edge.on_error,
            edge.model_timeout,
            safe.ledger,
            safe.suspects,
            FailureLog(),
            batches=edge.batch is not None,
        )
        self._pool = ModelPool(
            calling,
            make_context,
            safe.state,
            self._pre_queue,
            self._post_queue,
            self._settlement,
            self._graveyard,
            safe.store,
            self._tally,
            edge.batch,
            leader,
        )

    def start(self, on_crash: Callable[[], None]) -> None:
        self._safe.store.start(on_crash)
        self._pool.start(self._threads, on_crash)
        self._courier.start(
            self._spooled, self._published, self._refused, self._tally.add, on_crash
        )
        self._outbox.start(self._courier, on_crash)
        crowded, count = lambda: self._held.full, self._tally.add
        self._inbox.start(self._deliver, self._settlement.depth, crowded, count, on_crash)

    def leave(self, timeout: float) -> None:
        """Before the last drain: take in what the broker holds for this instance, and no more."""
        self._inbox.leave()
        deadline = time.monotonic() + timeout
        self._wait(lambda: self._inbox.quiet_seconds > _QUIET_SECONDS, deadline)

    def drain(self, timeout: float) -> int:
        """Take nothing more in, finish what is in hand, spool what can't be published.

        Gives how many messages `timeout` left undone; those of QoS 1 and 2 stay with the broker.
        """
        deadline = time.monotonic() + timeout
        farewell = min(_FAREWELL_SECONDS, max(timeout / 4, _SHORTEST_FAREWELL_SECONDS))
        self._open = False
        self._inbox.close_intake()
        last_call = deadline - 2 * farewell
        self._wait(lambda: self._in_hand() == 0, last_call)
        self._pre_queue.close()
        self._recall_leader()
        self._outbox.stop(farewell)
        self._courier.divert_all()
        # What the model has not begun stays with the broker: nobody waits for that.
        self._wait(lambda: self._pre_queue.taken() + self._leaving() == 0, deadline - farewell)
        left = self._in_hand()
        self._tally.add("dropped_at_stop", self._pre_queue.unprocessed())
        self._post_queue.close()
        self._courier.stop()
        self._pool.flush_state()
        self._safe.suspects.forget_cleared(lingering=0)
        # The last connection that closes takes the log into the database.
        for reader in (self._revival, self._safe.results, self._safe.dead_letters):
            reader.close()
        self._safe.store.stop(max(deadline - time.monotonic(), _FAREWELL_SECONDS))
        self._inbox.stop(max(deadline - time.monotonic(), _FAREWELL_SECONDS))
        self._safe.ledger.close()
        dropped = self._tally.count("dropped_at_stop")
        if dropped:
            log.warning("dropped %d messages of QoS 0 that the stop left unprocessed", dropped)
        return left

    def tick(self) -> None:
        """About once a second: move the figures' window, and look after overlong calls."""
        now = time.monotonic()
        self._tally.tick()
        self._revival.tick()
        self._safe.suspects.forget_cleared()
        self._pool.expire()
        self._pool.flush_state()
        self._stalls = self._pool.stalls(now - self._ticked)
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
        if self._safe.store.trouble is not None:
            reasons.append(self._safe.store.trouble)
        return reasons

    def notices(self) -> list[str]:
        """What is less than it was asked for, and no reason to stop."""
        return self._inbox.notices

    def figures(self) -> Traffic:
        pre, post = self.depths()
        counted = self._tally.figures()
        return Traffic(
            pre_queue=pre,
            post_queue=post,
            in_flight=self._outbox.in_flight,
            unacknowledged=self._settlement.depth(),
            spooled=self._safe.results.depth,
            dead_letters_waiting=self._safe.dead_letters.depth,
            held_bytes=self._held.size,
            counters=counted.counters,
            errors=counted.errors,
            rates=counted.rates,
            latency_ms=counted.latency_ms,
            brokers=Brokers(self._inbox.status, self._outbox.status),
        )

    def _wait(self, condition: Callable[[], bool], deadline: float) -> None:
        while not condition() and time.monotonic() < deadline:
            self._pool.expire()
            time.sleep(_POLL_SECONDS)

    def _in_hand(self) -> int:
        return self._pre_queue.unfinished() + self._leaving()

    def _leaving(self) -> int:
        """Results on their way to the broker or to the disk."""
        waiting = self._post_queue.depth()  # first: what leaves it is counted where it goes
        sent = max(self._outbox.in_flight, self._courier.live)
        return waiting + sent + self._courier.writing

    def _deliver(self, batch: MessageBatch) -> None:
        if not self._open and batch.rows is None:
            # Not acknowledged, so the broker keeps those of QoS 1, for the next start or another
            # instance.
            lost = batch.packet_ids.count(0)
            self._tally.add("received", lost)
            self._tally.add("dropped_at_stop", lost)
            return
        self._tally.add("received", len(batch))
        self._settlement.admit(batch)
        dropped = self._pre_queue.put(batch)
        self._recall_leader()
        if dropped:
            self._tally.add("dropped", dropped)
            silent = self._drop_log.admit("full")
            if silent is not None:
                log.warning(
                    "pre_queue is full: dropped %d messages of QoS 0; the model is too slow for "
                    "what arrives: raise `instance` or `threads`, or use pre_qos 1",
                    dropped,
                )

    def _recall_leader(self) -> None:
        if self._leader is not None:
            self._leader.wake()

    def _acknowledge(self, batch: MessageBatch, start: int, stop: int) -> None:
        if batch.rows is not None:
            self._revival.forget(batch.rows[start:stop])
        else:
            self._inbox.acknowledge(batch.session, batch.packet_ids[start:stop])

    def _published(self, parcels: list[ResultBatch]) -> None:
        for parcel in parcels:
            self._tally.published(parcel.arrivals())
            self._settlement.settle(parcel.chunk, parcel.places)
        self._post_queue.left(parcels)

    def _spooled(self, parcels: list[ResultBatch]) -> None:
        for parcel in parcels:
            self._tally.add("spooled", len(parcel))
            self._settlement.settle(parcel.chunk, parcel.places)
        self._post_queue.left(parcels)

    def _refused(self, items: list[Sendable], reason: str) -> None:
        for item in items:
            self._tally.add_errors([REFUSED] * count_of(item))
            if isinstance(item, StoredMessage):
                result = Message(item.topic, item.payload), refused_result(reason)
                self._graveyard.add([result], lambda: None)
                continue
            chunk, places = item.chunk, item.places
            buried = [(chunk.batch.message(place), refused(reason)) for place in places]
            self._graveyard.add(buried, partial(self._settlement.settle, chunk, places))
        self._post_queue.left([item for item in items if isinstance(item, ResultBatch)])
