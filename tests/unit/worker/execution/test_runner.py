"""One model thread: retries, give-ups, and messages that killed the process before."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from support.columns import chunk_of
from support.poll import until
from support.workshop import Function, Workshop, faults, given_up, results

from pyboot_svc.config import BatchLimits, OnError
from pyboot_svc.model.context import Context
from pyboot_svc.retry import Retry
from pyboot_svc.worker.execution.failure_log import FailureLog
from pyboot_svc.worker.execution.poison import MOST_CRASHES
from pyboot_svc.worker.execution.runner import Runner
from pyboot_svc.worker.messages import Chunk, Message, Result


def begun(chunk: Chunk, results: Sequence[bytes | None]) -> Chunk:
    """One of which a part is done."""
    chunk.results.extend(results)
    return chunk


class Failing:
    """Raises as often as it should, then returns the payload."""

    def __init__(self, times: int, error: type[BaseException] = OSError) -> None:
        self.left = times
        self.calls = 0
        self.error = error

    def __call__(self, payload: Any, context: Context) -> Any:
        self.calls += 1
        if self.left:
            self.left -= 1
            raise self.error("not now")
        return payload


@pytest.mark.parametrize("error", [OSError, TimeoutError, ConnectionError, Retry])
def test_a_call_that_raised_is_repeated(
    shop: Callable[..., Workshop],
    error: type[BaseException],
    caplog: pytest.LogCaptureFixture,
) -> None:
    model = Failing(3, error)
    chunk = shop(model, OnError(retries=3, backoff=0)).work(b"1", b"2")
    assert (results(chunk), faults(chunk)) == ([b"1", b"2"], [])
    assert (model.calls, chunk.waiting) == (5, 0)
    assert caplog.records == []


@pytest.mark.parametrize("retries", [0, 1, 3])
def test_after_the_last_repetition_it_is_given_up(
    shop: Callable[..., Workshop], retries: int, caplog: pytest.LogCaptureFixture
) -> None:
    model = Failing(retries + 1)
    chunk = shop(model, OnError(retries=retries, backoff=0)).work(b"1", b"2")
    assert (results(chunk), faults(chunk)) == ([None, b"2"], [(b"1", "model", retries + 1)])
    assert model.calls == retries + 2
    error = chunk.failures[0].error
    assert error.startswith("the model raised OSError: not now\n  File")
    assert error.splitlines()[2:] == ['    raise self.error("not now")']
    assert "in __call__" in error
    assert len(caplog.records) == 1


def test_the_topic_is_that_of_the_message_also_after_a_part_is_done(
    shop: Callable[..., Workshop],
) -> None:
    topics: list[tuple[int, str]] = []

    def model(payload: int, context: Context) -> int:
        topics.append((payload, context.topic))
        return payload

    runner = shop(model).runner
    chunk = begun(chunk_of([b"1", b"2", b"3", b"4"], topics=["a", "b", "c", "d"]), [b"1", b"2"])
    assert runner.work(chunk)
    assert topics == [(3, "c"), (4, "d")]
    assert results(chunk) == [b"1", b"2", b"3", b"4"]


def test_after_a_part_is_done_the_message_that_failed_is_the_one_repeated(
    shop: Callable[..., Workshop],
) -> None:
    chunk = begun(chunk_of([b"1", b"2", b"3", b"4"]), [b"1", b"2"])
    assert shop(Failing(1), OnError(retries=1, backoff=0)).runner.work(chunk)
    assert (results(chunk), faults(chunk)) == ([b"1", b"2", b"3", b"4"], [])


def test_a_failure_after_a_part_is_done_has_its_place(shop: Callable[..., Workshop]) -> None:
    chunk = begun(chunk_of([b"1", b"2", b"{", b"4"]), [b"1", b"2"])
    assert shop(lambda payload, context: payload).runner.work(chunk)
    assert results(chunk) == [b"1", b"2", None, b"4"]
    assert faults(chunk) == [(b"{", "not_json", 1)]
    assert list(chunk.failures) == [2]


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long it would have waited, each time."""
    waits: list[float] = []
    monkeypatch.setattr("pyboot_svc.worker.execution.runner.time.sleep", waits.append)
    return waits


