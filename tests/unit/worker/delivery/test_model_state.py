"""`context.state`: a mapping as any other, whose changes can be taken as text."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from support.columns import Acknowledged, chunk_of, roomy_budget
from support.disk import SmallDisk
from support.poll import until
from support.store import configured, held_up, rows, running, settled

from pyboot_svc.model.state import CallState, ModelState
from pyboot_svc.threads import spawn
from pyboot_svc.worker.delivery.model_state import StateSaver
from pyboot_svc.worker.delivery.settlement import Settlement
from pyboot_svc.worker.durables import Durables
from pyboot_svc.worker.messages import Chunk
from pyboot_svc.worker.storage.database import check, checksum, open_database
from pyboot_svc.worker.storage.writer import DATABASE_NAME, DatabaseWriter

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
        self.state = ModelState(dict(self.database))
        self.model = dict(stored)

    @rule(key=KEYS, value=VALUES)
    def assign(self, key: str, value: Any) -> None:
        self.state[key] = self.model[key] = value
        assert self.state.changes

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

    @rule(key=KEYS, value=VALUES)
    def set_default(self, key: str, value: Any) -> None:
        assert self.state.setdefault(key, value) == self.model.setdefault(key, value)

    @rule()
    def pop_item(self) -> None:
        if self.model:
            assert self.state.popitem() == self.model.popitem()

    @rule()
    def clear(self) -> None:
        self.state.clear()
        self.model.clear()

    @rule()
    def commit(self) -> None:
        for key, text in self.state.take_changes().items():
            if text is None:
                self.database.pop(key, None)
            else:
                self.database[key] = text
        assert not self.state.changes
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
    state = ModelState({})
    state["key"] = value
    assert state["key"] == value
    assert ModelState({k: v for k, v in state.take_changes().items() if v})["key"] == value


def test_what_is_read_is_a_copy() -> None:
    state = ModelState({"list": "[1]"})
    state["list"].append(2)
    assert (state["list"], bool(state.changes)) == ([1], False)
    items = state["list"]
    items.append(2)
    state["list"] = items
    items.append(3)
    assert (state["list"], state.take_changes()) == ([1, 2], {"list": "[1, 2]"})


@pytest.mark.parametrize("value", [{1j, 2}, object(), b"bytes", {"a": [1j]}])
def test_what_json_can_not_say_is_refused_and_changes_nothing(value: Any) -> None:
    state = ModelState({"key": "1"})
    with pytest.raises((TypeError, ValueError)):
        state["key"] = value
    assert (state["key"], bool(state.changes)) == (1, False)


@pytest.mark.parametrize("key", [1, None, ("a",), b"a"])
def test_a_key_that_is_no_text(key: Any) -> None:
    state = ModelState({})
    with pytest.raises(TypeError, match=r"a key of context\.state must be text"):
        state[key] = 1
    assert not state.changes


def test_a_key_that_can_not_be_stored() -> None:
    state = ModelState({})
    with pytest.raises(ValueError, match="surrogates"):
        state["\ud800"] = 1
    assert not state.changes


def test_it_may_change_while_somebody_walks_over_it() -> None:
    state = ModelState({"a": "1", "b": "2"})
    for key in state:
        state[key + key] = 3
    assert sorted(state) == ["a", "aa", "b", "bb"]


@pytest.mark.usefixtures("busy_switching")
def test_no_change_of_many_threads_is_taken_twice_or_never() -> None:
    state = ModelState({})
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


@pytest.mark.usefixtures("busy_switching")
def test_to_pop_with_a_default_never_fails_whatever_other_threads_do() -> None:
    state = ModelState({})
    failed: list[BaseException] = []

    def play() -> None:
        try:
            for _ in range(5000):
                state["key"] = 1
                state.pop("key", None)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=play) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failed == []


def test_to_pop_what_is_not_there_is_an_error() -> None:
    state = ModelState({})
    with pytest.raises(KeyError):
        state.pop("key")
    with pytest.raises(KeyError):
        state.popitem()
    assert not state.changes


def test_a_database_that_lacks_something_gets_it_again() -> None:
    state = ModelState({"same": "1", "lost": "2", "old": "3"})
    state.meet({"same": "1", "old": "0", "foreign": "5"})
    assert state.take_unsaved() == {"lost": "2", "old": "3"}
    assert "foreign" not in state, "it was deleted, and that is not committed yet"


def test_a_new_database_gets_nothing_of_calls_that_are_not_at_their_end() -> None:
    state = ModelState({"n": "0"})
    call = CallState(state)
    call["n"] = 1
    state.meet({})
    assert state.take_unsaved() == {"n": "0"}
    call.commit()
    changes = state.take_changes()
    state.meet({})
    assert state.take_unsaved() == {"n": "0"}
    state.saving(changes)
    state.meet({})
    assert state.take_unsaved() == {"n": "1"}
    state.saving({"n": None})
    state.meet({})
    assert state.take_unsaved() == {}


def test_what_could_not_be_read_at_the_start_is_taken_over_later() -> None:
    state = ModelState({}, known=False)
    state["assigned"] = 2
    state.meet({"assigned": "1", "kept": "1"})
    assert dict(state) == {"assigned": 2, "kept": 1}
    assert state.take_changes() == {"assigned": "2"}
    state.meet({"assigned": "2", "kept": "1", "foreign": "1"})
    assert "foreign" not in state


class Saving:
    """A model's thread with its state, on a real store; the test processes the messages."""

    def __init__(self, store: DatabaseWriter) -> None:
        self._origin = Acknowledged()
        self.state = ModelState({})
        self.saver = StateSaver(self.state, store)
        self.settlement = Settlement(roomy_budget(), self.saver)
        self.chunks = 0

    @property
    def acknowledged(self) -> list[int]:
        return [
            number
            for batch, start, stop in self._origin.calls
            for number in batch.packet_ids[start:stop]
        ]

    def admit(self, packet_ids: list[int]) -> Chunk:
        """The next chunk, of messages with these numbers."""
        chunk = chunk_of(
            [b""] * len(packet_ids),
            self.chunks,
            packet_ids=packet_ids,
            origin=self._origin,
        )
        self.chunks += 1
        self.settlement.admit(chunk.batch)
        return chunk

    def finish(self, chunk: Chunk, places: range) -> None:
        self.note(chunk, places)
        self.settlement.settle(chunk, places)

    def note(self, chunk: Chunk, places: range) -> None:
        """The model is done with these."""
        if self.state.changes:
            self.saver.note(chunk, places)

    def change(self, key: str, value: Any = 1) -> None:
        self.state[key] = value

    def process(self, key: str, qos: int = 1) -> None:
        chunk = self.admit([1 if qos else 0])
        self.state[key] = 1
        self.finish(chunk, range(1))


