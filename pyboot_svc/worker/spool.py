"""The part of the database that holds what is still to be published, in lanes.

Results are one lane, dead letters another: within a lane order is kept, between them there is
none. Rows are written by the store's thread and read by the outbox's. While the disk can't be
written, and the broker is there, rows go out from memory instead.
"""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from pyboot_svc.worker.outgoing import Outgoing
from pyboot_svc.worker.store import Store

if TYPE_CHECKING:
    import sqlite3

RESULTS, DEAD_LETTERS = 0, 1

Row = tuple[str, bytes, int, Mapping[str, str]]


@dataclass(eq=False)
class _Unwritten:
    """Rows that are in memory alone: how many are left, and whom to tell when there are none."""

    left: int
    done: Callable[[], None]


class Lane:
    """Rows of one kind: appended at the end, taken from the front, removed when delivered."""

    def __init__(self, store: Store, file: Path, number: int) -> None:
        self._store = store
        self._file = file
        self.number = number
        self._lock = threading.Lock()
        self._pending = 0
        self._pending_bytes = 0
        self._rows = 0
        self._bytes = 0
        self._cursor = 0
        # Rows that are not to be taken: handed out, or about to be deleted.
        self._out: set[int] = set()
        self._removing: dict[int, int] = {}
        self._checking = False
        self._reader: sqlite3.Connection | None = None
        # The outbox takes rows while the courier looks for old ones: one query at a time.
        self._reading = threading.Lock()
        # By numbers below 0, in order: none is older than what the database holds.
        self._memory: dict[int, tuple[Outgoing, _Unwritten]] = {}
        self._last_in_memory = 0
        self._wake: Callable[[], None] | None = None
        store.watch(self.load, self._release)

    def load(self, connection: sqlite3.Connection) -> None:
        """Count what the database holds: an earlier process left it, or it was put aside."""
        count, size = connection.execute(
            "SELECT count(*), coalesce(sum(length(payload)), 0) FROM spool WHERE lane = ?",
            (self.number,),
        ).fetchone()
        self._release()  # it may have the file open that was put aside
        with self._lock:
            self._rows, self._bytes = count, size
            self._cursor = 0
            self._out = set(self._removing) | {number for number in self._out if number < 0}
            wake = self._wake
        if wake is not None and count:
            wake()

    @property
    def busy(self) -> bool:
        """Whether anything is on its way in or out: what is newer has to wait behind it."""
        # Without the lock, in the order of the way: what moves is counted there before it is not
        # counted here any more.
        if not (self._pending or self._rows or self._memory):
            return False
        with self._lock:
            waiting = self._pending + self._rows + len(self._memory)
            if waiting and self._store.trouble is not None:
                # What can't be deleted now is out of the way all the same.
                waiting -= len(self._removing)
            return waiting > 0

    @property
    def ready(self) -> bool:
        """Whether there are rows to take."""
        if not (self._rows or self._memory):
            return False
        with self._lock:
            waiting = self._rows + len(self._memory)
            return waiting > len(self._out) and not self._checking

    @property
    def pending(self) -> int:
        """How many are not durable yet."""
        with self._lock:
            return self._pending + len(self._memory)

    @property
    def in_memory(self) -> bool:
        """Whether rows are in memory alone: what is newer must not become durable before them."""
        return bool(self._memory)

    @property
    def depth(self) -> int:
        with self._lock:
            return self._pending + self._rows + len(self._memory)

    @property
    def size(self) -> int:
        """Bytes of payload, without what is about to be deleted."""
        with self._lock:
            return self._pending_bytes + self._bytes - sum(self._removing.values())

    def append(self, rows: Sequence[Row], done: Callable[[], None]) -> None:
        """Write these; `done` is called when they are durable."""
        records = self._records(rows)
        size = sum(len(row[1]) for row in rows)

        def write(connection: sqlite3.Connection) -> None:
            connection.executemany(
                "INSERT INTO spool (lane, topic, payload, qos, properties, created, checksum) "
                "VALUES (?, ?, ?, ?, ?, ?, ?)",
                records,
            )

        def written() -> None:
            with self._lock:
                self._rows += len(rows)
                self._bytes += size
                self._pending -= len(rows)
                self._pending_bytes -= size
            done()

        def take_back() -> bool:
            with self._lock:
                wake = self._wake
                if wake is None or not rows:
                    return False
                self._keep_in_memory(rows, done)
                self._pending -= len(rows)
                self._pending_bytes -= size
            wake()
            return True

        with self._lock:
            wake = self._wake
            if rows and self._memory and self._pending == 0 and wake is not None:
                # Behind those in memory: durable, they would be taken before them.
                self._keep_in_memory(rows, done)
            else:
                wake = None
                self._pending += len(rows)
                self._pending_bytes += size
                # Inside the lock: the store's order is the lane's.
                self._store.submit(write, written, take_back)
        if wake is not None:
            wake()

    def serve(self, wake: Callable[[], None]) -> None:
        """The broker is there, until `reset`; `wake` has it look for rows again."""
        self._wake = wake

    def take(self, most: int) -> list[Outgoing]:
        """Up to `most` rows, oldest first, each handed out once until `reset`."""
        if most <= 0 or not self.ready:
            return []
        found: list[Outgoing] = []
        with self._lock:
            out = set(self._out)  # what is removed from here on may be read all the same
        if self._durable_waiting():
            found = self._read("id > ? ORDER BY id LIMIT ?", self._cursor, most)
        with self._lock:
            if found:
                self._cursor = found[-1].row
            elif not self._checking:
                found = self._from_memory(most)
            out |= self._out
            taken = [item for item in found if item.row not in out]
            self._out.update(item.row for item in taken)
        return taken

    def reset(self) -> None:
        """The connection was lost: what was handed out and not removed is to be taken again."""
        with self._lock:
            self._cursor = 0
            self._out = set(self._removing)
            self._wake = None
            kept, self._memory = self._memory, {}
        # The disk may be well again by now; if not, they come back with the connection.
        for item, batch in kept.values():
            row = (item.topic, item.payload, item.qos, item.properties)
            self.append([row], partial(self._one_less, batch))

    def remove(self, items: Iterable[Outgoing], done: Callable[[], None] = lambda: None) -> None:
        """These were delivered, or given up; `done` is called when they are deleted."""
        items = list(items)
        self._forget([item.row for item in items if item.row < 0], done)
        with self._lock:
            sizes = {
                i.row: len(i.payload) for i in items if i.row > 0 and i.row not in self._removing
            }
            if not sizes:
                return
            self._removing.update(sizes)
            self._out.update(sizes)
        deleted: list[int] = []

        def write(connection: sqlite3.Connection) -> None:
            deleted.clear()  # it may be tried again
            for row in sizes:
                # One that was given up while it was in flight is gone already.
                if connection.execute("DELETE FROM spool WHERE id = ?", (row,)).rowcount:
                    deleted.append(row)

        def removed() -> None:
            with self._lock:
                for row in sizes:
                    del self._removing[row]
                self._out.difference_update(sizes)
                self._rows -= len(deleted)
                self._bytes -= sum(sizes[row] for row in deleted)
            done()

        self._store.submit(write, removed)

    def oldest(self, most: int, before: float = math.inf) -> list[Outgoing]:
        """Rows made before that time (wall clock), oldest first: candidates for dropping.

        What is in flight is none: it may be safe with the broker any moment.
        """
        with self._lock:
            if self._rows <= len(self._out) or self._checking:
                return []
            out = set(self._out)
        found = self._read("created < ? ORDER BY id LIMIT ?", before, most + len(out))
        return [item for item in found if item.row not in out][:most]

    def _read(self, where: str, *values: float) -> list[Outgoing]:
        """Rows of the lane; none when the database can't be read, and it is checked then."""
        from pyboot_svc.worker.database import connect, troubles

        query = f"SELECT id, topic, payload, qos, properties FROM spool WHERE lane = ? AND {where}"
        try:
            with self._reading, troubles(self._file):
                reader = self._reader
                if reader is None:
                    reader = self._reader = connect(self._file)
                rows = reader.execute(query, (self.number, *values)).fetchall()
                if self._store.trouble is not None:
                    # On a disk that was read-only, one that stays open keeps all others so.
                    self._let_go()
                return [self._outgoing(row) for row in rows]
        except OSError:
            self._have_checked()
            return []

    def _records(self, rows: Sequence[Row]) -> list[Sequence[object]]:
        from pyboot_svc.worker.database import checksum

        now = time.time()
        records: list[Sequence[object]] = []
        for topic, payload, qos, properties in rows:
            values = (self.number, topic, payload, qos, json.dumps(dict(properties)), now)
            records.append((*values, checksum(*values)))
        return records

    def _keep_in_memory(self, rows: Sequence[Row], done: Callable[[], None]) -> None:
        batch = _Unwritten(len(rows), done)
        for topic, payload, qos, properties in rows:
            self._last_in_memory -= 1
            number = self._last_in_memory
            item = Outgoing(topic, payload, qos, properties, lane=self.number, row=number)
            self._memory[number] = item, batch

    def _durable_waiting(self) -> bool:
        with self._lock:
            return self._rows > sum(1 for number in self._out if number > 0)

    def _from_memory(self, most: int) -> list[Outgoing]:
        free = (item for item, _ in self._memory.values() if item.row not in self._out)
        return list(islice(free, most))

    def _forget(self, numbers: list[int], done: Callable[[], None]) -> None:
        """These were delivered from memory."""
        if not numbers:
            return
        with self._lock:
            kept = [self._memory.pop(number, None) for number in numbers]
            self._out.difference_update(numbers)
        for entry in kept:
            if entry is not None:
                self._one_less(entry[1])
        done()

    def _one_less(self, batch: _Unwritten) -> None:
        with self._lock:
            batch.left -= 1
            last = batch.left == 0
        if last:
            batch.done()

    def close(self) -> None:
        """Nothing more will be taken."""
        self._release()

    def _release(self) -> None:
        with self._reading:
            self._let_go()

    def _let_go(self) -> None:
        """Within `_reading`. One that is only dropped stays open for a while, in a cycle."""
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.close()

    def _have_checked(self) -> None:
        """The store looks the file over, and puts it aside if it is damaged."""
        from pyboot_svc.worker.database import check

        self._release()
        with self._lock:
            self._checking = True

        def checked() -> None:
            with self._lock:
                self._checking = False

        self._store.submit(check, checked)

    def _outgoing(self, row: tuple[int, str, bytes, int, str]) -> Outgoing:
        number, topic, payload, qos, properties = row
        return Outgoing(topic, payload, qos, _properties(properties), lane=self.number, row=number)


def _properties(text: str) -> dict[str, str]:
    try:
        decoded = json.loads(text)
    except (ValueError, TypeError):  # a damage that SQLite can't notice: better without them
        return {}
    return decoded if isinstance(decoded, dict) else {}
