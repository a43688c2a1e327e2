"""`context.state`: what a model keeps, by key, over restarts."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping, MutableMapping
from typing import Any

from pyboot_svc.model.plain import Nan, NotPlain, plain, repeats_a_key, simpler

# Values as text, by key; None for what was deleted.
Changes = dict[str, str | None]


class ModelState(MutableMapping[str, Any]):
    """A mapping whose changes can be taken as text, to be committed with the message at hand.

    Values are what a result can be, kept as JSON says it. What is read is a copy of its own. Of
    several threads, each sees the others' assignments. What a call assigns is a change once the
    call has ended well.
    """

    def __init__(self, stored: dict[str, str], *, known: bool = True) -> None:
        """`known` says whether `stored` is all that there is: not if it could not be read."""
        self._stored = stored
        # What a database that lacks nothing has: all that was saved, or is about to be.
        self._saved = stored.copy()
        self._known = known
        # What was assigned and is not taken yet.
        self.changes: Changes = {}
        # What the database has lost.
        self._unsaved: Changes = {}
        # Keys of calls that ended well, when others had assigned something else meanwhile.
        self._contested: set[str] = set()
        self._lock = threading.Lock()

    def __getitem__(self, key: str) -> Any:
        return json.loads(self._stored[key])

    def __setitem__(self, key: str, value: Any) -> None:
        text = text_of(key, value)
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
        text = text_of(key, default)
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

    def text(self, key: str) -> str | None:
        """What is kept under `key`; None when nothing is."""
        return self._stored.get(key)

    # For a call, which may fail:

    def show(self, key: str, text: str | None) -> str | None:
        """Assign what is no change yet; gives what was there."""
        with self._lock:
            before = self._stored.pop(key, None) if text is None else self._stored.get(key)
            if text is not None:
                self._stored[key] = text
        return before

    def show_default(self, key: str, text: str) -> bool:
        """The same where nothing is; whether nothing was."""
        with self._lock:
            return self._stored.setdefault(key, text) is text

    def hide_last(self) -> tuple[str, str]:
        """Delete what is last; raises KeyError when nothing is."""
        with self._lock:
            return self._stored.popitem()

    def commit(self, assigned: Mapping[str, tuple[str | None, str | None]]) -> None:
        """What was there before, and what is there now: these are changes."""
        with self._lock:
            for key, (_, text) in assigned.items():
                if self._stored.get(key) == text:
                    self.changes[key] = text
                else:
                    self._contested.add(key)  # whoever assigned it since has the last word

    def restore(self, key: str, before: str | None, assigned: str | None) -> None:
        """Undo an assignment, unless another thread has assigned something else since."""
        with self._lock:
            if self._stored.get(key) != assigned:
                return
            if before is None:
                self._stored.pop(key, None)
            else:
                self._stored[key] = before
            if key in self._contested:
                self.changes[key] = before

    def take_changes(self) -> Changes:
        """What was assigned since the last time."""
        with self._lock:
            changes, self.changes = self.changes, {}
        return changes

    def take_unsaved(self) -> Changes:
        """What a database that was opened meanwhile lacks."""
        with self._lock:
            unsaved, self._unsaved = self._unsaved, {}
        return unsaved

    def saving(self, changes: Changes) -> None:
        """These are about to be saved: what was there before them is not lacking any more."""
        with self._lock:
            for key, text in changes.items():
                self._unsaved.pop(key, None)
                if text is None:
                    self._saved.pop(key, None)
                else:
                    self._saved[key] = text

    def meet(self, stored: dict[str, str]) -> None:
        """A database was opened that holds `stored`: what it lacks is to be written again.

        Not what calls have changed whose messages are not at their end: that is saved with these.
        What was not known before is taken over, unless the model has assigned it meanwhile.
        """
        with self._lock:
            if not self._known:
                for key in stored.keys() - self.changes.keys():
                    self._stored.setdefault(key, stored[key])
                self._saved = {**stored, **self._saved}
                self._known = True
            for key, text in self._saved.items():
                if stored.get(key) != text:
                    self._unsaved[key] = text


class CallState(MutableMapping[str, Any]):
    """The state as the calls of one thread see it: one that raises leaves it as it was.

    Whoever calls the model says after each call, if `touched`, how it ended. What was read and
    changed in place counts as assigned.
    """

    def __init__(self, state: ModelState) -> None:
        self._state = state
        # Whether the call at hand has read or changed something that its end matters for.
        self.touched = False
        # Before the call at hand, and since: of each key that it has assigned.
        self._assigned: dict[str, tuple[str | None, str | None]] = {}
        # The values that it has got and may have changed, with what was kept of them.
        self._lent: dict[str, tuple[Any, str]] = {}

    def sibling(self) -> CallState:
        """The same state, for a call that is made meanwhile."""
        return CallState(self._state)

    def __getitem__(self, key: str) -> Any:
        if key in self._lent:
            return self._lent[key][0]
        value = self._state[key]
        if isinstance(value, dict | list):
            self._lent[key] = value, json.dumps(value)
            self.touched = True
        return value

    def __setitem__(self, key: str, value: Any) -> None:
        text = text_of(key, value)
        before = self._begin(key)
        self._state.show(key, text)
        self._assigned[key] = before, text

    def __delitem__(self, key: str) -> None:
        if self._state.text(key) is None:
            raise KeyError(key)
        before = self._begin(key)
        self._state.show(key, None)
        self._assigned[key] = before, None

    def pop(self, key: str, *default: Any) -> Any:
        before = self._begin(key)
        text = self._state.show(key, None)
        if text is not None:
            self._assigned[key] = before, None
            return json.loads(text)
        if not default:
            raise KeyError(key)
        return default[0]

    def popitem(self) -> tuple[str, Any]:
        key, text = self._state.hide_last()
        before = self._assigned[key][0] if key in self._assigned else text
        self._lent.pop(key, None)
        self._assigned[key] = before, None
        self.touched = True
        return key, json.loads(text)

    def setdefault(self, key: str, default: Any = None) -> Any:
        if self._state.text(key) is None:
            before, text = self._begin(key), text_of(key, default)
            if self._state.show_default(key, text):
                self._assigned[key] = before, text
        return self[key]

    def clear(self) -> None:
        for key in self:
            self.pop(key, None)

    def __iter__(self) -> Iterator[str]:
        return iter(self._state)

    def __len__(self) -> int:
        return len(self._state)

    def commit(self) -> None:
        """The call has ended well; raises TypeError for a change in place that can't be kept."""
        for key, (value, kept) in list(self._lent.items()):
            if text_of(key, value) != kept:
                self[key] = value
        if self._assigned:
            self._state.commit(self._assigned)
        self._forget()

    def roll_back(self) -> None:
        """The call has failed."""
        for key, (before, assigned) in self._assigned.items():
            self._state.restore(key, before, assigned)
        self._forget()

    def _begin(self, key: str) -> str | None:
        """Before a change of `key`: what was kept of it before the call."""
        self.touched = True
        self._lent.pop(key, None)
        return self._assigned[key][0] if key in self._assigned else self._state.text(key)

    def _forget(self) -> None:
        self.touched = False
        self._assigned.clear()
        self._lent.clear()


def text_of(key: object, value: Any) -> str:
    """`value` as it is kept; raises TypeError where JSON can't say it."""
    if not isinstance(key, str):
        raise TypeError(f"a key of context.state must be text, not {key!r}")
    key.encode()  # half a character can't be stored: better an error here
    try:
        text = json.dumps(value, default=simpler)
        if not repeats_a_key(text):
            return text
    except (TypeError, ValueError):
        pass  # what it is, and where, the walk finds out
    try:
        return json.dumps(plain(value, Nan.KEEP, f'context.state["{key}"]'))
    except NotPlain as error:
        raise TypeError(f"it can't be kept: {error}") from None