def stored(folder: Path) -> list[str]:
    return [key for (key,) in rows(folder, "SELECT key FROM state ORDER BY key")]


def test_of_a_chunk_only_what_changed_the_state_so_far_waits_for_the_disk(
    tmp_path: Path,
) -> None:
    with running(tmp_path / DATABASE_NAME) as store:
        saving = Saving(store)
        chunk = saving.admit([1, 2, 3, 4])
        with held_up(store):
            saving.finish(chunk, range(1))
            assert saving.acknowledged == [1]
            saving.state["a"] = 1
            saving.finish(chunk, range(1, 3))
            saving.finish(chunk, range(3, 4))  # changed nothing: but what it saw may be lost
            assert (saving.acknowledged, saving.settlement.unacknowledged) == ([1], 3)
            assert stored(tmp_path) == []
        settled(store)
        assert (saving.acknowledged, saving.settlement.unacknowledged) == ([1, 2, 3, 4], 0)
        assert stored(tmp_path) == ["a"]


def test_a_mixed_chunk_waits_as_one(tmp_path: Path) -> None:
    with running(tmp_path / DATABASE_NAME) as store:
        saving = Saving(store)
        chunk = saving.admit([0, 7, 0])
        saving.state["a"] = 1
        with held_up(store):
            saving.finish(chunk, range(3))
            assert saving.acknowledged == []
        settled(store)
        assert saving.acknowledged == [0, 7, 0]


