"""`context.state`: a mapping as any other, whose changes can be taken as text."""

from __future__ import annotations

import json
import math
import threading
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from pyboot_svc.worker.memory import DurableState

KEYS = st.sampled_from(["a", "b", "温", ""])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


class StateMachine(RuleBasedStateMachine):
    """Beside a dict, and with a database that takes the changes over now and then."""

    @initialize(stored=st.dictionaries(KEYS, VALUES))
    def create(self, stored: dict[str, Any]) -> None:
        self.database = {key: json.dumps(value) for key, value in stored.items()}
        self.state = DurableState(dict(self.database))
        self.model = dict(stored)

    @rule(key=KEYS, value=VALUES)
    def assign(self, key: str, value: Any) -> None:
        self.state[key] = self.model[key] = value
        assert self.state.changed

    @rule(key=KEYS)
    def delete(self, key: str) -> None:
        if key in self.model:
            del self.state[key], self.model[key]
        else:
            with pytest.raises(KeyError):
                del self.state[key]

    @rule(key=KEYS)
    def pop(self, key: str) -> None:
        assert self.state.pop(key, "absent") == self.model.pop(key, "absent")

    @rule()
    def commit(self) -> None:
        for key, text in self.state.take_changes().items():
            if text is None:
                self.database.pop(key, None)
            else:
                self.database[key] = text
        assert not self.state.changed
        assert self.state.take_changes() == {}
        assert {key: json.loads(text) for key, text in self.database.items()} == self.model

    @invariant()
    def the_same(self) -> None:
        assert dict(self.state) == self.model
        assert (len(self.state), list(self.state)) == (len(self.model), list(self.model))


TestAgainstADict = StateMachine.TestCase
TestAgainstADict.settings = settings(max_examples=40, deadline=None)


@given(VALUES)
def test_values_come_back_as_json_has_them(value: Any) -> None:
    state = DurableState({})
    state["key"] = value
    assert state["key"] == value
    assert DurableState({k: v for k, v in state.take_changes().items() if v})["key"] == value


def test_what_is_read_is_a_copy() -> None:
    state = DurableState({"list": "[1]"})
    state["list"].append(2)
    assert (state["list"], state.changed) == ([1], False)
    items = state["list"]
    items.append(2)
    state["list"] = items
    items.append(3)
    assert (state["list"], state.take_changes()) == ([1, 2], {"list": "[1, 2]"})


@pytest.mark.parametrize("value", [{1, 2}, object(), b"bytes", math.nan, math.inf])
def test_what_json_can_not_say_is_refused_and_changes_nothing(value: Any) -> None:
    state = DurableState({"key": "1"})
    with pytest.raises((TypeError, ValueError)):
        state["key"] = value
    assert (state["key"], state.changed) == (1, False)


@pytest.mark.parametrize("key", [1, None, ("a",), b"a"])
def test_a_key_that_is_no_text(key: Any) -> None:
    state = DurableState({})
    with pytest.raises(TypeError, match=r"a key of context\.state must be text"):
        state[key] = 1
    assert not state.changed


def test_a_key_that_can_not_be_stored() -> None:
    state = DurableState({})
    with pytest.raises(ValueError, match="surrogates"):
        state["\ud800"] = 1
    assert not state.changed


def test_it_may_change_while_somebody_walks_over_it() -> None:
    state = DurableState({"a": "1", "b": "2"})
    for key in state:
        state[key + key] = 3
    assert sorted(state) == ["a", "aa", "b", "bb"]


@pytest.mark.usefixtures("busy_switching")
def test_no_change_of_many_threads_is_taken_twice_or_never() -> None:
    state = DurableState({})
    taken: list[dict[str, str | None]] = []
    stop = threading.Event()

    def take() -> None:
        while not stop.is_set():
            taken.append(state.take_changes())

    def assign(thread: int) -> None:
        for number in range(500):
            state[f"{thread}/{number}"] = number

    takers = [threading.Thread(target=take) for _ in range(2)]
    assigners = [threading.Thread(target=assign, args=(number,)) for number in range(4)]
    for thread in takers + assigners:
        thread.start()
    for thread in assigners:
        thread.join(60)
    stop.set()
    for thread in takers:
        thread.join(20)
    taken.append(state.take_changes())
    keys = [key for changes in taken for key in changes]
    assert sorted(keys) == sorted(f"{t}/{n}" for t in range(4) for n in range(500))
