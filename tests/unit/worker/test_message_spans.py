"""Spans of messages, without a collector: what they tell, and what results carry on."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from support.columns import chunk_of
from support.store import configured

from pyboot_svc.config import Broker, Endpoint, ResultOptions, Tracing
from pyboot_svc.worker.messages import (
    TICK,
    Addressed,
    Chunk,
    Destination,
    Fault,
    Particulars,
    Result,
    ResultBatch,
    payloads_of,
)
from pyboot_svc.worker.properties import decode_properties, encode_user
from pyboot_svc.worker.tracer import Tracer

sdk = pytest.importorskip("opentelemetry.sdk.trace")
export = pytest.importorskip("opentelemetry.sdk.trace.export")
memory = pytest.importorskip("opentelemetry.sdk.trace.export.in_memory_span_exporter")
sampling = pytest.importorskip("opentelemetry.sdk.trace.sampling")
message_spans = pytest.importorskip("pyboot_svc.worker.message_spans")

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = f"00-{TRACE}-b7ad6b7169203331-01"
UNSAMPLED = f"00-{TRACE}-b7ad6b7169203331-00"


class Line:
    """An instance's spans, and messages that go through."""

    def __init__(self, sample: float | None = 1.0, sampler: Any = None, **edge: Any) -> None:
        self.exporter = memory.InMemorySpanExporter()
        provider = sdk.TracerProvider(sampler or sampling.DEFAULT_ON, shutdown_on_exit=False)
        provider.add_span_processor(export.SimpleSpanProcessor(self.exporter))
        queue = SimpleNamespace(trouble="", close=lambda timeout: None)
        config = configured(tracing=Tracing(None, sample), **edge).edge
        telemetry = SimpleNamespace(tracer=provider.get_tracer("test"), queue=queue)
        self.spans = message_spans.MessageSpans(config, telemetry)
        self.queue = queue

    def begin(
        self, results: Sequence[Result], user: Mapping[int, Sequence[tuple[str, str]]] | None = None
    ) -> tuple[Chunk, Sequence[Result]]:
        """What the model made of as many messages; `user` are user properties, by place."""
        about = {place: (0, encode_user(some)) for place, some in (user or {}).items()}
        chunk = chunk_of(
            [b"in"] * len(results),
            arrived=time.monotonic_ns(),
            particulars=Particulars(about=about),
        )
        chunk.results.extend(results)
        chunk.began, chunk.took = time.monotonic(), 0.5 * len(results)
        return chunk, self.spans.begin(chunk, range(len(results)), chunk.results)

    def end(self, chunk: Chunk, found: Sequence[Result], end: str = "published") -> None:
        payloads = [payload for result in found for payload in payloads_of(result)]
        places = [place for place, result in enumerate(found) for _ in payloads_of(result)]
        self.spans.ended(ResultBatch(chunk, places, payloads), end, None)

    @property
    def ended(self) -> dict[str, Any]:
        return {span.name: span for span in self.exporter.get_finished_spans()}


def context_of(result: Result) -> dict[str, str]:
    """What a result carries on."""
    [payload] = payloads_of(result)
    assert isinstance(payload, Addressed)
    return dict(decode_properties(payload.destination.properties).user)


def test_a_span_has_its_stages_and_the_result_its_context() -> None:
    line = Line()
    chunk, found = line.begin([b"out"])
    assert set(line.ended) == {"pre_queue", "model"}
    line.end(chunk, found)
    spans = line.ended
    assert set(spans) == {"process in", "pre_queue", "model", "send out"}
    process, model = spans["process in"], spans["model"]
    assert {spans[name].parent.span_id for name in ("pre_queue", "model", "send out")} == {
        process.context.span_id
    }
    assert process.start_time == spans["pre_queue"].start_time
    assert spans["pre_queue"].end_time == model.start_time
    assert model.end_time - model.start_time == 500_000_000
    assert spans["send out"].start_time == model.end_time
    parent = context_of(found[0])["traceparent"]
    assert parent.split("-")[2] == f"{spans['send out'].context.span_id:016x}"
    assert chunk.unusual
    assert found[0] == b"out"


