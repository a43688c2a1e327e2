"""The part of the database that holds what is still to be published, in lanes.

Results are one lane, dead letters another: within a lane order is kept, between them there is
none. Rows are written by the store's thread and read by the outbox's. While the disk can't be
written, and the broker is there, rows go out from memory instead.
"""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from pyboot_svc.worker.messages import DEAD_LETTERS, RESULTS, StoredMessage
from pyboot_svc.worker.storage import rows as spool
from pyboot_svc.worker.storage.clock import uptime
from pyboot_svc.worker.storage.disk_budget import bytes_on_pages
from pyboot_svc.worker.storage.row_reader import RowReader
from pyboot_svc.worker.storage.rows import Row
from pyboot_svc.worker.storage.unwritten import Batch, Unwritten
from pyboot_svc.worker.storage.writer import DatabaseWriter

if TYPE_CHECKING:
    import sqlite3

__all__ = ["DEAD_LETTERS", "RESULTS", "DurableQueue", "Row"]

# One read of the disk takes so many rows at least: they wait in memory then.
_READ_ROWS = 1000
# So much of it may be on its way to the broker: then no more is handed out.
_MOST_OUT_BYTES = 8 * 1024**2


@dataclass(eq=False, slots=True)
class _Appended:
    """What the store was asked to write, until it is durable or in memory instead."""

    rows: Sequence[Row]
    done: Callable[[], None]
    in_memory: bool = False


