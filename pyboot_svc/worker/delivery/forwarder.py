"""Decides what goes out next: what was spooled first, then live results.

While the post broker is away, or anything lies in the spool, results take the way through the
spool, so that they keep their order and can be acknowledged upstream.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable
from typing import Protocol

from pyboot_svc.config import Edge
from pyboot_svc.logs import RateLimit
from pyboot_svc.text import counted
from pyboot_svc.threads import spawn
from pyboot_svc.worker.delivery.completion import Completion
from pyboot_svc.worker.delivery.post_queue import PostQueue
from pyboot_svc.worker.messages import (
    DEAD_LETTERS,
    ID_BYTES,
    ID_PROPERTY,
    RESULTS,
    Addressed,
    Chunk,
    ResultBatch,
    Sendable,
    StoredMessage,
    lane_of,
)
from pyboot_svc.worker.storage.disk_budget import bytes_on_pages
from pyboot_svc.worker.storage.rows import Row, row_size, with_options
from pyboot_svc.worker.storage.spool import Spool

_MOST_ROWS = 500
# Behind so few, newer results wait in the post_queue.
_FEW_ROWS = 1000
# More results would only wait in memory for a disk that doesn't keep up.
_MOST_PENDING = 4 * _MOST_ROWS
_HOUSEKEEPING_SECONDS = 5.0
# While results wait that may become too old, their age is noted so often: it survives a power cut.
_NOTE_SECONDS = 60.0

log = logging.getLogger(__name__)


class Outbox(Protocol):
    """The connection to the post broker."""

    def wake(self) -> None:
        """Look for something to send, soon."""

    def try_send(self) -> None:
        """Send results here and now, if that is possible."""

    def send_lone(self, chunk: Chunk) -> bool:
        """Send the one result of this chunk, and tell the source so; False unless it is sent."""


class Forwarder:
    """Between the post_queue, the spool and the outbox: store and forward.

    `completion` is told what is safe: durable in the spool, or with the broker.
    """

    def __init__(
        self,
        edge: Edge,
        post_queue: PostQueue,
        spool: Spool,
        outbox: Outbox,
        completion: Completion,
    ) -> None:
        self._endpoint = edge.post
        self._limits = edge.spool
        self._results = post_queue
        self._spooled = spool.results
        self._dead_letters = spool.dead_letters
        self._spool = spool
        self._outbox = outbox
        self._completion = completion
        named = {ID_PROPERTY: "0" * ID_BYTES}
        self._beside_payload = row_size(edge.post.topic, b"", named)
        # Before more results are made: until there is room, and how many then.
        self.room, self.wait_for_room = post_queue.room, post_queue.wait_for_room
        # The one result of a chunk, at once if nothing is before it; False if it has to wait.
        self.send_lone = outbox.send_lone
        # Whether that may help: on the plain plane paho writes when it likes, as it does at QoS 2.
        self.sends_lone = edge.post.qos < 2 and edge.data_plane == "bulk"
        self.published_at_once = completion.published_at_once
        self._online = False
        # The lanes that the broker takes nothing of for now.
        self._held: set[int] = set()
        # Results that have left the post_queue for the broker, and are not safe there. Whoever
        # turns the outbox changes it, and nobody else.
        self.live = 0
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._stopping = False
        self._limit = RateLimit(1, 30.0)
        self._noted = time.monotonic()

    def start(self, on_crash: Callable[[], None]) -> None:
        spawn("spool", self._run, on_crash)

    def try_send(self) -> None:
        """There may be results to send."""
        if self._results.ready:
            if self._online and (self._spooled.empty or self._goes_straight):
                self._outbox.try_send()
            else:
                self._wake.set()

    # For the outbox:

    def connected(self) -> None:
        for lane in (RESULTS, DEAD_LETTERS):
            self.resume(lane)

    def lost(self, in_flight: list[Sendable]) -> None:
        """Take back what was sent and is not known to be safe."""
        self._take_back(in_flight)
        self._dead_letters.reset()

    def hold(self, lane: int, again: list[Sendable]) -> None:
        """Take back what was sent of this lane; nothing of it goes out until `resume`."""
        self._held.add(lane)
        if lane == RESULTS:
            self._take_back(again)
        else:
            self._dead_letters.reset()

    def resume(self, lane: int) -> None:
        self._held.discard(lane)
        if lane == RESULTS:
            self._spooled.serve(self._outbox.wake)
            self._online = True
        else:
            self._dead_letters.serve(self._outbox.wake)

    def _take_back(self, results: list[Sendable]) -> None:
        """They go by the spool from here on."""
        with self._lock:
            self._online = False
            self.live = 0
            self._results.put_back([item for item in results if isinstance(item, ResultBatch)])
            self._spooled.reset()
        self._wake.set()

    def ready(self) -> bool:
        if self._results.ready and RESULTS not in self._held and self._goes_straight:
            return True
        return self.rows_ready()

    def rows_ready(self) -> bool:
        if self._spooled.empty and self._dead_letters.empty:
            return False
        if RESULTS not in self._held and self._spooled.ready:
            return True
        return DEAD_LETTERS not in self._held and self._dead_letters.ready

    def take_rows(self, room: int, *, from_disk: bool = True) -> list[StoredMessage]:
        """What waits on disk: dead letters, and results if they go by the spool."""
        letters: list[StoredMessage] = []
        if DEAD_LETTERS not in self._held:
            letters = self._dead_letters.take(room, from_disk=from_disk)
        with self._lock:
            if RESULTS in self._held:
                return letters
            return letters + self._spooled.take(room - len(letters), from_disk=from_disk)

    def take_results(self, room: int) -> list[ResultBatch]:
        """What goes out without the spool."""
        with self._lock:
            if RESULTS in self._held or not (self._spooled.empty or self._goes_straight):
                return []
            live = self._results.take(room)
            for results in live:
                self.live += len(results.payloads)
            return live

    def is_next(self, chunk: Chunk) -> bool:
        if not self._online or not (self._spooled.empty or self._goes_straight):
            return False  # without the lock: who has it may be at the disk
        with self._lock:  # what leaves the post_queue for the spool is not between both
            if RESULTS in self._held or not (self._spooled.empty or self._goes_straight):
                return False
            return self._results.is_next(chunk.number)

    def on_its_way(self, results: ResultBatch) -> None:
        self._completion.on_its_way(results)
        self.live += 1

    @property
    def _goes_straight(self) -> bool:
        """Whether results go to the broker without the spool: all that was spooled is on its way
        before them. To wait until it is deleted, too, would never end beside a steady input."""
        return not self._spooled.waiting

    @property
    def _nearly_through(self) -> bool:
        """Whether it is quicker to wait for the last of the spool than to go through it."""
        return self._spooled.waiting <= _FEW_ROWS

    def delivered(self, items: list[Sendable]) -> None:
        """These are safe with the broker."""
        live: list[ResultBatch] = []
        landed = 0
        for item in items:
            if isinstance(item, ResultBatch):
                live.append(item)
                landed += len(item.payloads)
        if live:
            self._completion.published(live)
            self.live -= landed
        if self._spooled.empty and self._dead_letters.empty:
            return
        self._follow()
        stored = [item for item in items if isinstance(item, StoredMessage)]
        if stored:
            self._completion.published_from_spool(self._remove(stored))

    def refused(self, items: list[Sendable], reason: str) -> None:
        """These will never go out. A dead letter is kept locally all the same."""
        results = [item for item in items if lane_of(item) == RESULTS]
        if results:
            # First: what is removed from the spool is among the dead by then.
            self._completion.refused(results, reason, self._endpoint.topic)
            self.live -= sum(len(item) for item in results if isinstance(item, ResultBatch))
            self._follow()
        self._remove([item for item in items if isinstance(item, StoredMessage)])

    def send_again(self, rows: list[tuple[str, bytes]], done: Callable[[], None]) -> None:
        """Publish results that were given up, by topic and payload; `done` when that is durable."""
        qos = self._endpoint.qos

        def spooled() -> None:
            done()
            self._outbox.wake()

        self._spooled.append([(topic, payload, qos, {}) for topic, payload in rows], spooled)

    def _follow(self) -> None:
        """When the last that went straight out is safe: the rest may have to go by the spool."""
        if self.live == 0 and self._spooled.waiting:
            self._wake.set()

    def _remove(self, stored: list[StoredMessage]) -> int:
        """Delete these from the disk; gives how many of them are results."""
        results = [row for row in stored if row.lane == RESULTS]
        if results:
            # There is room again, or the spool is empty, and results can go straight out.
            self._spooled.remove(results, self._look_again)
        letters = [row for row in stored if row.lane == DEAD_LETTERS]
        if letters:
            self._dead_letters.remove(letters)
        return len(results)

    def _look_again(self) -> None:
        """What was in the way of others is gone."""
        if self._online and not self._spooled.waiting:
            self._outbox.try_send()
        else:
            self._wake.set()

    # The thread that fills the spool:

    def divert_all(self) -> None:
        """At the end: what is left in the post_queue goes to the spool."""
        self._online = False
        self._wake.set()

    @property
    def writing(self) -> int:
        """Results on their way to the disk."""
        with self._lock:  # not between a queue that they have left and a lane they aren't in yet
            return self._spooled.pending

    def stop(self) -> None:
        self._stopping = True
        self._wake.set()

    def _run(self) -> None:
        while not self._stopping:
            # With an empty spool, what finds no room on the disk waits in the post_queue.
            waiting = self._spooled.busy or self._results.ready
            self._wake.wait(_HOUSEKEEPING_SECONDS if waiting else None)
            self._wake.clear()
            self._drop_old()
            while self._divert():
                pass

    def _divert(self) -> bool:
        """Move some results to the spool; False when there is nothing to move, or no room."""
        with self._lock:
            if self._online and (self.live > 0 or self._goes_straight):
                # From here on results go straight out. While one that did is in flight, no other
                # goes to the spool: if the connection is lost, it has to go there first.
                self._outbox.wake()
                return False
            if self._online and (self._spooled.in_memory or self._nearly_through):
                return False  # what is before them will soon be out of the way
            batch = self._results.take(self._fitting())
            if not batch:
                return False
            rows = [row for results in batch for row in self._rows(results)]
            self._spooled.append(rows, lambda: self._on_spooled(batch))
        return True

    def _on_spooled(self, batch: list[ResultBatch]) -> None:
        self._completion.spooled(batch)
        self._wake.set()
        self._outbox.wake()

    def _fitting(self) -> int:
        """How many of the results that wait the disk has room for now."""
        spooled = self._spooled
        if spooled.pending >= _MOST_PENDING or not self._results.ready:
            return 0
        most = max(self._spool.most_pending_bytes - spooled.pending_bytes, 0)
        fitting, wanted = self._fit(most)
        if fitting == 0:
            if spooled.pending:
                return 0
            fitting, wanted = self._results.fitting(1, sys.maxsize, self._on_disk)
        room = self._spool.room(wanted)
        if wanted > room and self._limits.on_full == "drop_oldest":
            oldest = _first_bytes(spooled.oldest(_MOST_ROWS), wanted - room)
            self._drop(oldest, "spool_overflowed", "the spool is full")
            room = self._spool.room(wanted)
        if wanted > room:
            fitting, _ = self._fit(room)
        if fitting == 0 and spooled.size == 0 and not self._spool.disk_is_low:
            return 1  # larger than the spool may be: it would wait for ever
        if fitting == 0:
            self._say_full()
        return fitting

    def _say_full(self) -> None:
        if self._limit.admit("full") is None:
            return
        full = f"the spool is full, by the {self._limits.max_bytes} bytes of spool.max_bytes"
        until = "until"
        if self._spool.disk_is_low:
            full = "the disk is nearly full, and what is left of it is not for the spool"
            until = "until there is room on it or"
        until += " the post broker is back"
        if self._limits.on_full == "drop_oldest" and self._spooled.depth:
            log.error("%s: the oldest results are dropped for new ones %s", full, until)
        else:
            log.error(
                "%s: no more input is taken in %s; the pre broker keeps the rest", full, until
            )

    def _fit(self, room: int) -> tuple[int, int]:
        return self._results.fitting(_MOST_ROWS, room, self._on_disk)

    def _on_disk(self, size: int) -> int:
        return bytes_on_pages(size + self._beside_payload)

    def _drop_old(self) -> None:
        if self._limits.max_age is not None and self._spooled.busy:
            now = time.monotonic()
            if now - self._noted > _NOTE_SECONDS:
                self._noted = now
                self._spooled.note_age()
            while old := self._spooled.oldest(_MOST_ROWS, self._limits.max_age):
                self._drop(old, "spool_expired", f"older than {self._limits.max_age:.0f} s")

    def _drop(self, rows: list[StoredMessage], counter: str, why: str) -> None:
        if not rows:
            return
        self._completion.dropped_from_spool(len(rows), counter)
        if self._limit.admit("drop") is not None:
            log.error("dropped %s from the spool: %s", counted(len(rows), "result"), why)
        self._spooled.remove(rows, self._look_again)

    def _rows(self, results: ResultBatch) -> list[Row]:
        return [
            self._row(payload, {ID_PROPERTY: id_.decode()})
            for payload, id_ in zip(results.payloads, results.ids(), strict=True)
        ]

    def _row(self, payload: bytes, named: dict[str, str]) -> Row:
        if not isinstance(payload, Addressed):
            return self._endpoint.topic, payload, self._endpoint.qos, named
        to = payload.destination
        return to.topic, bytes(payload), to.qos, with_options(named, to.retain, to.properties)


def _first_bytes(items: list[StoredMessage], size: int) -> list[StoredMessage]:
    """As many of the first as take `size` bytes of the disk together; all if they don't."""
    for count, item in enumerate(items, 1):
        size -= bytes_on_pages(item.size)
        if size <= 0:
            return items[:count]
    return items
