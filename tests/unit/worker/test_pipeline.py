"""A whole pipeline without a broker: messages are handed in, and results taken, in memory."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.poll import until

from pyboot_svc.config import Broker, Edge, Endpoint, QueueLimits
from pyboot_svc.model.context import Context
from pyboot_svc.worker.inbox import Deliver
from pyboot_svc.worker.link import LinkStatus
from pyboot_svc.worker.message import Message
from pyboot_svc.worker.outbox import Published
from pyboot_svc.worker.pipeline import Pipeline
from pyboot_svc.worker.queues import PostQueue

CONNECTED = LinkStatus("10.0.0.1:1883", "connected", "", 0.0)


class MemoryInbox:
    """The test is the pre broker."""

    def __init__(self) -> None:
        self.status = CONNECTED
        self.overdue = -1.0
        self.subscribed = True
        self.acknowledged: list[Message] = []
        self.closed = threading.Event()
        self.stopped = False
        self._deliver: Deliver = lambda batch: None

    def start(self, deliver: Deliver, on_crash: Callable[[], None]) -> None:
        self._deliver = deliver

    def send(self, *payloads: bytes, qos: int = 0) -> list[Message]:
        batch = [Message("in", payload, qos) for payload in payloads]
        self._deliver(batch)
        return batch

    def acknowledge(self, messages: list[Message]) -> None:
        self.acknowledged.extend(messages)

    def close_intake(self) -> None:
        self.closed.set()

    def stop(self, timeout: float) -> None:
        assert timeout > 0
        self.stopped = True


class MemoryOutbox:
    """The test is the post broker: it is away, or takes results and leaves them unanswered."""

    def __init__(self) -> None:
        self.status = CONNECTED
        self.overdue = -1.0
        self.away = False
        self.answers = True
        self.sent: list[Message] = []
        self.unanswered: list[Message] = []
        self.stopped = False
        self._lock = threading.Lock()

    @property
    def in_flight(self) -> int:
        return len(self.unanswered)

    def start(
        self,
        results: PostQueue,
        published: Published,
        refused: Published,
        on_crash: Callable[[], None],
    ) -> None:
        self._results = results
        self._published = published
        self._refused = refused

    def wake(self) -> None:
        with self._lock:
            if self.away or self.stopped:
                return
            taken = self._results.take(1_000_000)
            self.sent.extend(taken)
            self.unanswered.extend(taken)
        if self.answers:
            self.answer()

    def answer(self, *, refuse: bool = False) -> None:
        with self._lock:
            (self._refused if refuse else self._published)(self.unanswered)
            self.unanswered = []

    def come_back(self) -> None:
        self.away = False
        self.wake()

    def stop(self, timeout: float) -> None:
        assert timeout > 0
        self.stopped = True


class Line:
    """One pipeline with both its ends in the test's hands."""

    def __init__(
        self, model: Callable[[Any, Context], Any], pre: int, post: int, threads: int
    ) -> None:
        endpoint = Endpoint(Broker("10.0.0.1"), "topic")
        limits = QueueLimits(pre=pre, post=post)
        edge = Edge("test", "a.b", endpoint, endpoint, threads=threads, queue=limits)
        self.inbox = MemoryInbox()
        self.outbox = MemoryOutbox()
        self.pipeline = Pipeline(
            edge,
            model,
            lambda: Context("test-1", Path(), logging.getLogger("model")),
            self.inbox,
            self.outbox,
        )
        self.pipeline.start(lambda: None)

    @property
    def figures(self) -> dict[str, Any]:
        return self.pipeline.figures()

    def counter(self, name: str) -> int:
        return self.figures["counters"][name]  # type: ignore[no-any-return]

    def wait_processed(self, count: int) -> None:
        until(lambda: self.counter("processed") == count, f"{count} processed")

    @property
    def results(self) -> list[bytes | None]:
        return [message.result for message in self.outbox.sent]


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """Models wait for it; it opens at the end of the test at the latest."""
    event = threading.Event()
    yield event
    event.set()


@pytest.fixture
def start(gate: threading.Event) -> Iterator[Callable[..., Line]]:
    lines: list[Line] = []

    def make(
        model: Callable[[Any, Context], Any],
        pre: int = 10_000,
        post: int = 10_000,
        threads: int = 1,
    ) -> Line:
        lines.append(Line(model, pre, post, threads))
        return lines[-1]

    yield make
    gate.set()
    for line in lines:
        line.pipeline.drain(0)