class DurableQueue:
    """Rows of one kind: appended at the end, taken from the front, removed when delivered."""

    def __init__(self, store: DatabaseWriter, file: Path, number: int) -> None:
        self._store = store
        self.number = number
        self._lock = threading.Lock()
        self._pending = 0
        self._pending_bytes = 0
        self._rows = 0
        self._bytes = 0
        # Rows up to the cursor were read, and those that were not handed out yet are `_ahead`.
        self._cursor = 0
        self._ahead: deque[StoredMessage] = deque()
        # Counts how often all is read from the start again: a read that goes on meanwhile is void.
        self._reads = 0
        self._removed_meanwhile: set[int] = set()
        # Rows that are not to be taken: handed out (with their size), or about to be deleted.
        self._out: dict[int, int] = {}
        self._out_bytes = 0
        self._removing: dict[int, int] = {}
        self._checking = False
        self._reader = RowReader(file, number)
        # What is not durable yet, in order: on its way to the disk, or in memory alone. While
        # anything is in one of them, nothing is in the other.
        self._appended: deque[_Appended] = deque()
        self._memory = Unwritten(number)
        # Whether there is nothing in it, on no way in or out: asked for each message.
        self.empty = True
        self._wake: Callable[[], None] | None = None
        store.watch(self.load, self.close)

    def load(self, connection: sqlite3.Connection) -> None:
        """Count what the database holds: an earlier process left it, or it was put aside."""
        count, size = spool.count(connection, self.number)
        self._reader.close()  # it may have the file open that was put aside
        with self._lock:
            self._rows, self._bytes = count, size
            self._recount()
            self._start_over(kept={row: size for row, size in self._out.items() if row < 0})
            wake = self._wake
        if wake is not None and count:
            wake()

    @property
    def busy(self) -> bool:
        """Whether anything is on its way in or out: what is newer has to wait behind it."""
        if self.empty:
            return False
        with self._lock:
            waiting = self._pending + self._rows + len(self._memory)
            if waiting and self._store.trouble is not None:
                # What can't be deleted now is out of the way all the same.
                waiting -= len(self._removing)
            return waiting > 0

    @property
    def waiting(self) -> int:
        """How many have still to be handed out: what is newer has to go behind them."""
        if self.empty:
            return 0
        with self._lock:
            return self._pending + self._rows + len(self._memory) - len(self._out)

    @property
    def ready(self) -> bool:
        """Whether there are rows to take."""
        if self.empty:
            return False
        with self._lock:
            waiting = self._rows + len(self._memory)
            return waiting > len(self._out) and self._may_hand_out

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
    def pending_bytes(self) -> int:
        """What is not durable yet."""
        return self._pending_bytes

    @property
    def size(self) -> int:
        """Bytes of its rows, without what is about to be deleted."""
        with self._lock:
            return self._pending_bytes + self._bytes - sum(self._removing.values())

    def append(self, rows: Sequence[Row], done: Callable[[], None]) -> None:
        """Write these; `done` is called when they are durable, with all submitted before."""
        if not rows:
            self._store.submit(lambda connection: None, done)
            return
        with self._lock:
            wake = self._wake if self._memory else None
            if wake is None:
                self._write(rows, done)
            else:
                # Behind those in memory: durable, they would be taken before them.
                self._memory.append(rows, done)
        if wake is not None:
            wake()

    def _write(self, rows: Sequence[Row], done: Callable[[], None]) -> None:
        """Within the lock, so that the store's order is the lane's."""
        records = [spool.record(row) for row in rows]
        sizes = [spool.record_size(topic, payload, text) for topic, payload, _, text in records]
        size, growth = sum(sizes), sum(map(bytes_on_pages, sizes))
        made = uptime()
        appended = _Appended(rows, done)

        def write(connection: sqlite3.Connection) -> None:
            if not appended.in_memory:
                spool.insert(connection, self.number, records, self._store.clock.at(made))

        def written() -> None:
            if appended.in_memory:
                return
            with self._lock:
                self._appended.remove(appended)
                self._rows += len(rows)
                self._bytes += size
                self._pending -= len(rows)
                self._pending_bytes -= size
                self._recount()
            done()

        self._appended.append(appended)
        self._pending += len(rows)
        self._pending_bytes += size
        self._recount()
        self._store.submit(write, written, lambda: self._take_back(appended), growth)

    def _take_back(self, asked: _Appended) -> bool:
        """On the store's thread: whether this one does without the disk, which can't be written.

        All that is on its way there does, if one of them does: the broker may come and go between
        two questions, and what is taken out of the middle would not keep its place.
        """
        with self._lock:
            wake = self._wake
            if asked.in_memory or wake is None:
                return asked.in_memory
            while self._appended:
                appended = self._appended.popleft()
                appended.in_memory = True
                self._memory.append(appended.rows, appended.done)
            self._pending = self._pending_bytes = 0
            self._recount()
        wake()
        return True

    def serve(self, wake: Callable[[], None]) -> None:
        """The broker is there, until `reset`; `wake` has it look for rows again."""
        self._wake = wake

    def take(self, most: int, *, from_disk: bool = True) -> list[StoredMessage]:
        """Up to `most` rows, oldest first, each handed out once until `reset`.

        Not `from_disk`, only what was read ahead is given. To be called by one thread at a time.
        """
        if most <= 0 or not self.ready:
            return []
        taken = self._hand_out(most)
        while from_disk and len(taken) < most and self._read_ahead(most):
            taken += self._hand_out(most - len(taken))
        return taken

    def reset(self) -> None:
        """The connection was lost: what was handed out and not removed is to be taken again."""
        with self._lock:
            self._start_over(kept={})
            self._wake = None
            # The disk may be well again by now; if not, they come back with the connection.
            for row, batch in self._memory.clear():
                self._write([row], partial(self._one_less, batch))

    def remove(
        self, items: Iterable[StoredMessage], done: Callable[[], None] = lambda: None
    ) -> None:
        """These were delivered, or given up; `done` is called when they are deleted."""
        items = list(items)
        self._forget([item.row for item in items if item.row < 0], done)
        with self._lock:
            sizes = {i.row: i.size for i in items if i.row > 0 and i.row not in self._removing}
            if not sizes:
                return
            self._keep_from_out(sizes)
        for part in spool.parts(sizes, self._store.most_at_once):
            self._delete(part, done)

    def _delete(self, sizes: Mapping[int, int], done: Callable[[], None]) -> None:
        deleted: list[int] = []

        def write(connection: sqlite3.Connection) -> None:
            deleted[:] = spool.delete(connection, sizes)  # it may be tried again

        def removed() -> None:
            with self._lock:
                for row in sizes:
                    del self._removing[row]
                    self._out.pop(row, None)
                self._rows -= len(deleted)
                self._bytes -= sum(sizes[row] for row in deleted)
                self._recount()
            done()

        self._store.submit(write, removed, growth=-sum(map(bytes_on_pages, sizes.values())))

    def oldest(self, most: int, age: float = -math.inf) -> list[StoredMessage]:
        """Rows that are older than `age` seconds, oldest first: candidates for dropping.

        What is in flight is none: it may be safe with the broker any moment.
        """
        with self._lock:
            if self._rows <= len(self._out) or self._checking:
                return []
            out = set(self._out)
        return self._read(0, most, out, before=self._store.clock.now() - age)

    def note_age(self) -> None:
        """Have it known after a power cut how old the rows are by now."""
        self._store.submit(lambda connection: None, lambda: None)

    @property
    def _may_hand_out(self) -> bool:
        return self._out_bytes < _MOST_OUT_BYTES and not self._checking

    def _start_over(self, kept: dict[int, int]) -> None:
        """Within the lock: all that is not about to be deleted is read again, except `kept`."""
        self._reads += 1
        self._cursor = 0
        self._ahead.clear()
        self._out = {**dict.fromkeys(self._removing, 0), **kept}
        self._out_bytes = sum(kept.values())

    def _hand_out(self, most: int) -> list[StoredMessage]:
        """Up to `most` of what is in memory."""
        taken: list[StoredMessage] = []
        with self._lock:
            source = iter(self._ahead) if self._ahead else self._from_memory()
            for item in islice(source, most):
                if not self._may_hand_out:
                    break
                taken.append(item)
                self._out_bytes += item.size
                self._out[item.row] = item.size
            if self._ahead:
                for _ in taken:
                    self._ahead.popleft()
        return taken

    def _read_ahead(self, most: int) -> bool:
        """Read the rows that come next; whether there are any to hand out now."""
        with self._lock:
            if not self._may_hand_out:
                return False
            if not self._durable_waiting():
                return False
            reads, cursor = self._reads, self._cursor
            out = set(self._out)  # what is removed from here on may be read all the same
            self._removed_meanwhile.clear()
        found = self._read(cursor, max(most, _READ_ROWS), out)
        with self._lock:
            if reads != self._reads or not found:
                return False
            self._cursor = found[-1].row
            gone = self._removed_meanwhile
            self._ahead.extend(item for item in found if item.row not in gone)
            return True

    def _keep_from_out(self, sizes: Mapping[int, int]) -> None:
        """Within the lock: these are about to be deleted."""
        for row in sizes:
            self._out_bytes -= self._out.get(row, 0)
            self._out[row] = 0
        self._removing.update(sizes)
        self._removed_meanwhile.update(sizes)
        if self._ahead and max(sizes) >= self._ahead[0].row:
            self._ahead = deque(item for item in self._ahead if item.row not in sizes)

    def _read(
        self, after: int, most: int, without: set[int], before: float = math.inf
    ) -> list[StoredMessage]:
        """Rows of the lane; none when the database can't be read, and it is checked then."""
        try:
            found = self._reader.read(after, most, without, before)
        except OSError:
            self._have_checked()
            return []
        if self._store.trouble is not None:
            # On a disk that was read-only, one that stays open keeps all others so.
            self._reader.close()
        return found

    def _recount(self) -> None:
        """Within the lock, after what is in the queue has changed."""
        self.empty = not (self._pending or self._rows or self._memory)

    def _durable_waiting(self) -> bool:
        """Within the lock."""
        return self._rows > sum(1 for number in self._out if number > 0)

    def _from_memory(self) -> Iterator[StoredMessage]:
        """What is in memory alone: not before all that is on disk has been handed out."""
        if not self._memory or self._durable_waiting():
            return iter(())
        return self._memory.without(self._out)

    def _forget(self, numbers: list[int], done: Callable[[], None]) -> None:
        """These were delivered from memory."""
        if not numbers:
            return
        with self._lock:
            ended = self._memory.remove(numbers)
            for number in numbers:
                self._out_bytes -= self._out.pop(number, 0)
            self._recount()
        for batch in ended:
            batch.done()
        done()

    def _one_less(self, batch: Batch) -> None:
        with self._lock:
            last = batch.one_less()
        if last:
            batch.done()

    def close(self) -> None:
        """Let go of the file, until rows are read again."""
        self._reader.close()

    def _have_checked(self) -> None:
        """The store looks the file over, and puts it aside if it is damaged."""
        from pyboot_svc.worker.storage.database import check

        self._reader.close()
        with self._lock:
            self._checking = True

        def checked() -> None:
            with self._lock:
                self._checking = False

        self._store.submit(check, checked)