def test_a_change_is_saved_when_all_that_came_of_it_is_safe(tmp_path: Path) -> None:
    with running(tmp_path / DATABASE_NAME) as store:
        saving = Saving(store)
        first, second = saving.admit([1, 2]), saving.admit([3])
        for key, chunk, places in (
            ("a", first, range(1)),
            ("b", first, range(1, 2)),
            ("c", second, range(1)),
        ):
            saving.change(key)
            saving.note(chunk, places)
        saving.settlement.settle(second, range(1))
        settled(store)
        assert (saving.acknowledged, stored(tmp_path)) == ([], [])
        saving.settlement.settle(first, range(1))
        settled(store)
        assert (saving.acknowledged, stored(tmp_path)) == ([1], ["a"])
        saving.settlement.settle(first, range(1, 2))
        settled(store)
        assert (saving.acknowledged, stored(tmp_path)) == ([1, 2, 3], ["a", "b", "c"])


def test_of_what_was_noted_together_nothing_is_saved_before_all_is_safe(tmp_path: Path) -> None:
    with running(tmp_path / DATABASE_NAME) as store:
        saving = Saving(store)
        chunk = saving.admit([1, 2, 3])
        saving.change("a")
        saving.note(chunk, range(3))
        saving.settlement.settle(chunk, range(2))
        settled(store)
        assert (saving.acknowledged, stored(tmp_path)) == ([], [])
        saving.settlement.settle(chunk, range(2, 3))
        settled(store)
        assert (saving.acknowledged, stored(tmp_path)) == ([1, 2, 3], ["a"])


def test_of_two_threads_the_newer_value_is_kept_and_both_wait_for_it(tmp_path: Path) -> None:
    with running(tmp_path / DATABASE_NAME) as store:
        saving = Saving(store)
        slow, fast = saving.admit([1]), saving.admit([2])
        saving.change("n", 1)
        saving.note(fast, range(1))
        saving.change("n", 2)
        saving.note(slow, range(1))
        saving.settlement.settle(slow, range(1))
        settled(store)
        # What the slow one has found was that of the other one, which may come again.
        assert (saving.acknowledged, stored(tmp_path)) == ([], [])
        saving.settlement.settle(fast, range(1))
        settled(store)
        assert saving.acknowledged == [1, 2]
        assert rows(tmp_path, "SELECT value FROM state") == [("2",)]


def test_what_a_call_has_not_ended_with_is_no_change(tmp_path: Path) -> None:
    with running(tmp_path / DATABASE_NAME) as store:
        saving = Saving(store)
        chunk = saving.admit([1, 2])
        call = CallState(saving.state)
        call["done"] = 1
        call.commit()
        call["begun"] = 1
        saving.finish(chunk, range(1))
        settled(store)
        assert (saving.acknowledged, stored(tmp_path)) == ([1], ["done"])
        call.roll_back()
        saving.finish(chunk, range(1, 2))
        settled(store)
        assert (saving.acknowledged, stored(tmp_path)) == ([1, 2], ["done"])


