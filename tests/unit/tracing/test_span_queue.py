"""Spans on their way: bounded, counted, and nobody waits for the collector."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from support.poll import until

sdk = pytest.importorskip("opentelemetry.sdk.trace")
export = pytest.importorskip("opentelemetry.sdk.trace.export")
span_queue = pytest.importorskip("pyboot_svc.tracing.span_queue")

SOON = span_queue.QueueBounds(waiting=8, together=4, seconds=0.01)
# What the exporter's own module would say, each time.
NOISE = logging.getLogger(__name__)


class Exporter:
    """Does what `behave` says with each batch."""

    def __init__(self, behave: Callable[[], bool] = lambda: True) -> None:
        self.taken: list[str] = []
        self.behave = behave

    def export(self, spans: Sequence[Any]) -> Any:
        if not self.behave():
            NOISE.error("connection refused")
            return export.SpanExportResult.FAILURE
        self.taken += [span.name for span in spans]
        return export.SpanExportResult.SUCCESS


class Line:
    def __init__(self, exporter: Exporter, bounds: Any = SOON) -> None:
        self.exporter = exporter
        self.counted: list[int] = []
        self.queue = span_queue.SpanQueue(exporter, "http://c", bounds, self.counted.append)
        provider = sdk.TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(self.queue)
        self.tracer = provider.get_tracer("test")

    def end(self, *names: str) -> None:
        for name in names:
            self.tracer.start_span(name).end()

    @property
    def dropped(self) -> int:
        return sum(self.counted)


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """Opened at the end, so that no thread is left."""
    event = threading.Event()
    yield event
    event.set()


def test_spans_arrive_in_their_order() -> None:
    line = Line(Exporter())
    names = [str(number) for number in range(6)]
    line.end(*names)
    until(lambda: line.exporter.taken == names, "all are there")
    line.queue.close(5)
    assert line.dropped == 0


def test_a_collector_that_hangs_holds_nobody_up(gate: threading.Event) -> None:
    asked = threading.Event()

    def hang() -> bool:
        asked.set()
        return gate.wait()

    line = Line(Exporter(hang))
    line.end(*"abcd")
    assert asked.wait(20), "they are on their way"
    line.end(*"efgh")
    line.end(*map(str, range(20)))
    assert line.dropped >= 16
    began = time.monotonic()
    line.queue.close(0.2)
    assert time.monotonic() - began < 5
    assert line.dropped >= 24


def test_one_that_is_away_is_said_once_and_found_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    there = False
    line = Line(Exporter(lambda: there))
    line.end("a")
    until(lambda: line.dropped == 1, "it is dropped")
    until(lambda: line.queue.trouble == "connection refused", "it is known")
    line.end("b")
    until(lambda: line.dropped == 2, "it is tried again")
    there = True
    line.end("c")
    until(lambda: line.exporter.taken == ["c"], "it is there again")
    until(lambda: not line.queue.trouble, "that is known")
    line.queue.close(5)
    assert [record.getMessage() for record in caplog.records] == [
        "spans don't reach http://c: connection refused; messages go on without, up to 8 spans "
        "wait",
        "spans reach http://c again",
    ]


def test_a_stop_does_not_wait_for_one_that_is_away() -> None:
    line = Line(Exporter(lambda: False))
    line.end("a")
    until(lambda: bool(line.queue.trouble), "it is away")
    line.end("b", "c")
    began = time.monotonic()
    line.queue.close(60)
    assert time.monotonic() - began < 30
    until(lambda: line.dropped == 3, "all are counted")


def test_what_a_library_raises_is_a_reason() -> None:
    def broken() -> bool:
        raise OSError("no\x1bnetwork")

    line = Line(Exporter(broken))
    line.end("a")
    until(lambda: line.queue.trouble == "OSError: no\x1bnetwork", "it is told")
    assert line.dropped == 1
    line.queue.close(1)


def test_others_may_use_the_exporters_logger(caplog: pytest.LogCaptureFixture) -> None:
    line = Line(Exporter(lambda: False))
    line.end("a")
    until(lambda: bool(line.queue.trouble), "it is away")
    NOISE.error("of a model's own")
    line.queue.close(1)
    assert "of a model's own" in caplog.messages
    assert "connection refused" not in caplog.messages


@pytest.mark.parametrize(
    ("variables", "wanted"),
    [
        ({}, (2048, 512, 5.0)),
        ({"OTEL_BSP_MAX_QUEUE_SIZE": "100", "OTEL_BSP_SCHEDULE_DELAY": "250"}, (100, 100, 0.25)),
        ({"OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "10"}, (2048, 10, 5.0)),
        ({"OTEL_BSP_MAX_QUEUE_SIZE": "-1", "OTEL_BSP_SCHEDULE_DELAY": "soon"}, (2048, 512, 5.0)),
        ({"OTEL_BSP_MAX_QUEUE_SIZE": "9" * 99}, (1_000_000, 512, 5.0)),
    ],
    ids=["none", "some", "batch", "nonsense", "too many"],
)
def test_bounds_are_those_of_the_variables(
    variables: dict[str, str], wanted: tuple[int, int, float]
) -> None:
    bounds = span_queue.QueueBounds.of(variables)
    assert (bounds.waiting, bounds.together, bounds.seconds) == wanted
