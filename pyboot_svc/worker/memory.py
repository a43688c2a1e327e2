"""`context.state`: what a model keeps, by key, over restarts."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, MutableMapping
from typing import Any


class DurableState(MutableMapping[str, Any]):
    """A mapping whose changes can be taken as text, to be committed with the message at hand.

    Values are what JSON can say. What is read is a copy of its own: a change counts when it is
    assigned. Of several threads, each sees the others' assignments.
    """

    def __init__(self, stored: dict[str, str]) -> None:
        self._stored = stored
        self._changes: dict[str, str | None] = {}
        self._lock = threading.Lock()

    def __getitem__(self, key: str) -> Any:
        return json.loads(self._stored[key])

    def __setitem__(self, key: str, value: Any) -> None:
        if not isinstance(key, str):
            raise TypeError(f"a key of context.state must be text, not {key!r}")
        key.encode()  # half a character can't be stored: better an error here
        text = json.dumps(value, allow_nan=False)
        with self._lock:
            self._stored[key] = text
            self._changes[key] = text

    def __delitem__(self, key: str) -> None:
        with self._lock:
            del self._stored[key]
            self._changes[key] = None

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._stored))

    def __len__(self) -> int:
        return len(self._stored)

    @property
    def changed(self) -> bool:
        return bool(self._changes)

    def take_changes(self) -> dict[str, str | None]:
        """What was assigned since the last call; None for what was deleted."""
        with self._lock:
            changes, self._changes = self._changes, {}
        return changes