def test_while_the_disk_is_full_state_stays_in_memory_and_nobody_waits(
    small_disk: SmallDisk, caplog: pytest.LogCaptureFixture
) -> None:
    with running(small_disk.folder / DATABASE_NAME) as store:
        saving = Saving(store)
        saving.process("a")
        settled(store)
        assert len(saving.acknowledged) == 1
        small_disk.fill()
        saving.state["large"] = "x" * 500_000
        saving.process("b")
        until(lambda: len(saving.acknowledged) == 2, "it waits only until the disk is known")
        assert "context.state is kept in memory" in caplog.text
        for number in range(100):
            saving.process(f"c{number}")
            assert len(saving.acknowledged) == 3 + number
        saving.process("d", qos=0)
        assert stored(small_disk.folder) == ["a"]
        small_disk.make_room()

        def on_disk() -> bool:
            saving.saver.flush()
            return len(stored(small_disk.folder)) == 104

        until(on_disk, "all is written")
        until(lambda: "context.state is on disk again" in caplog.text, "it is said")
        saving.process("e")
        settled(store)
        assert "e" in stored(small_disk.folder)
    assert caplog.text.count("context.state is kept in memory") == 1


def fill(disk: SmallDisk, saving: Saving, store: DatabaseWriter) -> None:
    """Up to a change that finds no room any more."""
    saving.process("a")
    settled(store)
    disk.fill()
    saving.change("large", value="x" * 500_000)


def test_of_several_saves_that_found_no_room_the_newest_value_is_kept(
    small_disk: SmallDisk,
) -> None:
    """The writer tries again after a second, and takes back all that has come until then."""
    with running(small_disk.folder / DATABASE_NAME) as store:
        saving = Saving(store)
        fill(small_disk, saving, store)
        with held_up(store):
            for number in range(3):
                chunk = saving.admit([1])
                saving.change("n", number)
                saving.finish(chunk, range(1))
        until(lambda: len(saving.acknowledged) == 4, "all are taken back")
        small_disk.make_room()

        def found() -> list[tuple[str]]:
            saving.saver.flush()
            settled(store)
            return rows(small_disk.folder, "SELECT value FROM state WHERE key = 'n'")

        assert until(found, "it is written") == [("2",)]


def test_state_is_on_disk_again_when_all_that_was_acknowledged_is(
    small_disk: SmallDisk, caplog: pytest.LogCaptureFixture
) -> None:
    """Also what came while the first save was tried that works."""
    with running(small_disk.folder / DATABASE_NAME) as store:
        saving = Saving(store)
        fill(small_disk, saving, store)
        saving.process("b")
        until(lambda: len(saving.acknowledged) == 2, "it is kept in memory")
        small_disk.make_room()
        with held_up(store):
            saving.saver.flush()
            saving.process("late")
            assert len(saving.acknowledged) == 3
        until(lambda: "context.state is on disk again" in caplog.text, "it is said")
        assert stored(small_disk.folder) == ["a", "b", "large", "late"]
        with held_up(store):
            saving.process("later")
            assert len(saving.acknowledged) == 3, "from now on, messages wait for the disk"


@pytest.fixture
def durables(tmp_path: Path) -> Iterator[Durables]:
    """Those of a worker whose store runs."""
    safe = Durables(configured(), tmp_path)
    safe.store.start(lambda: None)
    yield safe
    safe.store.stop(20)
    safe.journal.close()


class Counting:
    """Its model notes the number of the message at hand as the state's `n`."""

    def __init__(self, safe: Durables) -> None:
        self._state = safe.state
        self.saver = StateSaver(safe.state, safe.store)
        self.settlement = Settlement(roomy_budget(), self.saver)
        self.origin = Acknowledged()

    def arrive(self, number: int) -> Chunk:
        chunk = chunk_of([b""], number, packet_ids=[number + 1], origin=self.origin)
        self.settlement.admit(chunk.batch)
        return chunk

    def work(self, chunk: Chunk) -> None:
        """And its result is safe."""
        self._state["n"] = chunk.number
        self.saver.note(chunk, range(1))
        self.end(chunk)

    def end(self, chunk: Chunk) -> None:
        self.settlement.settle(chunk, range(1))


def test_what_a_new_database_lacks_is_not_written_over_what_is_newer(
    durables: Durables, tmp_path: Path
) -> None:
    """It is opened, and looked at, with the first change that is saved."""
    counting = Counting(durables)
    for number in range(3):
        counting.work(counting.arrive(number))
        settled(durables.store)
    counting.saver.flush()
    settled(durables.store)
    assert rows(tmp_path, "SELECT value FROM state") == [("2",)]


