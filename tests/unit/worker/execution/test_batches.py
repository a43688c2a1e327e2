"""Models that take a list: one bad message among them is found, and fails alone."""

from __future__ import annotations

import logging
import threading
from collections import UserDict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from support.columns import Acknowledged, Standing, batch_of, payloads_of, roomy_budget
from support.poll import until
from support.store import configured, rows, settled

from pyboot_svc.config import BatchLimits, OnError
from pyboot_svc.model.context import Context
from pyboot_svc.model.loader import Model
from pyboot_svc.model.state import CallState
from pyboot_svc.worker.delivery.completion import Completion
from pyboot_svc.worker.delivery.dead_letters import DeadLetters
from pyboot_svc.worker.delivery.model_state import StateSaver
from pyboot_svc.worker.delivery.post_queue import PostQueue
from pyboot_svc.worker.delivery.settlement import Settlement
from pyboot_svc.worker.durables import Durables
from pyboot_svc.worker.execution.failure_log import FailureLog
from pyboot_svc.worker.execution.model_call import ModelCall
from pyboot_svc.worker.execution.pool import ModelPool, NoIdleWork
from pyboot_svc.worker.execution.pre_queue import PreQueue
from pyboot_svc.worker.stats import Stats

Function = Callable[[list[Any], Context], Any]


class Line:
    """A pool whose model takes batches; the first batch is what is put before `start`."""

    def __init__(self, folder: Path, model: Function, batch: BatchLimits, timeout: float) -> None:
        self.folder = folder
        self.safe = safe = Durables(configured(batch=batch), folder)
        budget = roomy_budget()
        self.waiting = PreQueue(10_000, budget)
        self.results = PostQueue(10_000, budget)
        self._origin = Acknowledged()
        saver = StateSaver(safe.state, safe.store)
        self.settlement = Settlement(budget, saver)
        self.tally = Stats()
        self.crashed = threading.Event()
        edge = configured(batch=batch, on_error=OnError(retries=0), model_timeout=timeout).edge
        call = ModelCall.of(edge, Model(model), safe, FailureLog())
        letters = DeadLetters(configured(), safe.store, safe.spool.dead_letters, lambda: None)
        self.pool = ModelPool(
            call,
            lambda: Context(
                "test-1", Path(), logging.getLogger("model"), state=CallState(safe.state)
            ),
            self.waiting,
            Completion(self.results, letters, saver, self.settlement, self.tally),
            Standing(self.results),
            NoIdleWork(),
        )

    def put(self, *payloads: bytes, session: int = 1) -> None:
        topics = [f"in/{number}" for number in range(len(payloads))]
        arrived = batch_of(payloads, topics, session=session, origin=self._origin)
        self.settlement.admit(arrived)
        self.waiting.put(arrived)

    @property
    def acknowledged(self) -> list[bytes]:
        return self._origin.payloads

    def start(self) -> None:
        self.safe.store.start(self.crashed.set)
        self.pool.start(1, self.crashed.set)

    def process(self, *payloads: bytes, session: int = 1, count: int = 0) -> list[bytes]:
        """The results of payloads that are one batch, or of `count` with those put before."""
        self.put(*payloads, session=session)
        self.start()
        return self.wait(count or len(payloads))

    def wait(self, count: int) -> list[bytes]:
        def done() -> bool:
            self.pool.expire()
            return self.waiting.unfinished() == 0  # all that came of them is handed on, too

        until(done, f"{count} are processed")
        assert self.tally.figures().counters.processed == count
        assert not self.crashed.is_set()
        settled(self.safe.store)
        return payloads_of(self.results.take(count))

    @property
    def dead(self) -> list[tuple[Any, ...]]:
        return rows(self.folder, "SELECT payload, kind FROM dead ORDER BY id")

    def close(self) -> None:
        self.waiting.close()
        self.results.close()
        self.safe.store.stop(20)


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Line]]:
    lines: list[Line] = []

    def start(model: Function, timeout: float = 60, **batch: int) -> Line:
        lines.append(Line(tmp_path, model, BatchLimits(**batch), timeout))
        return lines[-1]

    yield start
    for line in lines:
        line.close()