def test_between_repetitions_it_waits_twice_as_long_each_time(
    shop: Callable[..., Workshop], slept: list[float]
) -> None:
    shop(Failing(3), OnError(retries=3, backoff=0.5)).work(b"1", b"2")
    assert slept == [0.5, 1, 2]


def test_it_does_not_wait_for_ever(shop: Callable[..., Workshop], slept: list[float]) -> None:
    chunk = shop(Failing(1000), OnError(retries=100, backoff=0.1)).work(b"1")
    assert faults(chunk) == [(b"1", "model", 101)]
    assert len(slept) == 100
    assert max(slept) == 60
    slept.clear()
    shop(Failing(1000), OnError(retries=100, backoff=3600)).work(b"1")
    assert set(slept) == {3600}


@pytest.mark.parametrize(
    ("errors", "calls"),
    [([OSError(), OSError()], 2), ([OSError(), ValueError()], 1)],
    ids=["all", "one of them"],
)
def test_a_group_is_repeated_if_all_in_it_would_be(
    shop: Callable[..., Workshop], errors: list[Exception], calls: int
) -> None:
    model = Failing(1)
    model.error = lambda text: ExceptionGroup(text, [ExceptionGroup("inner", errors)])  # type: ignore[assignment]
    shop(model, OnError(retries=1, backoff=0)).work(b"1")
    assert model.calls == calls


class OwnValueError(ValueError):
    pass


@pytest.mark.parametrize(
    "error", [ValueError, OwnValueError, KeyError, TypeError, MemoryError, SystemExit]
)
def test_what_a_repetition_would_not_help_against(
    shop: Callable[..., Workshop], error: type[BaseException]
) -> None:
    model = Failing(1, error)
    chunk = shop(model, OnError(retries=3, backoff=60)).work(b"1", b"2")
    assert (results(chunk), faults(chunk)) == ([None, b"2"], [(b"1", "model", 1)])


def test_what_can_not_be_decoded_or_encoded_is_not_repeated(
    shop: Callable[..., Workshop],
) -> None:
    model = shop(lambda payload, context: payload * 1j, OnError(retries=3, backoff=60))
    chunk = model.work(b"{", b"1", b"")
    assert faults(chunk) == [(b"{", "not_json", 1), (b"1", "not_encodable", 1), (b"", "empty", 1)]


def test_what_is_in_hand_is_in_the_ledger_only_meanwhile(shop: Callable[..., Workshop]) -> None:
    seen: list[list[str]] = []

    def model(payload: Any, context: Context) -> Any:
        seen.append(workshop.left_in_hand())
        return payload

    workshop = shop(model)
    workshop.work(b"1", b"2")
    assert seen == [[Message("in", b"1").id], [Message("in", b"2").id]]
    assert workshop.left_in_hand() == []


def test_after_a_part_is_done_the_rest_is_in_the_ledger(shop: Callable[..., Workshop]) -> None:
    seen: list[list[str]] = []

    def model(payload: Any, context: Context) -> Any:
        seen.append(workshop.left_in_hand())
        return payload

    workshop = shop(model)
    assert workshop.runner.work(begun(chunk_of([b"1", b"2", b"3"]), [b"1"]))
    assert seen == [[Message("in", b"2").id], [Message("in", b"3").id]]


def test_what_is_not_delivered_again_is_not_in_the_ledger(shop: Callable[..., Workshop]) -> None:
    seen: list[list[str]] = []

    def model(payload: Any, context: Context) -> Any:
        seen.append(workshop.left_in_hand())
        return payload

    workshop = shop(model)
    workshop.work(b"0", b"0")  # so that the slot has held something
    chunk = chunk_of([b"1", b"2"], packet_ids=[0, 0])
    assert workshop.runner.work(chunk)
    assert results(chunk) == [b"1", b"2"]
    assert seen[2:] == [[], []]


