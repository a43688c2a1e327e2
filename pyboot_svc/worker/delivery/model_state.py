"""`context.state`: what a model keeps, by key, over restarts."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator, MutableMapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from pyboot_svc.worker.delivery.settlement import Settlement
from pyboot_svc.worker.messages import Chunk
from pyboot_svc.worker.storage.writer import DatabaseWriter

if TYPE_CHECKING:
    import sqlite3

log = logging.getLogger(__name__)


class ModelState(MutableMapping[str, Any]):
    """A mapping whose changes can be taken as text, to be committed with the message at hand.

    Values are what JSON can say. What is read is a copy of its own: a change counts when it is
    assigned. Of several threads, each sees the others' assignments.
    """

    def __init__(self, stored: dict[str, str], *, known: bool = True) -> None:
        """`known` says whether `stored` is all that there is: not if it could not be read."""
        self._stored = stored
        self._known = known
        # What was assigned and is not committed yet; None for what was deleted.
        self.changes: dict[str, str | None] = {}
        self._lock = threading.Lock()

    def __getitem__(self, key: str) -> Any:
        return json.loads(self._stored[key])

    def __setitem__(self, key: str, value: Any) -> None:
        text = _text(key, value)
        with self._lock:
            self._stored[key] = text
            self.changes[key] = text

    def __delitem__(self, key: str) -> None:
        with self._lock:
            del self._stored[key]
            self.changes[key] = None

    # What a mapping does in two steps is one here: another thread may be between them.

    def pop(self, key: str, *default: Any) -> Any:
        with self._lock:
            text = self._stored.pop(key, None)
            if text is not None:
                self.changes[key] = None
        if text is not None:
            return json.loads(text)
        if not default:
            raise KeyError(key)
        return default[0]

    def popitem(self) -> tuple[str, Any]:
        with self._lock:
            key, text = self._stored.popitem()
            self.changes[key] = None
        return key, json.loads(text)

    def setdefault(self, key: str, default: Any = None) -> Any:
        text = _text(key, default)
        with self._lock:
            if key not in self._stored:
                self._stored[key] = self.changes[key] = text
            text = self._stored[key]
        return json.loads(text)

    def clear(self) -> None:
        with self._lock:
            self.changes.update(dict.fromkeys(self._stored))
            self._stored.clear()

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._stored))

    def __len__(self) -> int:
        return len(self._stored)

    def take_changes(self) -> dict[str, str | None]:
        """What was assigned since the last call; None for what was deleted."""
        with self._lock:
            changes, self.changes = self.changes, {}
        return changes

    def put_back(self, changes: dict[str, str | None]) -> None:
        """These could not be committed: take them the next time, as they are by then."""
        with self._lock:
            for key in changes:
                self.changes.setdefault(key, self._stored.get(key))

    def meet(self, stored: dict[str, str]) -> None:
        """A database was opened that holds `stored`: what it lacks is to be written again.

        What was not known before is taken over, unless the model has assigned it meanwhile.
        """
        with self._lock:
            if not self._known:
                for key in stored.keys() - self.changes.keys():
                    self._stored.setdefault(key, stored[key])
                self._known = True
            for key, text in self._stored.items():
                if stored.get(key) != text:
                    self.changes.setdefault(key, text)


def _text(key: object, value: Any) -> str:
    if not isinstance(key, str):
        raise TypeError(f"a key of context.state must be text, not {key!r}")
    key.encode()  # half a character can't be stored: better an error here
    return json.dumps(value, allow_nan=False)


class StateSaver:
    """Commits what messages have changed in the state, and has them wait for it.

    While the disk can't be written nobody waits: the changes stay in memory until it can be.
    """

    def __init__(self, state: ModelState, store: DatabaseWriter, settlement: Settlement) -> None:
        self.state = state
        self._store = store
        self._settlement = settlement
        self._lock = threading.Lock()
        # So many changes are on their way to the disk.
        self.unsaved = 0
        self._in_memory = False

    def flush(self) -> None:
        """What inputs of QoS 0 have changed, or a disk could not take; about once a second."""
        self._save(None, ())

    def save(self, chunk: Chunk, places: range) -> None:
        """Called when the model is done with these, before they are settled; not needed while the
        state has no changes, and none are `unsaved`."""
        packet_ids = chunk.batch.packet_ids
        held = [place for place in places if packet_ids[place]]
        if held:  # of QoS 0, the next flush is soon enough
            self._save(chunk, held)

    def _save(self, chunk: Chunk | None, held: Sequence[int]) -> None:
        if not (self.state.changes or self.unsaved):
            return
        if self._in_memory and (held or self.unsaved):
            return  # a flush finds out when it can be written
        # Another thread may have taken what these changed, and it may not be durable yet: so they
        # wait for that, too. Writes are queued in the order in which changes were taken.
        with self._lock:
            waiting = self.unsaved > 0
            self.unsaved += 1  # first: who finds the changes taken has to see this
            changes = self.state.take_changes()
            if not changes and not waiting:
                self.unsaved -= 1
                return
            if chunk is not None:
                self._settlement.hold(chunk, held)
            self._store.submit(
                partial(_write, changes),
                partial(self._saved, chunk, held),
                partial(self._take_back, changes, chunk, held),
            )

    def _saved(self, chunk: Chunk | None, held: Sequence[int]) -> None:
        if self._in_memory:
            log.warning("context.state is on disk again")
        self._in_memory = False
        self._end(chunk, held)

    def _take_back(
        self, changes: dict[str, str | None], chunk: Chunk | None, held: Sequence[int]
    ) -> bool:
        self.state.put_back(changes)
        if not self._in_memory:
            log.critical(
                "context.state is kept in memory while the disk can't be written: "
                "its changes are lost if the process dies before"
            )
        self._in_memory = True
        self._end(chunk, held)
        return True

    def _end(self, chunk: Chunk | None, held: Sequence[int]) -> None:
        with self._lock:
            self.unsaved -= 1
        if chunk is not None:
            self._settlement.settle(chunk, held)


def _write(changes: dict[str, str | None], connection: sqlite3.Connection) -> None:
    from pyboot_svc.worker.storage.database import checksum

    connection.executemany(
        "DELETE FROM state WHERE key = ?", [(key,) for key, text in changes.items() if text is None]
    )
    connection.executemany(
        "INSERT OR REPLACE INTO state VALUES (?, ?, ?)",
        [(key, text, checksum(key, text)) for key, text in changes.items() if text is not None],
    )