class Doubling:
    """Notes what it is called with."""

    def __init__(self) -> None:
        self.calls: list[list[Any]] = []

    def __call__(self, payloads: list[Any], context: Context) -> list[Any]:
        self.calls.append(payloads)
        return [2 * payload if payload is not None else None for payload in payloads]


def test_a_list_in_and_a_list_out(make: Callable[..., Line]) -> None:
    model = Doubling()
    line = make(model)
    assert line.process(b"1", b"2", b"3") == [b"2", b"4", b"6"]
    assert model.calls == [[1, 2, 3]]


def test_none_inside_publishes_nothing(make: Callable[..., Line]) -> None:
    line = make(Doubling())
    assert line.process(b"null", b"2", b"null") == [b"4"]
    assert line.acknowledged == [b"null"]
    assert line.tally.figures().errors == {}


class Lazy:
    """Results that are computed when they are asked for; of several, `missing` are not there."""

    def __init__(self, payloads: list[Any], missing: int) -> None:
        self._payloads = payloads
        self._missing = missing if len(payloads) > 1 else 0

    def __len__(self) -> int:
        return len(self._payloads)

    def __getitem__(self, place: int) -> Any:
        return 12 / self._payloads[: len(self) - self._missing][place]


@pytest.mark.parametrize("missing", [0, 1, 3])
def test_results_that_fail_when_they_are_asked_for(make: Callable[..., Line], missing: int) -> None:
    line = make(lambda payloads, context: Lazy(payloads, missing))
    assert line.process(b"4", b"0", b"1") == [b"3.0", b"12.0"]
    assert line.dead == [(b"0", "model")]


def test_no_batch_is_longer_than_it_may_be(make: Callable[..., Line]) -> None:
    model = Doubling()
    line = make(model, max_size=4)
    assert line.process(*[b"1"] * 10) == [b"2"] * 10
    assert [len(call) for call in model.calls] == [4, 4, 2]


def test_it_waits_for_a_full_batch(make: Callable[..., Line]) -> None:
    model = Doubling()
    line = make(model, max_size=3, max_wait_ms=60_000)
    line.start()
    for payload in (b"1", b"2", b"3"):
        assert model.calls == []
        line.put(payload)
    assert line.wait(3) == [b"2", b"4", b"6"]
    assert model.calls == [[1, 2, 3]]


def test_what_arrived_in_pieces_is_one_batch(make: Callable[..., Line]) -> None:
    model = Doubling()
    line = make(model)
    line.put(b"1", b"2")
    line.put(b"3")
    assert line.process(b"4", b"5", count=5) == [b"2", b"4", b"6", b"8", b"10"]
    assert model.calls == [[1, 2, 3, 4, 5]]


def test_what_came_by_two_connections_is_two_batches(make: Callable[..., Line]) -> None:
    model = Doubling()
    line = make(model)
    line.put(b"1", b"2")
    line.put(b"null", session=2)
    assert line.process(b"4", session=2, count=4) == [b"2", b"4", b"8"]
    assert model.calls == [[1, 2], [None, 4]]


def test_the_topics_are_in_the_order_of_the_payloads(make: Callable[..., Line]) -> None:
    seen: list[tuple[str, tuple[str, ...]]] = []

    def model(payloads: list[Any], context: Context) -> list[Any]:
        seen.append((context.topic, context.topics))
        return payloads

    make(model).process(b"1", b"{", b"2")
    assert seen == [("in/0", ("in/0", "in/2"))]