@pytest.mark.parametrize("redeliverable", [True, False])
def test_a_batch_is_in_the_ledger_together_and_then_one_by_one(
    shop: Callable[..., Workshop], redeliverable: bool
) -> None:
    seen: list[list[str]] = []

    def model(payloads: list[Any], context: Context) -> list[Any]:
        seen.append(workshop.left_in_hand())
        if len(payloads) > 1:
            raise RuntimeError
        return payloads

    workshop = shop(model)
    calling = workshop.call._replace(batch=BatchLimits())
    chunk = chunk_of([b"1", b"2"], redeliverable=redeliverable)
    assert Runner(0, calling, workshop.context).work(chunk)
    assert results(chunk) == [b"1", b"2"]
    first, second = Message("in", b"1").id, Message("in", b"2").id
    assert seen == ([[first, second], [first], [second]] if redeliverable else [[], [], []])
    assert workshop.left_in_hand() == []


def test_a_call_that_lasts_too_long_is_given_up_and_its_late_result_discarded(
    shop: Callable[..., Workshop], gate: threading.Event, tmp_path: Path
) -> None:
    def model(payload: int, context: Context) -> int:
        if payload == 2:
            gate.wait(60)
        return payload

    workshop = shop(model, timeout=0.1)
    chunk = chunk_of([b"1", b"2", b"3", b"4"])
    ended: list[bool] = []
    thread = threading.Thread(target=lambda: ended.append(workshop.runner.work(chunk)))
    thread.start()
    taken = until(lambda: given_up(workshop.runner), "given up")
    assert taken is not None
    assert (taken.number, taken.batch, taken.singly) == (chunk.number, chunk.batch, True)
    assert results(taken) == [b"1", None]
    assert faults(taken) == [(b"2", "timeout", 1)]
    gate.set()
    thread.join(20)
    assert ended == [False]
    assert results(taken) == [b"1", None]
    assert (chunk.began, chunk.took) == (0, 0)  # nobody knows how long it really worked
    successor = Runner(0, workshop.call, workshop.context)
    assert successor.work(taken)
    assert results(taken) == [b"1", None, b"3", b"4"]
    assert faults(taken) == [(b"2", "timeout", 1)]


def test_who_was_given_up_changes_nothing_that_its_successor_holds(
    shop: Callable[..., Workshop], gate: threading.Event, tmp_path: Path
) -> None:
    """Neither the results nor the journal, when its call ends while the next one lasts."""
    other_gate = threading.Event()
    calls: list[int] = []

    def model(payload: int, context: Context) -> int:
        calls.append(payload)
        if payload == 1:
            gate.wait(60)
        if payload == 2:
            other_gate.wait(60)
        return payload

    workshop = shop(model, timeout=0.05)
    chunk = chunk_of([b"1", b"2", b"3"])
    first = threading.Thread(target=lambda: workshop.runner.work(chunk))
    first.start()
    taken = until(lambda: given_up(workshop.runner), "given up")
    assert taken is not None
    successor = Runner(0, workshop.call, workshop.context)
    second = threading.Thread(target=lambda: successor.work(taken))
    second.start()
    try:
        until(lambda: calls == [1, 2], "the successor is in its call")
        held = workshop.journal_file.read_bytes()
        gate.set()
        first.join(20)
        assert not first.is_alive()
        assert workshop.journal_file.read_bytes() == held
        assert (results(taken), taken.as_one_call) == ([None], False)
    finally:
        other_gate.set()
        second.join(20)
    assert calls == [1, 2, 3]
    assert results(taken) == [None, b"2", b"3"]


def test_a_call_in_time_is_not_given_up(
    shop: Callable[..., Workshop], gate: threading.Event
) -> None:
    workshop = shop(lambda payload, context: gate.wait(60), timeout=60)
    assert given_up(workshop.runner) is None
    chunk = chunk_of([b"1"])
    thread = threading.Thread(target=lambda: workshop.runner.work(chunk))
    thread.start()
    until(lambda: workshop.runner.stuck_chunk() is chunk, "at work")
    assert [given_up(workshop.runner) for _ in range(3)] == [None] * 3
    assert workshop.runner.stuck_chunk() is chunk
    gate.set()
    thread.join(20)
    assert workshop.runner.stuck_chunk() is None
    assert workshop.runner.give_up(chunk) is None