def echo(payload: Any, context: Context) -> Any:
    return payload


def numbers(count: int) -> list[bytes]:
    return [b"%d" % number for number in range(count)]


@pytest.mark.parametrize("threads", [1, 8])
def test_results_and_acknowledgements_in_order_of_arrival(
    start: Callable[..., Line], threads: int
) -> None:
    def model(payload: int, context: Context) -> int | None:
        if payload % 7 == 0:
            raise ValueError(payload)
        return None if payload % 3 == 0 else payload

    line = start(model, threads=threads)
    sent: list[Message] = []
    for first in range(0, 300, 30):
        sent += line.inbox.send(*numbers(300)[first : first + 30], qos=1)
    until(lambda: len(line.inbox.acknowledged) == 300, "all acknowledged")
    assert line.inbox.acknowledged == sent
    failed = [n for n in range(300) if n % 7 == 0]
    silent = [n for n in range(300) if n % 7 and n % 3 == 0]
    published = [n for n in range(300) if n % 7 and n % 3]
    assert line.results == [b"%d" % number for number in published]
    assert line.figures["errors"] == {"model": len(failed)}
    assert line.figures["counters"] == {
        "received": 300,
        "processed": 300,
        "published": len(published),
        "nothing_to_publish": len(silent),
        "dropped": 0,
    }
    assert line.figures["unacknowledged"] == 0


def test_nothing_is_acknowledged_before_its_result_is_safe(start: Callable[..., Line]) -> None:
    line = start(lambda payload, context: payload or None)
    line.outbox.answers = False
    sent = line.inbox.send(b"1", b"0", b"2", qos=1)
    line.wait_processed(3)
    until(lambda: line.outbox.in_flight == 2, "both results are in flight")
    assert (line.figures["unacknowledged"], line.figures["in_flight"]) == (3, 2)
    assert line.inbox.acknowledged == []
    line.outbox.answer()
    assert line.inbox.acknowledged == sent


def test_a_refused_result_is_an_error_and_its_input_is_acknowledged(
    start: Callable[..., Line],
) -> None:
    line = start(echo)
    line.outbox.answers = False
    sent = line.inbox.send(b"1", qos=1)
    until(lambda: line.outbox.in_flight == 1, "in flight")
    line.outbox.answer(refuse=True)
    assert line.inbox.acknowledged == sent
    assert (line.figures["errors"], line.counter("published")) == ({"refused": 1}, 0)


def test_latency_is_there_once_something_was_published(start: Callable[..., Line]) -> None:
    line = start(echo)
    line.inbox.send(b"1")
    until(lambda: line.counter("published") == 1, "published")
    assert line.figures["latency_ms"]["p99"] > 0


def test_a_full_pre_queue_drops_qos_0_and_counts_it(
    start: Callable[..., Line], gate: threading.Event, caplog: pytest.LogCaptureFixture
) -> None:
    line = start(lambda payload, context: gate.wait(60) and payload, pre=10)
    line.inbox.send(b"1")
    until(lambda: line.figures["pre_queue"] == 0, "the model has the first one")
    line.inbox.send(*numbers(15))
    line.inbox.send(*numbers(7))
    assert (line.figures["pre_queue"], line.counter("dropped")) == (10, 12)
    line.inbox.send(*numbers(4), qos=1)
    assert (line.figures["pre_queue"], line.counter("dropped")) == (14, 12)
    assert line.counter("received") == 27
    [said] = [record.getMessage() for record in caplog.records]
    assert "pre_queue is full: dropped 5 messages of QoS 0" in said
    gate.set()
    line.wait_processed(15)
    assert line.results == [b"1", *numbers(10), *numbers(4)]


def test_a_full_post_queue_stops_the_model_and_that_fills_the_pre_queue(
    start: Callable[..., Line],
) -> None:
    line = start(echo, pre=100, post=20)
    line.outbox.away = True
    line.inbox.send(*numbers(60))
    until(lambda: line.pipeline.depths() == (40, 20), "the model stands still")
    line.inbox.send(*numbers(200)[60:])
    assert line.pipeline.depths() == (100, 20)
    assert (line.counter("processed"), line.counter("dropped")) == (20, 80)
    line.outbox.come_back()
    until(lambda: line.counter("published") == 120, "all is published")
    assert line.results == numbers(120)
    assert line.pipeline.depths() == (0, 0)