def test_of_a_batch_of_the_models_the_call_is_all_of_them() -> None:
    line = Line()
    chunk = chunk_of([b"in"] * 3, arrived=time.monotonic_ns())
    chunk.results.extend([None, None, None])
    chunk.began, chunk.took, chunk.as_one_call = time.monotonic(), 0.5, True
    line.spans.begin(chunk, range(3), chunk.results)
    models = [span for span in line.exporter.get_finished_spans() if span.name == "model"]
    assert {span.end_time - span.start_time for span in models} == {500_000_000}
    assert {span.attributes["messaging.batch.message_count"] for span in models} == {3}


def test_while_the_model_is_at_work_its_stages_are_not_known() -> None:
    line = Line()
    chunk = chunk_of([b"in"] * 2, arrived=time.monotonic_ns())
    chunk.results.append(b"out")
    found = line.spans.begin(chunk, range(1), chunk.results[:1])
    line.end(chunk, found)
    assert set(line.ended) == {"process in", "send out"}


def test_a_message_ends_with_the_last_of_its_results() -> None:
    line = Line()
    chunk, [found] = line.begin([(b"a", b"b")])
    assert isinstance(found, tuple)
    line.spans.ended(ResultBatch(chunk, [0], [found[1]]), "spooled", None)
    assert "process in" not in line.ended
    line.spans.ended(ResultBatch(chunk, [0], [found[0]]), "published", None)
    assert line.ended["process in"].attributes["pyboot.end"] == "published"


def test_a_refused_result_is_an_error() -> None:
    line = Line()
    chunk, found = line.begin([b"a"])
    payloads = [payload for result in found for payload in payloads_of(result)]
    line.spans.ended(ResultBatch(chunk, [0], payloads), "refused", "refused: too large")
    for name in ("process in", "send out"):
        assert line.ended[name].status.description == "refused: too large"


@pytest.mark.parametrize(
    ("fault", "kind", "message"),
    [
        (Fault("model", "the model raised KeyError: 'a'\n  File x"), "KeyError", "'a'"),
        (Fault("not_json", "it is no JSON"), "not_json", "it is no JSON"),
    ],
    ids=["raised", "not JSON"],
)
def test_a_failure_is_an_exception(fault: Fault, kind: str, message: str) -> None:
    line = Line()
    chunk = chunk_of([b"in"], arrived=time.monotonic_ns())
    chunk.results.append(None)
    chunk.failures[0] = fault
    assert line.spans.begin(chunk, range(1), chunk.results) == [None]
    process = line.ended["process in"]
    [event] = process.events
    assert (process.status.description, process.attributes["error.type"]) == (message, kind)
    assert event.attributes["exception.type"] == kind
    assert event.attributes["exception.stacktrace"] == fault.error
    assert process.attributes["pyboot.end"] == "dead letter"


def test_a_trace_goes_on_whatever_the_rate() -> None:
    line = Line(sample=0)
    user = {1: [("traceparent", PARENT), ("tracestate", "a=1"), ("tracestate", "b=2")]}
    chunk, found = line.begin([b"a", b"b", b"c"], user)
    assert found[0] == b"a"
    assert not isinstance(found[0], Addressed)
    told = context_of(found[1])
    assert told["traceparent"].startswith(f"00-{TRACE}-")
    assert told["traceparent"] != PARENT
    assert told["tracestate"] == "a=1,b=2"
    line.end(chunk, found)
    assert f"{line.ended['process in'].context.trace_id:032x}" == TRACE


def test_a_trace_that_is_not_sampled_is_passed_on_as_it_came() -> None:
    line = Line()
    user = {0: [("traceparent", UNSAMPLED), ("tracestate", "a=1")]}
    chunk, found = line.begin([b"a"], user)
    line.end(chunk, found)
    assert line.ended == {}
    assert context_of(found[0]) == {"traceparent": UNSAMPLED, "tracestate": "a=1"}


def test_a_sampler_of_the_environment_has_its_say() -> None:
    line = Line(sample=None, sampler=sampling.ALWAYS_OFF)
    chunk, found = line.begin([b"a"])
    line.end(chunk, found)
    assert line.ended == {}
    assert not isinstance(found[0], Addressed)