def test_the_call_after_one_that_lasted_is_not_given_up_for_it(
    shop: Callable[..., Workshop], gate: threading.Event
) -> None:
    """It may end between the look that finds it stuck and the decision."""
    begun, other_gate = threading.Event(), threading.Event()

    def model(payload: int, context: Context) -> int:
        if payload == 1:
            gate.wait(60)
        else:
            begun.set()
            other_gate.wait(60)
        return payload

    workshop = shop(model, timeout=0.05)
    done: list[Chunk] = []
    thread = threading.Thread(target=lambda: done.append(workshop.work(b"1", b"2")))
    thread.start()
    try:
        chunk = until(workshop.runner.stuck_chunk, "stuck")
        assert chunk is not None
        late = time.monotonic() + 0.1
        until(lambda: time.monotonic() > late, "it lasts too long")
        gate.set()
        assert begun.wait(60)
        assert workshop.runner.give_up(chunk) is None
    finally:
        gate.set()
        other_gate.set()
        thread.join(20)
    assert results(done[0]) == [b"1", b"2"]


class HeldUp(list[Result]):
    """Results of which the first comes when the gate opens."""

    def __init__(self, gate: threading.Event) -> None:
        super().__init__()
        self.gate = gate
        self.reached = threading.Event()

    def append(self, result: Result) -> None:
        self.reached.set()
        self.gate.wait(60)
        super().append(result)


def test_a_failure_that_is_just_being_noted_is_its_successors_to_find(
    shop: Callable[..., Workshop], gate: threading.Event
) -> None:
    workshop = shop(lambda payloads, context: payloads, timeout=0.05)
    calling = workshop.call._replace(batch=BatchLimits())
    runner = Runner(0, calling, workshop.context)
    held = HeldUp(gate)
    chunk = chunk_of([b"{", b"2"])
    chunk.results = held
    thread = threading.Thread(target=lambda: runner.work(chunk))
    thread.start()
    assert held.reached.wait(60)
    taken = until(lambda: given_up(runner), "given up")
    assert taken is not None
    assert (results(taken), faults(taken)) == ([], [])
    gate.set()
    thread.join(20)
    assert Runner(0, calling, workshop.context).work(taken)
    assert results(taken) == [None, b"2"]
    assert faults(taken) == [(b"{", "not_json", 1)]


def test_the_calls_after_a_batch_that_failed_late_have_their_own_time(
    shop: Callable[..., Workshop],
) -> None:
    looks: list[Chunk | None] = []

    class Looking(FailureLog):
        def say_batch(self, count: int, error: BaseException) -> None:
            looks.append(given_up(runner))

    def model(payloads: list[Any], context: Context) -> list[Any]:
        if len(payloads) > 1:
            runner.stuck_chunk()
            late = time.monotonic() + 2
            until(lambda: time.monotonic() > late, "it lasts too long")
            raise RuntimeError
        return payloads

    workshop = shop(model, timeout=2)
    calling = workshop.call._replace(batch=BatchLimits(), failures=Looking())
    runner = Runner(0, calling, workshop.context)
    chunk = chunk_of([b"1", b"2"])
    assert runner.work(chunk)
    assert looks == [None]
    assert results(chunk) == [b"1", b"2"]


def test_the_wait_before_a_repetition_is_no_hang(
    shop: Callable[..., Workshop],
) -> None:
    model = Failing(2)
    workshop = shop(model, OnError(retries=2, backoff=0.3), timeout=0.1)
    done: list[Chunk] = []
    thread = threading.Thread(target=lambda: done.append(workshop.work(b"1")))
    thread.start()
    taken: list[Chunk] = []
    while thread.is_alive():
        chunk = given_up(workshop.runner)
        if chunk is not None:
            taken.append(chunk)
        thread.join(0.01)
    assert taken == []
    assert results(done[0]) == [b"1"]


