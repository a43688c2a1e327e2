"""One thread that writes an instance's database: many messages by one commit."""

from __future__ import annotations

import logging
import os
import queue
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from pyboot_svc.logs import RateLimit
from pyboot_svc.threads import spawn
from pyboot_svc.worker.storage.clock import AgeClock
from pyboot_svc.worker.storage.disk_budget import EMPTY_BYTES, Usage, disk_bytes, log_bytes
from pyboot_svc.worker.storage.watermark import Mark

if TYPE_CHECKING:
    import sqlite3

    from pyboot_svc.worker.storage.removal import Files

DATABASE_NAME = "worker.sqlite"

log = logging.getLogger(__name__)

_MOST_BYTES = 256 * 1024**2

Write = Callable[["sqlite3.Connection"], None]
Done = Callable[[], None]
TakeBack = Callable[[], bool]
Watcher = Callable[["sqlite3.Connection"], None]
_Item = tuple[Write, Done, TakeBack, int]

RETRY_SECONDS = 1.0
_MOST_WRITES = 1000
# So long after the last write what was freed is given back to the disk; while writes don't cease,
# now and then.
_IDLE_SECONDS = 1.0
_LONGEST_UNTIDY_SECONDS = 10.0
# So long a commit that leaves a long log waits for those who read; our own need no more.
_LONG_WAIT_SECONDS = 1.0