@pytest.mark.parametrize(
    "user",
    [
        [("traceparent", "00-nonsense")],
        [("traceparent", PARENT), ("traceparent", UNSAMPLED)],
        [("traceparent", "00-" + "0" * 32 + "-b7ad6b7169203331-01")],
        [("Traceparent", PARENT)],
        [("tracestate", "a=1")],
        [("traceparent", "ä" * 55)],
    ],
    ids=["nonsense", "twice", "zeros", "capital", "state alone", "no ASCII"],
)
def test_what_is_no_context_begins_a_new_trace(user: list[tuple[str, str]]) -> None:
    line = Line()
    _, found = line.begin([b"a"], {0: user})
    told = context_of(found[0])
    assert TRACE not in told["traceparent"]
    assert "tracestate" not in told


def test_a_state_that_is_too_long_goes_no_further() -> None:
    _, found = Line().begin(
        [b"a"], {0: [("traceparent", PARENT), ("tracestate", "a=" + "x" * 1100)]}
    )
    assert set(context_of(found[0])) == {"traceparent"}


def test_what_a_result_has_of_its_own_stays() -> None:
    options = ResultOptions(retain=True, expiry=60, content_type="text/plain")
    own = Destination("own", 0, properties=encode_user([("traceparent", "of the model")]))
    _, found = Line(results=options).begin([b"a", Addressed.to(own, b"b")])
    [usual], [other] = map(payloads_of, found)
    assert isinstance(usual, Addressed)
    told = decode_properties(usual.destination.properties)
    assert (usual.destination.topic, usual.destination.retain, told.expiry) == ("out", True, 60)
    assert told.content_type == "text/plain"
    assert isinstance(other, Addressed)
    assert other.destination == own


def test_by_mqtt_3_there_are_no_properties() -> None:
    line = Line(post=Endpoint(Broker("10.0.0.1", protocol="3.1.1"), "out", 1))
    chunk, found = line.begin([b"a"], {0: [("traceparent", UNSAMPLED)]})
    assert not isinstance(found[0], Addressed)
    chunk, found = line.begin([b"a"])
    assert context_of(found[0]) == {}
    line.end(chunk, found)
    assert "send out" in line.ended


def test_a_tick_is_no_message() -> None:
    line = Line()
    chunk = chunk_of([b""], particulars=TICK)
    assert line.spans.begin(chunk, range(1), [b"a"]) == [b"a"]


def test_names_are_few_and_what_is_long_is_cut() -> None:
    pre = Endpoint(Broker("10.0.0.1"), "in/+", 1, more=("other/#",))
    line = Line(pre=pre, post=Endpoint(Broker("10.0.0.1"), "out/{device}", 1))
    chunk = chunk_of([b"in"], topics="t" * 9999, arrived=time.monotonic_ns())
    chunk.results.append(Addressed.to(Destination("u" * 9999, 0), b"x"))
    line.end(chunk, line.spans.begin(chunk, range(1), chunk.results))
    assert len(line.ended["process test"].attributes["messaging.destination.name"]) == 1000
    assert len(line.ended["send out/{device}"].attributes["messaging.destination.name"]) == 1000


def test_trouble_is_a_notice() -> None:
    line = Line()
    assert line.spans.notices == []
    line.queue.trouble = "away"
    assert line.spans.notices == ["spans don't reach the collector: away"]


class Broken:
    notices: tuple[str, ...] = ()

    def begin(self, *_: object) -> Sequence[Result]:
        raise ValueError("begin")

    def ended(self, *_: object) -> None:
        raise ValueError("ended")


@pytest.mark.parametrize("where", ["begin", "ended"])
def test_what_fails_here_is_no_matter_of_the_messages(
    where: str, caplog: pytest.LogCaptureFixture
) -> None:
    tracer = Tracer("out")
    tracer.export(Broken())  # type: ignore[arg-type]
    chunk = chunk_of([b"in"])
    if where == "begin":
        assert tracer.handed_on(chunk, range(1), [b"a"]) == [b"a"]
    else:
        tracer.ended_with(ResultBatch(chunk, [0], [b"a"]), "published")
    assert "spans failed, and are over" in caplog.text
    assert not tracer.on
    assert tracer.handed_on(chunk, range(1), [b"a"]) == [b"a"]