def test_poison_is_given_up_without_being_tried(tmp_path: Path) -> None:
    calls: list[Any] = []

    def model(payload: Any, context: Context) -> Any:
        calls.append(payload)
        return payload

    for _ in range(MOST_CRASHES):
        workshop = Workshop(tmp_path, model, OnError(), 60)
        workshop.journal.begin(0, [Message("in", b'"poison"').digest])
    workshop = Workshop(tmp_path, model, OnError(), 60)
    chunk = workshop.work(b"1", b'"poison"', b"2")
    assert calls == [1, 2]
    assert faults(chunk) == [(b'"poison"', "poison", MOST_CRASHES)]
    assert "the process died 3 times with this message in hand" in chunk.failures[1].error
    assert not workshop.suspects.counts
    assert workshop.work(b'"poison"').failures == {}  # somebody asked for it again


def test_a_suspect_that_is_processed_is_cleared(tmp_path: Path) -> None:
    def model(payload: Any, context: Context) -> Any:
        return payload

    Workshop(tmp_path, model, OnError(), 60).journal.begin(0, [Message("in", b"1").digest])
    workshop = Workshop(tmp_path, model, OnError(), 60)
    assert workshop.suspects.counts
    assert results(workshop.work(b"2", b"1")) == [b"2", b"1"]
    assert not workshop.suspects.counts


def test_its_thread_is_seen_by_the_time_it_computes_or_waits_for_a_core(
    shop: Callable[..., Workshop], gate: threading.Event
) -> None:
    def burn(payload: Any, context: Context) -> None:
        while not gate.is_set():
            pass

    workshop = shop(burn)
    thread = threading.Thread(target=lambda: workshop.work(b"1"))
    thread.start()
    until(lambda: (workshop.runner.busy_seconds() or 0) > 0.05, "it uses the processor")
    gate.set()
    thread.join(20)
    until(lambda: workshop.runner.busy_seconds() is None, "it has ended")


def counting(fails_for: int, error: type[BaseException]) -> Function:
    """Counts in the state, and fails after that for a payload."""

    def model(payload: int, context: Context) -> int:
        context.state["n"] = context.state.get("n", 0) + 1
        if payload == fails_for:
            raise error
        count: int = context.state["n"]
        return count

    return model


@pytest.mark.parametrize("error", [KeyError, OSError])
def test_a_call_that_raises_leaves_the_state_as_it_was(
    shop: Callable[..., Workshop], error: type[BaseException]
) -> None:
    """Though it is called again and again."""
    chunk = shop(counting(2, error), OnError(retries=3, backoff=0)).work(b"1", b"2", b"3")
    assert results(chunk) == [b"1", None, b"2"]


def test_what_can_not_be_encoded_leaves_the_state_as_it_was(shop: Callable[..., Workshop]) -> None:
    def model(payload: int, context: Context) -> Any:
        context.state["n"] = context.state.get("n", 0) + 1
        return 1j if payload == 2 else context.state["n"]

    assert results(shop(model).work(b"1", b"2", b"3")) == [b"1", None, b"2"]


def test_a_state_that_can_not_be_kept_is_that_messages_fault(shop: Callable[..., Workshop]) -> None:
    def model(payload: int, context: Context) -> Any:
        context.state.setdefault("list", []).append(payload * 1j if payload == 2 else payload)
        return len(context.state["list"])

    chunk = shop(model, OnError(retries=0)).work(b"1", b"2", b"3")
    assert results(chunk) == [b"1", None, b"2"]
    assert faults(chunk) == [(b"2", "model", 1)]


def test_the_lines_of_a_repeated_failure_are_its_own(shop: Callable[..., Workshop]) -> None:
    """Python takes the attempt before for the context of the next."""
    chunk = shop(Failing(9), OnError(retries=3, backoff=0)).work(b"1")
    assert len(chunk.failures[0].error.splitlines()) == 3


def test_a_cause_within_the_model_is_shown(shop: Callable[..., Workshop]) -> None:
    def model(payload: int, context: Context) -> Any:
        try:
            return {"yes": payload}["no"]
        except KeyError as error:
            raise ValueError("no such key") from error

    error = shop(model).work(b"1").failures[0].error
    assert "KeyError: 'no'" in error
    assert "direct cause" in error