@pytest.mark.parametrize(
    ("returned", "said"),
    [
        ([1], "returned 1 results for a batch of 2: it has to return one for each"),
        ({"a": 1}, "returns a list with a result for each payload, not a dict"),
        ("ab", "not a str"),
        (None, "not a NoneType"),
        (7, "not a int"),
        ({"b", "a"}, "not a set"),
        (UserDict(a=1, b=2), "not a UserDict"),
        (np.array(2), "not a ndarray"),
    ],
)
def test_a_model_that_returns_no_list_of_that_length_is_told_so(
    make: Callable[..., Line], caplog: pytest.LogCaptureFixture, returned: Any, said: str
) -> None:
    line = make(lambda payloads, context: returned if len(payloads) > 1 else payloads)
    assert line.process(b"1", b"2") == [b"1", b"2"]  # each had a call of its own then
    assert said in caplog.text


def test_one_bad_message_fails_alone(
    make: Callable[..., Line], caplog: pytest.LogCaptureFixture
) -> None:
    calls: list[list[int]] = []

    def model(payloads: list[int], context: Context) -> list[float]:
        calls.append(payloads)
        return [6 / payload for payload in payloads]

    line = make(model)
    assert line.process(b"1", b"0", b"3") == [b"6.0", b"2.0"]
    assert calls == [[1, 0, 3], [1], [0], [3]]
    assert line.dead == [(b"0", "model")]
    assert line.acknowledged == []
    assert "failed on a batch of 3, each gets a call of its own now: ZeroDivisionError" in (
        caplog.text
    )


@pytest.mark.parametrize(
    ("made", "results"),
    [
        (np.array, [b"1", b"2", b"3"]),
        (pd.Series, [b"1", b"2", b"3"]),
        (lambda values: pd.Series(values, index=[7, 5, 6]), [b"1", b"2", b"3"]),
        (lambda values: np.array([values, values]).T, [b"[1,1]", b"[2,2]", b"[3,3]"]),
        (lambda values: pd.DataFrame({"n": values}), [b'{"n":1}', b'{"n":2}', b'{"n":3}']),
        (tuple, [b"1", b"2", b"3"]),
    ],
)
def test_an_array_a_series_or_a_table_is_the_list_that_it_is(
    make: Callable[..., Line], made: Callable[[list[int]], Any], results: list[bytes]
) -> None:
    line = make(lambda payloads, context: made(payloads))
    assert line.process(b"1", b"2", b"3") == results
    assert line.dead == []


def test_what_can_not_be_decoded_or_encoded_fails_alone(make: Callable[..., Line]) -> None:
    def model(payloads: list[Any], context: Context) -> list[Any]:
        calls.append(payloads)
        return [1j if payload == 2 else payload for payload in payloads]

    calls: list[list[Any]] = []
    line = make(model)
    assert line.process(b"1", b"{", b"2", b"3", b"") == [b"1", b"3"]
    assert line.dead == [(b"{", "not_json"), (b"2", "not_encodable"), (b"", "empty")]
    assert calls == [[1, 2, 3]]


def test_without_a_payload_that_can_be_decoded_the_model_is_not_called(
    make: Callable[..., Line],
) -> None:
    model = Doubling()
    line = make(model)
    assert line.process(b"{", b"}") == []
    assert (len(line.dead), model.calls) == (2, [])


def test_a_batch_whose_call_never_ends_is_processed_one_by_one(
    make: Callable[..., Line], gate: threading.Event
) -> None:
    calls: list[list[int]] = []
    late: list[threading.Thread] = []

    def model(payloads: list[int], context: Context) -> list[int]:
        calls.append(payloads)
        if 2 in payloads:
            late.append(threading.current_thread())
            gate.wait(60)
        return payloads

    line = make(model, timeout=0.2)
    assert line.process(b"1", b"2", b"3") == [b"1", b"3"]
    assert calls == [[1, 2, 3], [1], [2], [3]]
    assert line.dead == [(b"2", "timeout")]
    gate.set()
    until(lambda: not any(thread.is_alive() for thread in late), "they end")
    assert line.results.depth() == 0
    assert calls == [[1, 2, 3], [1], [2], [3]]
