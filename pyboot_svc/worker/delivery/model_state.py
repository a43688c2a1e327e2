"""Commits what a model keeps in `context.state` together with the messages that changed it."""

from __future__ import annotations

import logging
import threading
from bisect import insort
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


@dataclass
class _Noted:
    """What the messages from `begin` on have changed, to be saved when all before `due` are at
    their end. When nobody sends them again, it may be saved with others (`lazy`)."""

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
    it, and leads to the same. With several threads a change of another one may be saved with it.

    While the disk can't be written nobody waits: the changes stay in memory until it can be.
    All of it happens within `lock`, which is the settlement's, too.
    """

    def __init__(self, state: ModelState, store: DatabaseWriter) -> None:
        self.state = state
        self._store = store
        self.lock = threading.Lock()
        # Whether messages are acknowledged without a look at the state: there is nothing to save.
        self.idle = True
        self._noted: list[_Noted] = []
        self._settled: deque[_Settled] = deque()
        # Behind which save each waits, by its number.
        self._waiting: deque[tuple[int, _Settled]] = deque()
        self._begun = self._awaited = self._done = 0
        # Due, and waiting for the next save: nobody waits for it.
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
        """These messages have changed the state; called before any of them is settled, while the
        state has changes."""
        packet_ids = chunk.batch.packet_ids
        lazy = not any(packet_ids[place] for place in places)
        with self.lock:
            changes = self.state.take_changes()
            number = chunk.number
            noted = _Noted((number, places.start), (number, places.stop), lazy, changes)
            # Of several threads, one that is behind may have been faster. What it has found is
            # part of this by now, so that both are saved together.
            for later in self._noted:
                if later.begin > noted.begin and later.changes.keys() & changes.keys():
                    noted.due = max(noted.due, later.due)
                    later.changes = {k: v for k, v in later.changes.items() if k not in changes}
            insort(self._noted, noted, key=lambda one: one.begin)
            self.idle = False

    def acknowledge(
        self, number: int, batch: MessageBatch, start: int, stop: int, confirm: Confirm
    ) -> None:
        """Within `lock`, in order: these messages of the chunk `number` are at their end. They are
        confirmed when the state is safe."""
        self._settled.append(_Settled((number, stop), partial(confirm, batch, start, stop)))
        while self._settled:
            first = self._settled[0]
            noted = self._noted[0] if self._noted else None
            if noted is None or first.stop <= noted.begin:
                self._pass_on(self._settled.popleft())
            elif (number, stop) >= noted.due:
                self._save_noted(self._noted.pop(0))
            else:
                return  # of what has changed the state together, not all is at its end
        self._look()

    def flush(self) -> None:
        """Save what nobody waits for; about once a second, and at the end."""
        with self.lock:
            if self._in_memory and self._begun > self._done:
                return  # it is just being found out whether the disk can be written
            # What a new database lacked when it was opened is older than what waits here.
            self._taken_back = {**self.state.take_unsaved(), **self._taken_back}
            self._save_waiting()

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

    def _save_noted(self, noted: _Noted) -> None:
        if noted.lazy or self._in_memory:
            self._lazy.update(noted.changes)
        else:
            self._save(noted.changes)
            self._awaited = self._begun

    def _save_waiting(self) -> None:
        if self._taken_back or self._lazy:
            self._save({})

    def _save(self, changes: Changes) -> None:
        together = {**self._taken_back, **self._lazy, **changes}
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
                self._save_waiting()  # what came while it was tried was acknowledged at once
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
        self.idle = self._awaited <= self._done and not (
            self._noted or self._settled or self._waiting
        )


def _write(changes: Changes, connection: sqlite3.Connection) -> None:
    from pyboot_svc.worker.storage.database import checksum

    connection.executemany(
        "DELETE FROM state WHERE key = ?", [(key,) for key, text in changes.items() if text is None]
    )
    connection.executemany(
        "INSERT OR REPLACE INTO state VALUES (?, ?, ?)",
        [(key, text, checksum(key, text)) for key, text in changes.items() if text is not None],
    )