@pytest.mark.parametrize("threads", [4, 16])
def test_the_post_queue_is_bounded_with_many_threads(
    start: Callable[..., Line], gate: threading.Event, threads: int
) -> None:
    line = start(lambda payload, context: payload < 3_000 or gate.wait(60), 10_000, 100, threads)
    line.inbox.send(*numbers(3_000))  # so quick that threads take more and more at once
    until(lambda: line.counter("published") == 3_000, "all is published")
    line.outbox.away = True
    line.inbox.send(*numbers(8_000)[3_000:])
    until(lambda: line.figures["pre_queue"] < 5_000, "some are in the model's hands")
    gate.set()

    def stands_still() -> bool:
        pre, post = line.pipeline.depths()
        return post >= 100 and pre + post == 5_000

    until(stands_still, "the model stands still")
    assert line.pipeline.depths()[1] < 2 * 100 + threads
    line.outbox.come_back()
    until(lambda: line.counter("published") == 8_000, "all is published")


def test_a_message_of_10_mb(start: Callable[..., Line]) -> None:
    line = start(lambda payload, context: payload.upper())
    [sent] = line.inbox.send(b'"' + b"x" * 10_000_000 + b'"', qos=1)
    until(lambda: line.inbox.acknowledged == [sent], "acknowledged")
    assert line.results == [b'"' + b"X" * 10_000_000 + b'"']


def test_drain_finishes_what_is_in_hand(start: Callable[..., Line]) -> None:
    def model(payload: int, context: Context) -> int:
        assert line.inbox.closed.wait(60)  # nothing is done before the drain begins
        return payload

    line = start(model, threads=4)
    sent = line.inbox.send(*numbers(200), qos=1)
    assert line.pipeline.drain(30) == 0
    assert line.results == numbers(200)
    assert line.inbox.acknowledged == sent
    assert line.inbox.stopped
    assert line.outbox.stopped


def test_drain_leaves_what_a_hanging_model_holds(
    start: Callable[..., Line], gate: threading.Event
) -> None:
    def model(payload: int, context: Context) -> int:
        return payload if payload < 2 or gate.wait(60) else -1

    line = start(model)
    sent = line.inbox.send(b"0", qos=1)
    line.wait_processed(1)
    sent += line.inbox.send(b"1", qos=1)
    line.wait_processed(2)
    line.inbox.send(*numbers(7)[2:], qos=1)
    assert line.pipeline.drain(1.2) == 5
    assert line.inbox.acknowledged == sent
    assert line.inbox.stopped
    assert line.outbox.stopped


def test_drain_with_the_post_broker_away_leaves_the_results(start: Callable[..., Line]) -> None:
    line = start(echo)
    line.outbox.away = True
    line.inbox.send(*numbers(6), qos=1)
    line.wait_processed(6)
    assert line.pipeline.drain(1.1) == 6
    assert line.inbox.acknowledged == []


def test_drain_waits_for_what_the_post_broker_has_not_answered(start: Callable[..., Line]) -> None:
    line = start(echo)
    line.outbox.answers = False
    line.inbox.send(*numbers(6), qos=1)
    until(lambda: line.outbox.in_flight == 6, "in flight")
    left: list[int] = []
    drain = threading.Thread(target=lambda: left.append(line.pipeline.drain(30)))
    drain.start()
    assert line.inbox.closed.wait(20)
    assert not line.outbox.stopped
    line.outbox.answer()
    drain.join(20)
    assert left == [0]


def test_figures_have_both_brokers(start: Callable[..., Line]) -> None:
    line = start(echo)
    assert line.figures["brokers"] == {"pre": CONNECTED.as_dict(), "post": CONNECTED.as_dict()}


def test_not_ready_says_which_broker_and_why(start: Callable[..., Line]) -> None:
    line = start(echo)
    assert line.pipeline.not_ready() == []
    line.inbox.subscribed = False
    assert line.pipeline.not_ready() == ["not subscribed yet"]
    line.inbox.status = LinkStatus("pre:1883", "unreachable", "connection refused", 0.0)
    line.outbox.status = LinkStatus("post:1883", "connecting", "", 0.0)
    assert line.pipeline.not_ready() == [
        "pre broker pre:1883: connection refused",
        "post broker post:1883: connecting",
    ]


def test_rates_look_back_over_the_ticks(start: Callable[..., Line]) -> None:
    line = start(echo)
    line.inbox.send(*numbers(100))
    until(lambda: line.counter("published") == 100, "published")
    assert line.figures["rates"]["in"] > 0
    for _ in range(11):
        line.pipeline.tick()
    assert line.figures["rates"] == {"in": 0, "out": 0}
