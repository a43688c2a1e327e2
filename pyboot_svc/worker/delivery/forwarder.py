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

from pyboot_svc.config import Endpoint, SpoolLimits
from pyboot_svc.logs import RateLimit
from pyboot_svc.threads import spawn
from pyboot_svc.worker.delivery.post_queue import PostQueue
from pyboot_svc.worker.messages import (
    DEAD_LETTERS,
    DIGEST_BYTES,
    ID_PROPERTY,
    RESULTS,
    ResultBatch,
    Sendable,
    StoredMessage,
    lane_of,
)
from pyboot_svc.worker.storage.disk_budget import log_bytes
from pyboot_svc.worker.storage.durable_queue import DurableQueue, row_size

_MOST_ROWS = 500
# Behind so few, newer results wait in the post_queue.
_FEW_ROWS = 1000
# More results would only wait in memory for a disk that doesn't keep up.
_MOST_PENDING = 4 * _MOST_ROWS
_HOUSEKEEPING_SECONDS = 5.0
# While results wait that may become too old, their age is noted so often: it survives a power cut.
_NOTE_SECONDS = 60.0

log = logging.getLogger(__name__)

Settle = Callable[[list[ResultBatch]], None]
Refuse = Callable[[list[Sendable], str], None]
Count = Callable[[str, int], None]


