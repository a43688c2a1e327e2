"""Messages that were in hand when the process died, and which of them to give up."""

from __future__ import annotations

import logging
import threading
import time
from functools import partial
from typing import TYPE_CHECKING

from pyboot_svc.worker.execution.crash_journal import CrashJournal
from pyboot_svc.worker.messages import Message
from pyboot_svc.worker.storage.writer import DatabaseWriter

if TYPE_CHECKING:
    import sqlite3

log = logging.getLogger(__name__)

MOST_CRASHES = 3
# PoisonTracker that have not come again by then are not waited for any longer.
_CAREFUL_SECONDS = 60.0
_FORGET_SECONDS = 24 * 3600.0
# The next crash may come before the broker has the acknowledgement, and then it is sent again.
_LINGER_SECONDS = 5.0


class PoisonTracker:
    """Counts the crashes that each message was in hand at.

    While there are suspects to come, one thread works alone (`careful`), so that a crash tells
    which message it was, and no innocent one is counted with it.
    """

    def __init__(self, store: DatabaseWriter) -> None:
        self._store = store
        # How many crashes, by the content's digest; empty when nothing is suspected.
        self.counts: dict[str, int] = {}
        self._cleared: list[tuple[float, str]] = []
        self._lock = threading.Lock()
        self._careful_until = 0.0

    def load(self, journal: CrashJournal) -> None:
        """Take over what the process before this one left in the journal; before threads start."""
        left = journal.left_in_hand
        connection = self._store.open() if left else self._store.open_if_there()
        if connection is None:
            return
        if left:
            self._store.write_now(partial(self._count, left))
        rows = connection.execute("SELECT content, count FROM crashes").fetchall()
        self.counts = dict(rows)
        if left:
            self._careful_until = time.monotonic() + _CAREFUL_SECONDS
            log.error(
                "the process before this one died with %d messages in hand; they are processed "
                "one at a time, and given up after %d crashes",
                len(left),
                MOST_CRASHES,
            )

    @property
    def careful(self) -> bool:
        return bool(self.counts) and time.monotonic() < self._careful_until

    def crashes(self, message: Message) -> int:
        """How many crashes this message was in hand at."""
        return self.counts.get(message.id, 0)

    def clear(self, message: Message) -> None:
        """It was processed, or given up: it is no suspect any more, for this process."""
        content = message.id
        with self._lock:
            if self.counts.pop(content, None) is not None:
                self._cleared.append((time.monotonic(), content))

    def forget_cleared(self, lingering: float = _LINGER_SECONDS) -> None:
        """Nor for the next process, when so many seconds have passed; about once a second."""
        due = time.monotonic() - lingering
        with self._lock:
            forgotten = [(content,) for cleared, content in self._cleared if cleared <= due]
            del self._cleared[: len(forgotten)]
        if forgotten:
            self._store.submit(partial(_forget, forgotten), lambda: None)

    def _count(self, left: list[str], connection: sqlite3.Connection) -> None:
        now = self._store.clock.now()
        connection.execute("DELETE FROM crashes WHERE last < ?", (now - _FORGET_SECONDS,))
        connection.executemany(
            "INSERT INTO crashes (content, count, last) VALUES (?, 1, ?) "
            "ON CONFLICT (content) DO UPDATE SET count = count + 1, last = excluded.last",
            [(content, now) for content in set(left)],
        )


def _forget(contents: list[tuple[str]], connection: sqlite3.Connection) -> None:
    connection.executemany("DELETE FROM crashes WHERE content = ?", contents)
