"""`context.state` as a call sees it: a call that raises leaves it as it was."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyboot_svc.model.state import CallState, ModelState


def stored(state: ModelState) -> dict[str, Any]:
    return dict(state)


@pytest.fixture
def shared() -> ModelState:
    return ModelState({"n": "1", "list": "[1]"})


@pytest.fixture
def state(shared: ModelState) -> CallState:
    return CallState(shared)


def test_what_is_assigned_is_there_at_once(state: CallState, shared: ModelState) -> None:
    state["n"] += 1
    state["new"] = {"a": 1}
    assert (state["n"], shared["n"], shared["new"]) == (2, 2, {"a": 1})
    assert state.touched
    state.commit()
    assert not state.touched
    assert shared.take_changes() == {"n": "2", "new": '{"a": 1}'}


def test_a_call_that_failed_changed_nothing(state: CallState, shared: ModelState) -> None:
    before = stored(shared)
    state["n"] += 1
    state["n"] += 1
    state["new"] = 1
    del state["list"]
    state.roll_back()
    assert stored(shared) == before
    state.pop("n")
    state.setdefault("more", []).append(1)
    state.popitem()
    state.clear()
    assert not state
    state.roll_back()
    assert stored(shared) == before
    assert not state.touched


def test_only_the_call_at_hand_is_undone(state: CallState, shared: ModelState) -> None:
    state["n"] = 2
    state.commit()
    state["n"] = 3
    state.roll_back()
    assert shared["n"] == 2


def test_a_change_in_place_counts(state: CallState, shared: ModelState) -> None:
    state["list"].append(2)
    state["list"].append(3)
    assert state["list"] == [1, 2, 3]
    state.setdefault("seen", {})["a"] = 1
    state.commit()
    assert stored(shared) == {"n": 1, "list": [1, 2, 3], "seen": {"a": 1}}
    state["list"].append(4)
    state.roll_back()
    assert state["list"] == [1, 2, 3]


def test_reading_alone_changes_nothing(state: CallState, shared: ModelState) -> None:
    assert (state["list"], state["n"], state.get("absent")) == ([1], 1, None)
    assert (list(state), len(state), "n" in state) == (["n", "list"], 2, True)
    state.commit()
    assert not shared.changes


def test_what_was_assigned_is_a_copy(state: CallState, shared: ModelState) -> None:
    mine = [1]
    state["list"] = mine
    mine.append(2)
    state.commit()
    assert shared["list"] == [1]


def test_a_change_in_place_that_can_not_be_kept(state: CallState, shared: ModelState) -> None:
    state["list"].append(1j)
    with pytest.raises(TypeError, match=r'context\.state\["list"\]\[1\]: complex'):
        state.commit()
    state.roll_back()
    assert shared["list"] == [1]


def test_a_count_by_numbers_does_not_stand_still(state: CallState) -> None:
    """Keys are texts when they are read again: counted on under 5, beside "5", it would be 1 for
    ever."""
    state["k"] = {5: 1}
    counts = state["k"]
    counts[5] = counts.get(5, 0) + 1
    with pytest.raises(TypeError, match=r'context\.state\["k"\]: the keys "5" and 5 are the same'):
        state.commit()


def test_another_threads_assignment_is_not_undone(shared: ModelState) -> None:
    mine, other = CallState(shared), CallState(shared)
    mine["n"] = 2
    other["n"] = 3
    mine.roll_back()
    assert shared["n"] == 3


@pytest.fixture
def calls(shared: ModelState) -> tuple[CallState, CallState]:
    """Of two threads, each of which has counted `n`, one after the other."""
    mine, other = CallState(shared), CallState(shared)
    mine["n"] += 1
    other["n"] += 1
    return mine, other


Calls = tuple[CallState, CallState]


def test_what_a_call_has_kept_is_a_change_though_another_has_assigned_more(
    calls: Calls, shared: ModelState
) -> None:
    """Or a crash before the other one ends would lose it."""
    mine, other = calls
    mine.commit()
    assert (shared["n"], shared.take_changes()) == (3, {"n": "2"})
    other.commit()
    assert (shared["n"], shared.take_changes()) == (3, {"n": "3"})


def test_an_older_assignment_is_no_change_once_a_newer_one_is_kept(
    calls: Calls, shared: ModelState
) -> None:
    mine, other = calls
    other.commit()
    mine.commit()
    assert (shared["n"], shared.take_changes()) == (3, {"n": "3"})


def test_an_older_assignment_is_not_undone_over_a_newer_one_that_is_kept(
    calls: Calls, shared: ModelState
) -> None:
    mine, other = calls
    other.commit()
    mine.roll_back()
    assert (shared["n"], shared.take_changes()) == (3, {"n": "3"})


def test_undone_is_what_another_call_has_kept_meanwhile(calls: Calls, shared: ModelState) -> None:
    mine, other = calls
    mine.commit()
    other.roll_back()
    assert (shared["n"], shared.take_changes()) == (2, {"n": "2"})


def test_of_several_calls_that_fail_nothing_stays(calls: Calls, shared: ModelState) -> None:
    mine, other = calls
    mine.roll_back()
    assert shared["n"] == 3
    other.roll_back()
    assert (shared["n"], shared.take_changes()) == (1, {})


def test_undone_is_what_a_call_at_hand_has_assigned_before(
    calls: Calls, shared: ModelState
) -> None:
    mine, other = calls
    other.roll_back()
    assert shared["n"] == 2
    mine.commit()
    assert shared.take_changes() == {"n": "2"}


def test_what_is_assigned_for_good_is_not_undone_by_calls_before(
    calls: Calls, shared: ModelState
) -> None:
    """As by a thread of the model's own, which has the state that `__init__` got."""
    mine, other = calls
    shared["n"] = 9
    mine.roll_back()
    other.commit()
    assert (shared["n"], shared.take_changes()) == (9, {"n": "9"})