def test_what_is_not_at_its_end_is_not_written_with_what_a_new_database_lacks(
    tmp_path: Path,
) -> None:
    """It is opened while the third message waits for the second, whose end takes a while."""
    safe = Durables(configured(), tmp_path)
    counting = Counting(safe)
    first, second, third = map(counting.arrive, range(3))
    counting.work(first)
    counting.work(third)
    safe.store.start(lambda: None)
    try:
        settled(safe.store)
        counting.saver.flush()
        settled(safe.store)
        assert rows(tmp_path, "SELECT value FROM state") == [("0",)]
        counting.end(second)
        settled(safe.store)
        assert rows(tmp_path, "SELECT value FROM state") == [("2",)]
    finally:
        safe.store.stop(20)
        safe.journal.close()


def test_at_a_stop_what_waits_behind_the_last_write_is_saved_and_acknowledged(
    durables: Durables, tmp_path: Path
) -> None:
    """A dead letter that is being written, and a message behind it that has changed the state."""
    counting = Counting(durables)
    failed, good = map(counting.arrive, range(2))
    with held_up(durables.store):
        durables.store.submit(lambda connection: None, lambda: counting.end(failed))
        counting.work(good)
        stopping = spawn("stop", lambda: durables.store.stop(20))
        stopping.join(0.1)
    stopping.join(20)
    assert counting.origin.packet_ids == [1, 2]
    assert rows(tmp_path, "SELECT value FROM state") == [("1",)]


def test_nor_over_what_is_kept_at_the_end(durables: Durables, tmp_path: Path) -> None:
    """As by a model's close(), within the second in which the database was opened."""
    saver = StateSaver(durables.state, durables.store)
    durables.state["n"] = 1
    saver.save_all()
    settled(durables.store)
    durables.state.meet({})
    durables.state["n"] = 2
    saver.save_all()
    settled(durables.store)
    assert rows(tmp_path, "SELECT value FROM state") == [("2",)]


def write_state(file: Path, **values: str) -> None:
    with closing(open_database(file)) as connection:
        for key, value in values.items():
            connection.execute(
                "INSERT INTO state VALUES (?, ?, ?)", (key, value, checksum(key, value))
            )


def test_state_is_read_from_a_disk_that_can_not_be_written(small_disk: SmallDisk) -> None:
    write_state(small_disk.folder / DATABASE_NAME, a="1", b="2")
    small_disk.remount("ro")
    safe = Durables(configured(), small_disk.folder)
    assert dict(safe.state) == {"a": 1, "b": 2}
    safe.state["b"] = 3
    del safe.state["a"]
    small_disk.remount("rw")
    safe.store.start(lambda: None)
    try:
        settled(safe.store)
        assert dict(safe.state) == {"b": 3}
    finally:
        safe.store.stop(20)
        safe.journal.close()


def test_state_of_a_database_that_was_damaged_meanwhile_is_written_anew(tmp_path: Path) -> None:
    file = tmp_path / DATABASE_NAME
    write_state(file, a="1", b="2")
    safe = Durables(configured(), tmp_path)
    saver = StateSaver(safe.state, safe.store)
    safe.store.start(lambda: None)
    safe.state["b"] = 3
    with file.open("r+b") as damaged:
        damaged.truncate(5000)
    safe.store.submit(check, lambda: None)

    def written() -> bool:
        saver.save_all()
        found = rows(tmp_path, "SELECT key, value FROM state ORDER BY key")
        return found == [("a", "1"), ("b", "3")]

    try:
        until(lambda: list(tmp_path.glob("*.damaged-*")), "put aside")
        settled(safe.store)
        until(written, "all of it is there")
    finally:
        safe.store.stop(20)
        safe.journal.close()
