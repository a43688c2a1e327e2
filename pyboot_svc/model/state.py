"""`context.state`: what a model keeps, by key, over restarts."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Iterator, MutableMapping
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from pyboot_svc.model.plain import Nan, NotPlain, plain, repeats_a_key, simpler

# As json.dumps does, which makes an encoder for each call.
_encode = json.JSONEncoder(default=simpler).encode

CALL_GIVEN_UP = "this call has lasted longer than model_timeout, and its message was given up"

# Values as text, by key; None for what was deleted.
Changes = dict[str, str | None]


class _Call:
    """One that can still fail, or one after the other of a thread."""

    __slots__ = ("assigned", "given_up", "lent")

    def __init__(self) -> None:
        # The keys that it has assigned, in that order.
        self.assigned: dict[str, None] = {}
        # The values that it has got and may have changed, with what was kept of them.
        self.lent: dict[str, tuple[Any, str]] = {}
        self.given_up = False


@dataclass(slots=True)
class _AtHand:
    """A key that calls have assigned which are not at their end.

    `kept` is what such as have ended well have left, and `assigned` what each of the others has
    assigned since, the latest last.
    """

    kept: str | None
    assigned: dict[_Call, str | None]

    @property
    def latest(self) -> str | None:
        return next(reversed(self.assigned.values()), self.kept)


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
        # Of each key that calls have assigned which may fail.
        self._at_hand: dict[str, _AtHand] = {}
        self._lock = threading.Lock()

    def __getitem__(self, key: str) -> Any:
        return json.loads(self._stored[key])

    def __setitem__(self, key: str, value: Any) -> None:
        text = text_of(key, value)
        with self._lock:
            self._change(key, text)

    def __delitem__(self, key: str) -> None:
        with self._lock:
            if key not in self._stored:
                raise KeyError(key)
            self._change(key, None)

    # What a mapping does in two steps is one here: another thread may be between them.

    def pop(self, key: str, *default: Any) -> Any:
        with self._lock:
            text = self._stored.get(key)
            if text is not None:
                self._change(key, None)
        if text is not None:
            return json.loads(text)
        if not default:
            raise KeyError(key)
        return default[0]

    def popitem(self) -> tuple[str, Any]:
        with self._lock:
            key, text = self._last()
            self._change(key, None)
        return key, json.loads(text)

    def setdefault(self, key: str, default: Any = None) -> Any:
        text = text_of(key, default)
        with self._lock:
            if key not in self._stored:
                self._change(key, text)
            text = self._stored[key]
        return json.loads(text)

    def clear(self) -> None:
        with self._lock:
            for key in list(self._stored):
                self._change(key, None)

    def __contains__(self, key: object) -> bool:
        return key in self._stored

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._stored))

    def __len__(self) -> int:
        return len(self._stored)

    # For a `call`, which may fail: what it assigns is seen at once, and a change when it is kept.

    def assign(self, call: _Call, key: str, text: str | None) -> None:
        with self._lock:
            self._show(call, key, text)

    def assign_default(self, call: _Call, key: str, text: str) -> bool:
        """The same where nothing is; whether nothing was."""
        with self._lock:
            absent = key not in self._stored
            if absent:
                self._show(call, key, text)
        return absent

    def delete(self, call: _Call, key: str) -> str | None:
        """Gives what was there."""
        with self._lock:
            text = self._stored.get(key)
            if text is not None:
                self._show(call, key, None)
        return text

    def delete_last(self, call: _Call) -> tuple[str, str]:
        """The same of what is last; raises KeyError when nothing is."""
        with self._lock:
            key, text = self._last()
            self._show(call, key, None)
        return key, text

    def keep(self, call: _Call, keys: Iterable[str]) -> None:
        """It has ended well: what it has assigned to these are changes."""
        with self._lock:
            for key in keys:
                at_hand = self._at_hand.get(key)
                if at_hand is None or call not in at_hand.assigned:
                    continue  # one that assigned it later is at its end already
                assigned = at_hand.assigned
                self.changes[key] = at_hand.kept = assigned[call]
                if len(assigned) > 1:
                    for older in list(takewhile(lambda other: other is not call, assigned)):
                        del assigned[older]
                self._forget(call, key, at_hand)

    def undo(self, call: _Call, keys: Iterable[str]) -> None:
        """It has failed: what is seen of these is what others have assigned."""
        with self._lock:
            self._undo(call, keys)

    def give_up(self, call: _Call) -> None:
        """It has failed without an end: from now on it can assign nothing."""
        with self._lock:
            call.given_up = True
            self._undo(call, list(self._at_hand))

    def _undo(self, call: _Call, keys: Iterable[str]) -> None:
        for key in keys:
            at_hand = self._at_hand.get(key)
            if at_hand is None or call not in at_hand.assigned:
                continue
            self._forget(call, key, at_hand)
            self._store(key, at_hand.latest)

    def _show(self, call: _Call, key: str, text: str | None) -> None:
        if call.given_up:
            raise RuntimeError(CALL_GIVEN_UP)
        at_hand = self._at_hand.get(key)
        if at_hand is None:
            self._at_hand[key] = _AtHand(self._stored.get(key), {call: text})
        else:
            at_hand.assigned.pop(call, None)
            at_hand.assigned[call] = text
        self._store(key, text)

    def _forget(self, call: _Call, key: str, at_hand: _AtHand) -> None:
        del at_hand.assigned[call]
        if not at_hand.assigned:
            del self._at_hand[key]

    def _change(self, key: str, text: str | None) -> None:
        """By none that could fail: whatever calls have assigned before is overwritten."""
        self._at_hand.pop(key, None)
        self._store(key, text)
        self.changes[key] = text

    def _store(self, key: str, text: str | None) -> None:
        if text is None:
            self._stored.pop(key, None)
        else:
            self._stored[key] = text

    def _last(self) -> tuple[str, str]:
        for key in reversed(self._stored):
            return key, self._stored[key]
        raise KeyError("context.state is empty")

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
                    at_hand = self._at_hand.get(key)
                    if at_hand is None:
                        self._stored.setdefault(key, stored[key])
                    elif at_hand.kept is None:
                        at_hand.kept = stored[key]
                self._saved = {**stored, **self._saved}
                self._known = True
            for key, text in self._saved.items():
                if stored.get(key) != text:
                    self._unsaved[key] = text


class CallState(MutableMapping[str, Any]):
    """The state as the calls of one thread see it: one that raises leaves it as it was.

    Whoever calls the model says after each call, if `touched`, how it ended. What was read and
    changed in place counts as assigned. After a call that was given up, the next one is made in
    another thread.
    """

    def __init__(self, state: ModelState) -> None:
        self._state = state
        # Whether the call at hand has read or changed something that its end matters for.
        self.touched = False
        self._call = _Call()
        # Those that were given up and may still go on, by their threads.
        self._late: dict[int, _Call] = {}

    def sibling(self) -> CallState:
        """The same state, for a call that is made meanwhile."""
        return CallState(self._state)

    def give_up(self, thread: int) -> None:
        """The call at hand, in the thread with this identifier, has failed, but goes on there."""
        # In this order: it takes the next call for its own at no time.
        call = self._late[thread] = self._call
        self._call = _Call()
        self.touched = False
        self._state.give_up(call)

    def late_call_ended(self, thread: int) -> None:
        """The one that was given up there: other threads can have its identifier from now on."""
        del self._late[thread]

    def __getitem__(self, key: str) -> Any:
        lent = self._at_hand().lent
        if key in lent:
            return lent[key][0]
        value = self._state[key]
        if isinstance(value, dict | list):
            lent[key] = value, json.dumps(value)
            self.touched = True
        return value

    def __setitem__(self, key: str, value: Any) -> None:
        text = text_of(key, value)
        self._state.assign(self._noted(key), key, text)

    def __delitem__(self, key: str) -> None:
        if self._state.delete(self._noted(key), key) is None:
            raise KeyError(key)

    def pop(self, key: str, *default: Any) -> Any:
        text = self._state.delete(self._noted(key), key)
        if text is not None:
            return json.loads(text)
        if not default:
            raise KeyError(key)
        return default[0]

    def popitem(self) -> tuple[str, Any]:
        call = self._at_hand()
        key, text = self._state.delete_last(call)
        self._note(call, key)
        return key, json.loads(text)

    def setdefault(self, key: str, default: Any = None) -> Any:
        if key not in self._state:
            text = text_of(key, default)
            call = self._at_hand()
            if self._state.assign_default(call, key, text):
                self._note(call, key)
        return self[key]

    def clear(self) -> None:
        for key in self:
            self.pop(key, None)

    def __contains__(self, key: object) -> bool:
        return key in self._state

    def __iter__(self) -> Iterator[str]:
        return iter(self._state)

    def __len__(self) -> int:
        return len(self._state)

    def assign_lent(self) -> None:
        """What was changed in place; raises TypeError where that can't be kept."""
        call = self._at_hand()
        for key, (value, kept) in list(call.lent.items()):
            text = text_of(key, value)
            if text != kept:
                self._note(call, key)
                self._state.assign(call, key, text)
        call.lent.clear()

    def commit(self) -> None:
        """The call has ended well; raises TypeError for a change in place that can't be kept."""
        self.assign_lent()
        self.keep()

    def keep(self) -> None:
        """The same, when what was changed in place is assigned."""
        call = self._call
        if call.assigned:
            self._state.keep(call, call.assigned)
        self._forget(call)

    def roll_back(self) -> None:
        """The call has failed."""
        call = self._call
        if call.assigned:
            self._state.undo(call, call.assigned)
        self._forget(call)

    def _at_hand(self) -> _Call:
        """That of the thread which asks."""
        call = self._call
        return self._late.get(threading.get_ident(), call) if self._late else call

    def _noted(self, key: str) -> _Call:
        call = self._at_hand()
        self._note(call, key)
        return call

    def _note(self, call: _Call, key: str) -> None:
        self.touched = True
        call.lent.pop(key, None)
        call.assigned[key] = None

    def _forget(self, call: _Call) -> None:
        self.touched = False
        call.assigned.clear()
        call.lent.clear()


def text_of(key: object, value: Any) -> str:
    """`value` as it is kept; raises TypeError where JSON can't say it."""
    if not isinstance(key, str):
        raise TypeError(f"a key of context.state must be text, not {key!r}")
    key.encode()  # half a character can't be stored: better an error here
    try:
        text = _encode(value)
        if not repeats_a_key(text):
            return text
    except (TypeError, ValueError):
        pass  # what it is, and where, the walk finds out
    try:
        return json.dumps(plain(value, Nan.KEEP, f'context.state["{key}"]'))
    except NotPlain as error:
        raise TypeError(f"it can't be kept: {error}") from None
