"""Calls that were given up and end later: they leave their successors, and what is kept, alone."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from support.columns import chunk_of
from support.poll import until
from support.workshop import Workshop, faults, given_up, results

from pyboot_svc.config import BatchLimits, OnError
from pyboot_svc.model.context import Context
from pyboot_svc.model.coroutines import Coroutines
from pyboot_svc.model.state import CallState
from pyboot_svc.worker.execution.model_call import ModelCall
from pyboot_svc.worker.execution.runner import Runner
from pyboot_svc.worker.messages import Chunk

Shop = Callable[..., Workshop]


@contextmanager
def at_work(
    runner: Runner, chunk: Chunk, close: Callable[[], None] = lambda: None
) -> Iterator[list[bool]]:
    """In a thread of its own; gives whether it could end its work, once it has."""
    ended: list[bool] = []

    def work() -> None:
        ended.append(runner.work(chunk))
        close()

    thread = threading.Thread(target=work)
    thread.start()
    yield ended
    thread.join(20)
    assert not thread.is_alive()


def taken_from(runner: Runner) -> Chunk:
    taken = until(lambda: given_up(runner), "given up")
    assert taken is not None
    return taken


@contextmanager
def late_beside_its_successor(
    workshop: Workshop,
    chunk: Chunk,
    gate: threading.Event,
    in_second: threading.Event,
    end_second: threading.Event,
) -> Iterator[Chunk]:
    """Gives the successor's chunk, which is in a call, when the one that was given up has ended."""
    try:
        with at_work(workshop.runner, chunk) as ended:
            taken = taken_from(workshop.runner)
            with at_work(Runner(0, workshop.call, workshop.context), taken):
                assert in_second.wait(60)
                gate.set()
                until(lambda: ended, "the late call ended")
                assert ended == [False]
                yield taken
                end_second.set()
    finally:
        end_second.set()


class Late:
    """A model whose first call goes on, by `then`, when the gate opens, and may have done
    `before` until then; the others count."""

    def __init__(
        self,
        gate: threading.Event,
        then: Callable[[Context], Any] = lambda context: None,
        before: Callable[[Context], Any] = lambda context: None,
    ) -> None:
        self.gate, self.then, self.before = gate, then, before
        self.calls = 0
        self.raised: list[str] = []

    def __call__(self, payload: Any, context: Context) -> Any:
        self.calls += 1
        if self.calls == 1:
            self.before(context)
            assert self.gate.wait(60)
            try:
                return self.then(context)
            except Exception as error:
                self.raised.append(f"{type(error).__name__}: {error}")
                raise
        context.state["n"] = context.state.get("n", 0) + 1
        return payload


GIVEN_UP = (
    "RuntimeError: this call has lasted longer than model_timeout, and its message was given up"
)


def count(context: Context) -> None:
    context.state["n"] = context.state.get("n", 0) + 1


def fill(context: Context) -> None:
    context.state.setdefault("list", []).append(1)


CHANGES: dict[str, Callable[[Context], Any]] = {
    "assign": count,
    "delete": lambda context: context.state.__delitem__("old"),
    "pop": lambda context: context.state.pop("old"),
    "popitem": lambda context: context.state.popitem(),
    "setdefault": lambda context: context.state.setdefault("new", 1),
    "clear": lambda context: context.state.clear(),
    "update": lambda context: context.state.update(old=2),
}


@pytest.mark.parametrize("shared", [True, False], ids=["shared context", "own context"])
@pytest.mark.parametrize("change", [*CHANGES.values(), fill], ids=[*CHANGES, "in place"])
def test_what_a_call_has_changed_is_undone_when_it_is_given_up(
    shop: Shop, gate: threading.Event, change: Callable[[Context], Any], shared: bool
) -> None:
    """By the only thread of an instance, which shares the context with its successor, or not."""
    workshop = shop(Late(gate, before=change), timeout=0.05)
    state = workshop.context.state
    assert isinstance(state, CallState)
    state["old"] = 1
    state.commit()
    context = workshop.context if shared else replace(workshop.context, state=state.sibling())
    with at_work(workshop.runner, chunk_of([b"1", b"2"])) as ended:
        taken = taken_from(workshop.runner)
        assert dict(state) == {"old": 1}
        successor = Runner(0, workshop.call, context)
        assert successor.work(taken)
        assert dict(state) == {"old": 1, "n": 1}
        gate.set()
    assert ended == [False]
    assert dict(state) == {"old": 1, "n": 1}
    assert (results(taken), faults(taken)) == ([None, b"2"], [(b"1", "timeout", 1)])


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_late_call_can_change_nothing(
    shop: Shop, gate: threading.Event, change: Callable[[Context], Any]
) -> None:
    model = Late(gate, then=change)
    workshop = shop(model, timeout=0.05)
    state = workshop.context.state
    assert isinstance(state, CallState)
    state["old"] = 1
    state.commit()
    with at_work(workshop.runner, chunk_of([b"1"])) as ended:
        taken_from(workshop.runner)
        gate.set()
    assert (ended, model.raised) == ([False], [GIVEN_UP])
    assert dict(state) == {"old": 1}