class Forwarder:
    """Between the post_queue, the spool and the outbox.

    `settle` is told of messages whose results are safe: durable in the spool, or with the broker.
    `count` is told of what ends otherwise than as a message: rows that are `published`, `refused`,
    or dropped from the spool.
    `room` says how many bytes more may go to the disk, given how many are wanted.
    `wake` has the outbox look again, `try_send` has it send results here and now.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        limits: SpoolLimits,
        results: PostQueue,
        spooled: DurableQueue,
        dead_letters: DurableQueue,
        room: Callable[[int], int],
        wake: Callable[[], None],
        try_send: Callable[[], None],
    ) -> None:
        self._endpoint = endpoint
        self._limits = limits
        self._results = results
        self._spooled = spooled
        self._dead_letters = dead_letters
        self._room = room
        self._most_pending_bytes = log_bytes(limits.max_bytes)
        self._wake = wake
        self._try_send = try_send
        named = {ID_PROPERTY: bytes(DIGEST_BYTES).hex()}
        self._beside_payload = row_size(endpoint.topic, b"", named)
        self._settle: Settle = lambda parcels: None
        self._delivered: Settle = lambda parcels: None
        self._refused: Refuse = lambda items, reason: None
        self._count: Count = lambda name, count: None
        self._online = False
        # The lanes that the broker takes nothing of for now.
        self._held: set[int] = set()
        self._live = 0
        self._lock = threading.Lock()
        self._kick = threading.Event()
        self._stopping = False
        self._limit = RateLimit(1, 30.0)
        self._noted = time.monotonic()

    def start(
        self,
        settle: Settle,
        delivered: Settle,
        refused: Refuse,
        count: Count,
        on_crash: Callable[[], None],
    ) -> None:
        self._count = count
        self._settle = settle
        self._delivered = delivered
        self._refused = refused
        spawn("spool", self._run, on_crash)

    def kick(self) -> None:
        """There may be something to do: a result is ready."""
        if self._online and self._goes_straight:
            self._try_send()
        else:
            self._kick.set()

    @property
    def live(self) -> int:
        """Results that have left the post_queue for the broker, and are not safe there."""
        with self._lock:
            return self._live

    @property
    def backlog(self) -> int:
        return self._spooled.depth

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
            self._spooled.serve(self._wake)
            self._online = True
        else:
            self._dead_letters.serve(self._wake)

    def _take_back(self, results: list[Sendable]) -> None:
        """They go by the spool from here on."""
        with self._lock:
            self._online = False
            self._live = 0
            self._results.put_back([item for item in results if isinstance(item, ResultBatch)])
            self._spooled.reset()
        self._kick.set()

    def ready(self) -> bool:
        if RESULTS not in self._held and self._results.ready and self._goes_straight:
            return True
        return self.rows_ready()

    def rows_ready(self) -> bool:
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
            if not self._goes_straight or RESULTS in self._held:
                return []
            live = self._results.take(room)
            self._live += sum(map(len, live))
            return live

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
        live = [item for item in items if isinstance(item, ResultBatch)]
        if live:
            self._delivered(live)
            self._land(live)
        if len(live) < len(items):
            self._remove(items, "published")

    def refused(self, items: list[Sendable], reason: str) -> None:
        """These will never go out. A dead letter is kept locally all the same."""
        results = [item for item in items if lane_of(item) == RESULTS]
        if results:
            # First: what is removed from the spool is among the dead by then.
            self._refused(results, reason)
            self._land([item for item in results if isinstance(item, ResultBatch)])
        self._remove(items, None)

    def send_again(self, rows: list[tuple[str, bytes]], done: Callable[[], None]) -> None:
        """Publish results that were given up, by topic and payload; `done` when that is durable."""
        qos = self._endpoint.qos

        def spooled() -> None:
            done()
            self._wake()

        self._spooled.append([(topic, payload, qos, {}) for topic, payload in rows], spooled)

    def _land(self, live: list[ResultBatch]) -> None:
        if not live:
            return
        with self._lock:
            self._live -= sum(map(len, live))
            last = self._live == 0
        if last and self._spooled.waiting:
            self._kick.set()  # what is in the post_queue has to go by the spool now

    def _remove(self, items: list[Sendable], end: str | None) -> None:
        rows = [item for item in items if isinstance(item, StoredMessage)]
        results = [row for row in rows if row.lane == self._spooled.number]
        if results:
            if end is not None:
                self._count(end, len(results))
            # There is room again, or the spool is empty, and results can go straight out.
            self._spooled.remove(results, self.kick)
        letters = [row for row in rows if row.lane == self._dead_letters.number]
        if letters:
            self._dead_letters.remove(letters)

    # The thread that fills the spool:

    def divert_all(self) -> None:
        """At the end: what is left in the post_queue goes to the spool."""
        self._online = False
        self._kick.set()

    @property
    def writing(self) -> int:
        """Results on their way to the disk."""
        with self._lock:  # not between a queue that they have left and a lane they aren't in yet
            return self._spooled.pending

    def stop(self) -> None:
        self._stopping = True
        self._kick.set()

    def _run(self) -> None:
        while not self._stopping:
            self._kick.wait(_HOUSEKEEPING_SECONDS if self._spooled.busy else None)
            self._kick.clear()
            self._drop_old()
            while self._divert():
                pass

    def _divert(self) -> bool:
        """Move some results to the spool; False when there is nothing to move, or no room."""
        with self._lock:
            if self._online and (self._live > 0 or self._goes_straight):
                # From here on results go straight out. While one that did is in flight, no other
                # goes to the spool: if the connection is lost, it has to go there first.
                self._wake()
                return False
            if self._online and (self._spooled.in_memory or self._nearly_through):
                return False  # what is before them will soon be out of the way
            batch = self._results.take(self._fitting())
            if not batch:
                return False
            rows = [row for parcel in batch for row in self._rows(parcel)]
            self._spooled.append(rows, lambda: self._on_spooled(batch))
        return True

    def _on_spooled(self, batch: list[ResultBatch]) -> None:
        self._settle(batch)
        self._kick.set()
        self._wake()

    def _fitting(self) -> int:
        """How many of the results that wait the disk has room for now."""
        spooled = self._spooled
        if spooled.pending >= _MOST_PENDING or not self._results.ready:
            return 0
        most = max(self._most_pending_bytes - spooled.pending_bytes, 0)
        fitting, wanted = self._fit(most)
        if fitting == 0:
            if spooled.pending:
                return 0
            fitting, wanted = self._results.fitting(1, sys.maxsize, self._beside_payload)
        room = self._room(wanted)
        if wanted > room and self._limits.on_full == "drop_oldest":
            oldest = _first_bytes(spooled.oldest(_MOST_ROWS), wanted - room)
            self._drop(oldest, "spool_overflowed", "the spool is full")
            room = self._room(wanted)
        if wanted > room:
            fitting, _ = self._fit(room)
        if fitting == 0 and spooled.size == 0:
            return 1  # larger than the spool may be: it would wait for ever
        if fitting == 0 and self._limit.admit("full") is not None:
            log.error(
                "the spool is full, by the %d bytes of spool.max_bytes: no more input is taken in "
                "until the post broker is back; the pre broker keeps the rest",
                self._limits.max_bytes,
            )
        return fitting

    def _fit(self, room: int) -> tuple[int, int]:
        return self._results.fitting(_MOST_ROWS, room, self._beside_payload)

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
        self._count(counter, len(rows))
        if self._limit.admit("drop") is not None:
            log.error("dropped %d results from the spool: %s", len(rows), why)
        self._spooled.remove(rows, self.kick)

    def _rows(self, parcel: ResultBatch) -> list[tuple[str, bytes, int, dict[str, str]]]:
        topic, qos = self._endpoint.topic, self._endpoint.qos
        return [
            (topic, payload, qos, {ID_PROPERTY: digest.hex()})
            for payload, digest in zip(parcel.payloads, parcel.digests(), strict=True)
        ]


def _first_bytes(items: list[StoredMessage], size: int) -> list[StoredMessage]:
    """As many of the first as hold `size` bytes together; all if they don't."""
    for count, item in enumerate(items, 1):
        size -= item.size
        if size <= 0:
            return items[:count]
    return items