class DatabaseWriter:
    """`submit` queues a write; its `done` is called when it is durable.

    All writes that wait are committed together, so that one fsync serves them all. One that
    fails, for want of room say, is tried again until it works: nobody is told before, unless it
    is taken back. The database, and SQLite with it, is opened when it is first needed. Of the bytes
    that its budget has, `most_bytes`, a commit takes no more than the log may have.
    """

    def __init__(self, file: Path, most_bytes: int = _MOST_BYTES) -> None:
        self._file = file
        self._most_bytes = most_bytes
        # Before the database is opened, too: who asks is told how large the first writes may be.
        self._log_bytes = self._log_share()
        # Replaced as a whole: what a commit has written is never counted twice, nor left out.
        self.used = Usage(EMPTY_BYTES, 0, 0)
        self._used_lock = threading.Lock()
        self._log_is_held = False
        self._untidy_since: float | None = None
        self.clock = AgeClock()
        self._mark = Mark(file.with_name(f"{file.name}-mark"))
        self._connection: sqlite3.Connection | None = None
        self._files: Files | None = None
        self._writes: queue.SimpleQueue[_Item | None] = queue.SimpleQueue()
        self._trouble: str | None = None
        self._limit = RateLimit(1, 30.0)
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._watchers: list[Watcher] = []
        self._releases: list[Callable[[], None]] = []

    @property
    def most_of_commit(self) -> int:
        """What one commit should not exceed, in bytes: less on a small disk."""
        return self._log_bytes

    @property
    def most_at_once(self) -> int:
        """What one write should not exceed, in bytes."""
        return self._log_bytes // 2

    def _log_share(self) -> int:
        return log_bytes(min(self._most_bytes, disk_bytes(self._file.parent)))

    @property
    def trouble(self) -> str | None:
        """Why nothing can be written at the moment; None when all is well."""
        return self._trouble

    def open_if_there(self) -> sqlite3.Connection | None:
        """The database that an earlier process left, to be read before the thread starts."""
        return self.open() if os.path.exists(self._file) or self._mark.exists else None

    def open(self) -> sqlite3.Connection | None:
        """The database, before the thread starts; None when it can't be opened."""
        try:
            return self._open()
        except OSError as error:
            self._complain(error)
            return None

    def watch(self, watcher: Watcher, release: Callable[[], None] = lambda: None) -> None:
        """`watcher` is called with each database that is opened: a new one after a damage.

        `release` is called when it is given up: who reads it by another connection closes that.
        """
        self._watchers.append(watcher)
        self._releases.append(release)

    def write_now(self, write: Write) -> bool:
        """Commit before the thread starts; whether it could be done."""
        return self._commit([(write, lambda: None, lambda: False, 0)])

    def start(self, on_crash: Callable[[], None]) -> None:
        self._thread = spawn("store", self._run, on_crash)

    def submit(
        self, write: Write, done: Done, take_back: TakeBack = lambda: False, growth: int = 0
    ) -> None:
        """`take_back` is asked each time the write has failed: true means to do without it.

        `growth` is by how many bytes of the disk the database grows by it, about."""
        self._grow(growth)
        self._writes.put((write, done, take_back, growth))

    def tick(self) -> None:
        """About once a second: have a database that was removed written anew."""
        if self._files is not None and self._trouble is None and not self._files.are_there():
            self.submit(lambda connection: None, lambda: None)

    def stop(self, timeout: float) -> None:
        """Commit what waits and close; `timeout` in seconds."""
        self._writes.put(None)
        if self._thread is not None:
            self._thread.join(timeout)
            self._stopping.set()

    def _run(self) -> None:
        while (batch := self._next_batch()) is not None:
            while batch and not self._commit(batch):
                if self._stopping.wait(RETRY_SECONDS):
                    return  # not durable, so not acknowledged either: it comes again
                batch = self._still_wanted(batch)
            for _, done, *_ in batch:
                done()
        try:
            self._restore()
        except OSError as error:
            self._complain(error)
        self._close()

    def _still_wanted(self, batch: list[_Item]) -> list[_Item]:
        """What nobody takes back, with all that has come meanwhile: in the order it came."""
        if self._trouble is None:
            return batch  # it was only damaged, and is opened anew
        ended = False
        # Again, as long as more comes: what is taken back must not be followed by what is not.
        while True:
            while not (ended or self._writes.empty()):
                item = self._writes.get()
                if item is None:
                    ended = True
                else:
                    batch.append(item)
            batch = [item for item in batch if not self._taken_back(item)]
            if ended or self._writes.empty():
                break
        if ended:
            self._writes.put(None)
        return batch

    def _taken_back(self, item: _Item) -> bool:
        _, _, take_back, growth = item
        if not take_back():
            return False
        self._grow(-growth)
        return True

    def _grow(self, by: int) -> None:
        if by:
            with self._used_lock:
                self.used = self.used._replace(growth=self.used.growth + by)

    def _next_batch(self) -> list[_Item] | None:
        """What waits, at least one, as far as one commit takes it; None at the end."""
        batch: list[_Item] = []
        size = 0
        item = self._first()
        if item is None and not self._writes.empty():
            # What the end of a write has led to stands behind the end.
            self._writes.put(None)
            item = self._writes.get()
        while item is not None:
            batch.append(item)
            size += abs(item[3])
            if len(batch) >= _MOST_WRITES or size >= self._log_bytes or self._writes.empty():
                return batch
            item = self._writes.get()
        if batch:
            self._writes.put(None)
            return batch
        return None

    def _first(self) -> _Item | None:
        """The next write; while there is none, what was freed is given back to the disk."""
        if (since := self._untidy_since) is None:
            return self._writes.get()
        if time.monotonic() - since > _LONGEST_UNTIDY_SECONDS:
            self._tidy()
        while self._untidy_since is not None:
            try:
                return self._writes.get(timeout=_IDLE_SECONDS)
            except queue.Empty:
                while self._tidy() and self._writes.empty():
                    pass
        return self._writes.get()

    def _tidy(self) -> bool:
        """Give some of what was freed back to the disk; whether there is more."""
        from pyboot_svc.worker.storage.database import DatabaseDamaged, give_back, troubles

        self._untidy_since = None
        try:
            with troubles(self._file):
                more = self._connection is not None and give_back(self._connection)
                if self._connection is not None:
                    self._measure(self._connection)
        except DatabaseDamaged:
            self._give_up()
            return False
        except OSError:
            return False  # a commit will say what is wrong, if it is
        if more:
            self._untidy_since = time.monotonic()
        return more

    def _commit(self, batch: list[_Item]) -> bool:
        from pyboot_svc.worker.storage.database import DatabaseDamaged, transaction

        try:
            self._restore()
            with transaction(self._open(), self._file) as connection:
                for write, *_ in batch:
                    write(connection)
                self.clock.note(connection)
                held = self._mark.count(connection)
        except DatabaseDamaged:
            self._give_up()  # opening it again puts the file aside
            return False
        except OSError as error:
            if "readonly" in str(error):
                self._give_up()  # while any connection is open, it stays so
            self._complain(error)
            return False
        if not self._look_after(connection, sum(growth for *_, growth in batch)):
            return False
        self._mark.note(held)
        if self._untidy_since is None:
            self._untidy_since = time.monotonic()
        if self._trouble is not None:
            self._trouble = None
            log.warning("%s can be written again", self._file)
        return True

    def _look_after(self, connection: sqlite3.Connection, growth: int) -> bool:
        """Measure what a commit has left, and cut a long log; False when the database turns out to
        be damaged. Otherwise what was written is durable, and must not be written once more."""
        from pyboot_svc.worker.storage.database import DatabaseDamaged, troubles

        try:
            with troubles(self._file):
                self._measure(connection, growth)
                if self._log_is_long:
                    # It begins anew by itself, but not while somebody reads, now and again.
                    self._shorten_log(connection)
        except DatabaseDamaged:
            self._grow(growth)
            self._give_up()  # opening it again puts the file aside
            return False
        except OSError as error:
            log.debug("%s: the log stays long: %s", self._file, error)
        return True

    def _measure(self, connection: sqlite3.Connection, growth: int = 0) -> None:
        """`growth` is what was expected of the writes that have been committed since."""
        from pyboot_svc.worker.storage.database import used_bytes

        database, log_size, _ = self.used
        try:
            database, log_size = used_bytes(connection, self._file)
        finally:
            with self._used_lock:
                self.used = Usage(database, log_size, self.used.growth - growth)

    @property
    def _log_is_long(self) -> bool:
        return self.used.log > self._log_bytes * 3 // 2

    def _shorten_log(self, connection: sqlite3.Connection) -> None:
        """Once somebody has kept it long in spite of the wait, no commit waits so long for him
        again until it was short."""
        from pyboot_svc.worker.storage.database import SHORT_WAIT_SECONDS, empty_log

        empty_log(connection, SHORT_WAIT_SECONDS if self._log_is_held else _LONG_WAIT_SECONDS)
        self._measure(connection)
        self._log_is_held = self._log_is_long

    def _restore(self) -> None:
        """Raises DatabaseTrouble."""
        files, connection = self._files, self._connection
        if files is None or connection is None or files.are_there():
            return
        files.write_anew(connection)
        log.critical("%s was removed while in use: written anew, with all it had", self._file)
        self._give_up()

    def _give_up(self) -> None:
        self._close()
        for release in self._releases:
            release()

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = self._files = None
        self._mark.close()

    def _open(self) -> sqlite3.Connection:
        from pyboot_svc.worker.storage.database import open_database, troubles
        from pyboot_svc.worker.storage.removal import Files

        if self._connection is None:
            self._log_bytes = self._log_share()  # another disk may lie there by now
            connection = open_database(self._file, self._log_bytes)
            with troubles(self._file):
                self._measure(connection)
                missing = self._mark.missing(connection)
                if missing is not None:
                    log.critical("%s: %s", self._file, missing)
                self.clock.meet(connection)
                for watcher in self._watchers:
                    watcher(connection)
            self._connection, self._files = connection, Files(self._file)
        return self._connection

    def _complain(self, error: OSError) -> None:
        self._trouble = str(error)
        if self._limit.admit("trouble") is not None:
            log.critical("%s; retrying; what needs the disk waits", error)
