"""Commits what a model keeps in `context.state` together with the messages that changed it."""

from __future__ import annotations

import logging
import threading
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from pyboot_svc.model.state import Changes, ModelState
from pyboot_svc.worker.messages import Chunk, MessageBatch
from pyboot_svc.worker.storage.writer import DatabaseWriter

if TYPE_CHECKING:
    import sqlite3

log = logging.getLogger(__name__)


Confirm = Callable[[MessageBatch, int, int], None]
# The number of a chunk, and a place in it.
_Position = tuple[int, int]


@dataclass(frozen=True)
class _Noted:
    """What messages from `begin` on have changed, or have seen: to be saved when all before `due`
    are at their end. When nobody sends them again, it may be saved with others (`lazy`)."""

    begin: _Position
    due: _Position
    lazy: bool
    changes: Changes


@dataclass(frozen=True)
class _Settled:
    """Messages that have come to their end, and are to be acknowledged."""

    stop: _Position
    acknowledge: Callable[[], None]


class StateSaver:
    """Stands between the settlement and the origin of messages, while the state changes.

    What a call has changed is saved when all that it led to is safe, and the message acknowledged
    when the change is: after a crash a message that comes again finds the state as it was before
    it, and leads to the same.

    Several threads share the state, so that what one hands on first may have the changes of
    another one, or be built on them. Therefore changes are saved in the order in which they were
    noted, and a message waits for all that was noted up to its own place in that order.

    While the disk can't be written nobody waits: the changes stay in memory until it can be.
    All of it happens within `lock`, which is the settlement's, too.
    """

    def __init__(self, state: ModelState, store: DatabaseWriter) -> None:
        self.state = state
        self._store = store
        self.lock = threading.Lock()
        # Whether messages are acknowledged without a look at the state: there is nothing to save.
        self.idle = True
        # In the order of time, in which `due` never falls.
        self._noted: deque[_Noted] = deque()
        # Where they begin, sorted: no message behind the first is acknowledged yet.
        self._begins: list[_Position] = []
        self._settled: deque[_Settled] = deque()
        # Behind which save each waits, by its number.
        self._waiting: deque[tuple[int, _Settled]] = deque()
        self._begun = self._awaited = self._done = 0
        # Due, and waiting for the next save.
        self._lazy: Changes = {}
        # What the disk had no room for: older than what is lazy.
        self._taken_back: Changes = {}
        # Whether nobody waits, since the disk can't be written.
        self._in_memory = False
        # Whether that was said, and by which save all is on disk again that nobody waited for.
        self._told = False
        self._caught_up = 0

    @property
    def held(self) -> int:
        """Batches that have come to their end, and wait for the disk."""
        return len(self._settled) + len(self._waiting)

    def note(self, chunk: Chunk, places: range) -> None:
        """These messages are done with; called before any of them is settled, while the state has
        changes or this is not `idle`."""
        packet_ids = chunk.batch.packet_ids
        lazy = not any(packet_ids[place] for place in places)
        with self.lock:
            # Before the changes are taken: a thread that finds none left has to see that it waits.
            self.idle = False
            changes = self.state.take_changes()
            begin, due = (chunk.number, places.start), (chunk.number, places.stop)
            if self._noted:
                due = max(due, self._noted[-1].due)
            elif not changes and (lazy or not self._unsafe):
                self._look()
                return
            self._noted.append(_Noted(begin, due, lazy, changes))
            insort(self._begins, begin)

    def acknowledge(
        self, number: int, batch: MessageBatch, start: int, stop: int, confirm: Confirm
    ) -> None:
        """Within `lock`, in order: these messages of the chunk `number` are at their end. They are
        confirmed when the state is safe."""
        reached = number, stop
        self._save_due(reached)
        self._settled.append(_Settled(reached, partial(confirm, batch, start, stop)))
        while self._settled:
            if self._begins and self._begins[0] < self._settled[0].stop:
                break  # of what has changed the state together, not all is at its end
            self._pass_on(self._settled.popleft())
        self._look()

    def flush(self) -> None:
        """Save what nobody waits for; about once a second, and at the end."""
        with self.lock:
            if self._in_memory and self._begun > self._done:
                return  # it is just being found out whether the disk can be written
            # What a new database lacked when it was opened is older than what waits here.
            self._taken_back = {**self.state.take_unsaved(), **self._taken_back}
            self._save()
            self._look()

    def save_all(self) -> None:
        """At the end, when no call is made any more."""
        with self.lock:
            self._lazy.update(self.state.take_changes())
        self.flush()

    def _pass_on(self, settled: _Settled) -> None:
        if self._awaited > self._done:
            self._waiting.append((self._awaited, settled))
        else:
            settled.acknowledge()

    @property
    def _unsafe(self) -> bool:
        """Whether changes that are due are not on disk."""
        return bool(self._lazy) or self._begun > self._done

    def _save_due(self, reached: _Position) -> None:
        awaited = False
        while self._noted and self._noted[0].due <= reached:
            noted = self._noted.popleft()
            del self._begins[bisect_left(self._begins, noted.begin)]
            self._lazy.update(noted.changes)
            awaited = awaited or not noted.lazy
        if awaited and not self._in_memory:
            self._save()
            self._awaited = self._begun

    def _save(self) -> None:
        """All that is due."""
        together = {**self._taken_back, **self._lazy}
        if not together:
            return
        self.state.saving(together)
        self._taken_back, self._lazy = {}, {}
        self._begun += 1
        self._store.submit(
            partial(_write, together), self._saved, partial(self._take_back, together)
        )

    def _saved(self) -> None:
        with self.lock:
            if self._in_memory:
                self._in_memory = False
                self._save()  # what came while it was tried was acknowledged at once
                self._caught_up = self._begun
            self._end()
            again = self._told and self._done >= self._caught_up
            self._told = self._told and not again
        if again:
            log.warning("context.state is on disk again")

    def _take_back(self, changes: Changes) -> bool:
        """Of several, in the order in which they began."""
        with self.lock:
            self._taken_back.update(changes)
            told, self._told = self._told, True
            self._in_memory = True
        if not told:
            log.critical(
                "context.state is kept in memory while the disk can't be written: "
                "its changes are lost if the process dies before"
            )
        with self.lock:
            self._end()
        return True

    def _end(self) -> None:
        """Saves end in the order in which they began."""
        self._done += 1
        while self._waiting and self._waiting[0][0] <= self._done:
            self._waiting.popleft()[1].acknowledge()
        self._look()

    def _look(self) -> None:
        self.idle = not (self._noted or self._settled or self._waiting or self._unsafe)


def _write(changes: Changes, connection: sqlite3.Connection) -> None:
    from pyboot_svc.worker.storage.database import checksum

    connection.executemany(
        "DELETE FROM state WHERE key = ?", [(key,) for key, text in changes.items() if text is None]
    )
    connection.executemany(
        "INSERT OR REPLACE INTO state VALUES (?, ?, ?)",
        [(key, text, checksum(key, text)) for key, text in changes.items() if text is not None],
    )