@pytest.mark.parametrize("fails", [False, True])
def test_the_end_of_a_late_call_is_not_that_of_its_successors(
    shop: Shop, gate: threading.Event, fails: bool
) -> None:
    """Neither is what that has assigned committed before its end, nor undone."""

    def then(context: Context) -> int:
        if fails:
            raise OSError("too late")
        return 1

    in_second, end_second = threading.Event(), threading.Event()

    def fails_late(payload: Any, context: Context) -> Any:
        if payload == 1:
            return late(payload, context)
        context.state[f"half {payload}"] = True
        context.state["list"].append(payload)
        in_second.set()
        assert end_second.wait(60)
        if payload == 2:
            raise ValueError("so nothing of it is kept")
        return payload

    late = Late(gate, then)
    workshop = shop(fails_late, OnError(retries=3, backoff=0), timeout=0.05)
    state = workshop.context.state
    assert isinstance(state, CallState)
    state["list"] = []
    state.commit()
    with late_beside_its_successor(
        workshop, chunk_of([b"1", b"2", b"3"]), gate, in_second, end_second
    ) as taken:
        assert late.calls == 1
        assert state["half 2"] is True
    assert results(taken) == [None, None, b"3"]
    assert dict(state) == {"half 3": True, "list": [3]}


def test_a_late_call_that_fails_is_not_repeated(
    shop: Shop, gate: threading.Event, caplog: pytest.LogCaptureFixture
) -> None:
    def then(context: Context) -> None:
        raise OSError("timed out")

    model = Late(gate, then)
    workshop = shop(model, OnError(retries=5, backoff=0), timeout=0.05)
    with at_work(workshop.runner, chunk_of([b"1"])) as ended:
        taken_from(workshop.runner)
        caplog.clear()
        gate.set()
    assert (ended, model.calls) == ([False], 1)
    assert model.raised == ["OSError: timed out"]
    assert caplog.messages == []


@pytest.mark.parametrize(
    "ask",
    [
        lambda context: context.publish(1),
        lambda context: context.publish(1, topic="other"),
        lambda context: context.message,
        lambda context: context.messages,
    ],
    ids=["publish", "publish elsewhere", "message", "messages"],
)
def test_a_late_call_has_no_message_and_publishes_nothing(
    shop: Shop, gate: threading.Event, ask: Callable[[Context], Any]
) -> None:
    """Not with the message that its successor has in hand, either."""
    in_second, end_second = threading.Event(), threading.Event()

    def model(payload: Any, context: Context) -> Any:
        if payload == 1:
            return late(payload, context)
        context.publish("own")
        in_second.set()
        assert end_second.wait(60)
        return context.message.topic

    late = Late(gate, ask)
    workshop = shop(model, timeout=0.05)
    with late_beside_its_successor(
        workshop, chunk_of([b"1", b"2"]), gate, in_second, end_second
    ) as taken:
        pass
    assert late.raised == [GIVEN_UP]
    assert results(taken) == [None, (b'"own"', b'"in"')]


def test_the_next_thread_with_the_same_identifier_is_not_late(
    shop: Shop, gate: threading.Event
) -> None:
    """The system gives it to another one as soon as one has ended."""
    workshop = shop(Late(gate), timeout=0.05)
    with at_work(workshop.runner, chunk_of([b"1", b"2"])):
        taken = taken_from(workshop.runner)
        (late,) = workshop.context.late
        gate.set()
    assert late not in workshop.context.late
    with at_work(Runner(0, workshop.call, workshop.context), taken) as ended:
        until(lambda: ended, "the successor ended")
    assert (ended, dict(workshop.context.state)) == ([True], {"n": 1})