def test_a_deletion_is_undone_and_kept_as_any_other_change(
    calls: Calls, shared: ModelState
) -> None:
    mine, other = calls
    del mine["n"]
    assert "n" not in other
    other.commit()
    assert ("n" in shared, shared.take_changes()) == (False, {"n": "3"})
    mine.roll_back()
    assert shared["n"] == 3
    del mine["n"]
    mine.commit()
    assert ("n" in shared, shared.take_changes()) == (False, {"n": None})


def test_to_look_for_a_key_does_not_read_its_value(state: CallState) -> None:
    assert "list" in state
    assert "no" not in state
    assert not state.touched


def test_keys_that_are_not_there(state: CallState) -> None:
    for wrong in (lambda: state["no"], lambda: state.pop("no"), lambda: state.__delitem__("no")):
        with pytest.raises(KeyError):
            wrong()
    assert state.pop("no", 5) == 5
    state.roll_back()


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        (np.float64(1.5), 1.5),
        (np.array([1, 2]), [1, 2]),
        ({np.int64(1): {2}}, {"1": [2]}),
        ((1, 2), [1, 2]),
    ],
)
def test_it_takes_what_a_result_can_be(state: CallState, value: Any, kept: Any) -> None:
    state["k"] = value
    assert state["k"] == kept


def test_it_keeps_nan(state: CallState) -> None:
    state["k"] = [math.nan, math.inf]
    assert math.isnan(state["k"][0])
    assert state["k"][1] == math.inf


@settings(deadline=None, max_examples=200)
@given(
    st.dictionaries(st.sampled_from("abc"), st.integers() | st.lists(st.integers()), max_size=3),
    st.lists(
        st.tuples(
            st.sampled_from(["set", "del", "pop", "default", "grow"]), st.sampled_from("abc")
        ),
        max_size=12,
    ),
    st.booleans(),
)
def test_it_is_a_dict_until_it_is_undone(
    begin: dict[str, Any], steps: list[tuple[str, str]], well: bool
) -> None:
    shared = ModelState({key: json.dumps(value) for key, value in begin.items()})
    state, model = CallState(shared), json.loads(json.dumps(begin))
    for number, (step, key) in enumerate(steps):
        for mapping in (state, model):
            if step == "set":
                mapping[key] = number
            elif step == "del" and key in mapping:
                del mapping[key]
            elif step == "pop":
                mapping.pop(key, None)
            elif step == "default":
                mapping.setdefault(key, [number])
            elif step == "grow" and isinstance(mapping.get(key), list):
                mapping[key].append(number)
    if well:
        state.commit()
        assert stored(shared) == model
    else:
        state.roll_back()
        assert stored(shared) == begin