def test_what_a_batch_has_changed_is_undone_before_its_messages_come_one_by_one(
    shop: Shop, gate: threading.Event
) -> None:
    def model(payloads: list[int], context: Context) -> list[int]:
        if len(payloads) > 1:
            context.state["n"] = 100
            assert gate.wait(60)
        context.state["n"] = context.state.get("n", 0) + 1
        return [context.state["n"]] * len(payloads)

    workshop = shop(model, timeout=0.05)
    calling = workshop.call._replace(batch=BatchLimits())
    runner = Runner(0, calling, workshop.context)
    with at_work(runner, chunk_of([b"1", b"2"])) as ended:
        taken = taken_from(runner)
        assert Runner(0, calling, workshop.context).work(taken)
        gate.set()
    assert (ended, results(taken)) == ([False], [b"1", b"2"])
    assert dict(workshop.context.state) == {"n": 2}


def at_once(workshop: Workshop) -> tuple[Coroutines, ModelCall]:
    """What calls this workshop's model, an `async def`, for three messages at once."""
    model = workshop.call.model
    coroutines = Coroutines(model.function)
    return coroutines, workshop.call._replace(
        model=model._replace(function=coroutines), concurrency=3
    )


def test_of_calls_at_once_those_behind_one_that_is_given_up_count_once(
    shop: Shop, gate: threading.Event
) -> None:
    """They have ended, but are made again: what they had changed is undone."""

    async def model(payload: int, context: Context) -> int:
        while payload == 2 and not gate.is_set():
            await asyncio.sleep(0.01)
        context.state[f"seen {payload}"] = context.state.get(f"seen {payload}", 0) + 1
        return payload

    workshop = shop(model, timeout=0.05)
    coroutines, calling = at_once(workshop)
    runner = Runner(0, calling, workshop.context)
    chunk = chunk_of([b"1", b"2", b"3"])
    with at_work(runner, chunk, partial(coroutines.close, [])) as ended:
        until(lambda: results(chunk) == [b"1"], "the first is done")
        taken = taken_from(runner)
        assert dict(workshop.context.state) == {"seen 1": 1}
        gate.set()
        assert Runner(0, calling, workshop.context).work(taken)
    coroutines.close([])
    assert (ended, results(taken)) == ([False], [b"1", None, b"3"])
    assert dict(workshop.context.state) == {"seen 1": 1, "seen 3": 1}


def test_a_call_at_once_whose_change_can_not_be_kept_is_the_only_one_that_fails(
    shop: Shop,
) -> None:
    async def model(payload: int, context: Context) -> int:
        context.state.setdefault("list", [])
        if payload == 2:
            context.state["list"].append(1j)
        context.state[f"seen {payload}"] = True
        return payload

    workshop = shop(model, timeout=60)
    coroutines, calling = at_once(workshop)
    chunk = chunk_of([b"1", b"2", b"3"])
    assert Runner(0, calling, workshop.context).work(chunk)
    coroutines.close([])
    assert results(chunk) == [b"1", None, b"3"]
    assert faults(chunk) == [(b"2", "model", 1)]
    assert dict(workshop.context.state) == {"list": [], "seen 1": True, "seen 3": True}


def stop_the_loop() -> None:
    asyncio.get_running_loop().stop()


def cancel_all() -> None:
    for task in asyncio.all_tasks():
        task.cancel()


@pytest.mark.parametrize("harm", [stop_the_loop, cancel_all])
@pytest.mark.parametrize("culprit", [1, 2, 3])
def test_a_call_at_once_that_ends_the_others_is_the_only_one_that_fails(
    shop: Shop, harm: Callable[[], None], culprit: int
) -> None:
    async def model(payload: int, context: Context) -> int:
        await asyncio.sleep(0)
        if payload == culprit:
            harm()
        await asyncio.sleep(0.001 * payload)
        context.state[f"seen {payload}"] = context.state.get(f"seen {payload}", 0) + 1
        return payload

    workshop = shop(model, timeout=60)
    coroutines, calling = at_once(workshop)
    runner = Runner(0, calling, workshop.context)
    chunk = chunk_of([b"1", b"2", b"3"])
    assert runner.work(chunk)
    later = chunk_of([b"4", b"5"])
    assert runner.work(later)
    coroutines.close([])
    others = [payload for payload in (1, 2, 3) if payload != culprit]
    assert [result for result in results(chunk) if result] == [b"%d" % one for one in others]
    assert faults(chunk) == [(b"%d" % culprit, "model", 1)]
    assert results(later) == [b"4", b"5"]
    assert dict(workshop.context.state) == {f"seen {one}": 1 for one in (*others, 4, 5)}
