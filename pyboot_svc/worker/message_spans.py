"""Spans of messages, for OpenTelemetry. Those that come with a trace go on with it; of the others,
some begin one.

    process IN     from its arrival to the end of its last result
    ├─ pre_queue   until the model has it
    ├─ model       the call; of those of one chunk, the mean
    └─ send OUT    a result: in the post_queue, and on its way until it is safe

A result carries the context of its `send` span, by W3C Trace Context, so that whoever gets it goes
on with the trace.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

from opentelemetry.context import Context
from opentelemetry.trace import (
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    get_current_span,
    set_span_in_context,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from pyboot_svc.config import Edge
from pyboot_svc.text import clip_utf8
from pyboot_svc.tracing.draw import Draw
from pyboot_svc.tracing.provider import Telemetry
from pyboot_svc.worker.execution.failure_log import exception_in
from pyboot_svc.worker.messages import (
    Addressed,
    Chunk,
    Destination,
    Fault,
    MessageBatch,
    Result,
    ResultBatch,
    payloads_of,
    topic_of,
)
from pyboot_svc.worker.properties import (
    PublishProperties,
    decode_properties,
    encode_user,
)

_PARENT, _STATE = "traceparent", "tracestate"
# Of topics, and of errors, in bytes; a vendor's state that is longer goes no further.
_MOST_TOPIC, _MOST_ERROR, _MOST_STATE = 1000, 8000, 1024

Attributes = dict[str, str | int]


class MessageSpan:
    """Of a message with results on their way: it ends with the last of them."""

    def __init__(self, span: Span, results: int) -> None:
        self.span = span
        self._left = results
        self._lock = threading.Lock()

    def end(self, how: str) -> None:
        """One of the results has come to its end."""
        with self._lock:
            self._left -= 1
            last = self._left == 0
        if last:
            self.span.set_attribute("pyboot.end", how)
            self.span.end()


class TracedResult(Addressed):
    """A result whose way out is the span `sending`, of the message `of`."""

    sending: Span
    of: MessageSpan


class MessageSpans:
    """Makes them where results are handed on, and ends them where these come to their end."""

    def __init__(self, edge: Edge, telemetry: Telemetry) -> None:
        assert edge.tracing is not None
        self._tracer = telemetry.tracer
        self._queue = telemetry.queue
        rate = edge.tracing.sample
        self._draw = Draw(1.0 if rate is None else rate)
        self._propagator = TraceContextTextMapPropagator()
        self._v5 = edge.post.broker.protocol == "5"
        options = edge.results
        properties = PublishProperties(options.expiry, options.content_type).encode()
        self._usual = Destination(edge.post.topic, edge.post.qos, options.retain, properties)
        # Names of spans are few: they have filters and templates, and topics are attributes.
        source = edge.pre.topics[0] if len(edge.pre.topics) == 1 else edge.name
        self._process, self._send = f"process {source}", f"send {edge.post.topic}"
        self._of_pre = _of_broker("process", edge.pre.broker.host, edge.pre.broker.port)
        self._of_post = _of_broker("send", edge.post.broker.host, edge.post.broker.port)

    @property
    def notices(self) -> list[str]:
        trouble = self._queue.trouble
        return [f"spans don't reach the collector: {trouble}"] if trouble else []

    def close(self, timeout: float) -> None:
        self._queue.close(timeout)

    def begin(self, chunk: Chunk, places: range, found: Sequence[Result]) -> Sequence[Result]:
        """Of the messages at these `places`; gives their results, which carry the context on."""
        if chunk.batch.particulars.tick:
            return found  # there was no message
        parents = self._parents(chunk.batch, places)
        traced = [place for place in self._draw.of(places) if place not in parents]
        if not traced and not parents:
            return found
        changed = list(found)
        timing = _Timing(chunk, places)
        for place in (*traced, *parents):
            at = place - places.start
            parent = parents.get(place, Context())
            changed[at] = self._begin(chunk, place, parent, timing, found[at])
            if changed[at] is not None:
                chunk.unusual = True
        return changed

    def ended(self, results: ResultBatch, end: str, error: str | None) -> None:
        """These have come to this end."""
        if not results.chunk.unusual:
            return
        for payload in results.payloads:
            if isinstance(payload, TracedResult):
                if error is not None:
                    _fail(payload.sending, error)
                    _fail(payload.of.span, error)
                payload.sending.end()
                payload.of.end(end)

    def _parents(self, batch: MessageBatch, places: range) -> dict[int, Context]:
        """The contexts that messages came with, by their places."""
        found: dict[int, Context] = {}
        for place, (_, properties) in batch.particulars.about.items():
            if place in places and _PARENT.encode() in properties:
                carrier = _carrier(decode_properties(properties))
                context = self._propagator.extract(carrier, Context())
                if _context_of(context).is_valid:
                    found[place] = context
        return found

    def _begin(
        self, chunk: Chunk, place: int, parent: Context, timing: _Timing, result: Result
    ) -> Result:
        batch, fault = chunk.batch, chunk.failures.get(place)
        span = self._tracer.start_span(
            self._process,
            parent,
            SpanKind.CONSUMER,
            self._of_pre
            | {
                "messaging.destination.name": clip_utf8(batch.topics[place], _MOST_TOPIC),
                "messaging.message.body.size": len(batch.payloads[place]),
                "messaging.message.id": batch.message(place).id,
            },
            start_time=timing.arrived(place),
        )
        if not span.is_recording():
            # Somebody decided that before: whoever comes next is to know.
            return self._passed_on(result, parent)
        within = set_span_in_context(span, Context())
        self._add_stages(within, place, timing, fault)
        payloads = payloads_of(result)
        if not payloads:
            if fault is not None:
                _fail(span, fault.error, fault)
            span.set_attribute(
                "pyboot.end", "nothing to publish" if fault is None else "dead letter"
            )
            span.end()
            return result
        message = MessageSpan(span, len(payloads))
        sent = [self._sent(payload, within, message, timing.done(place)) for payload in payloads]
        return tuple(sent) if isinstance(result, tuple) else sent[0]

    def _add_stages(
        self, within: Context, place: int, timing: _Timing, fault: Fault | None
    ) -> None:
        if not timing.known:
            return
        called, done = timing.called(place), timing.done(place)
        waiting = self._tracer.start_span("pre_queue", within, start_time=timing.arrived(place))
        waiting.end(called)
        attributes: Attributes = {}
        if timing.together > 1:
            attributes["messaging.batch.message_count"] = timing.together
        model = self._tracer.start_span("model", within, attributes=attributes, start_time=called)
        if fault is not None:
            model.set_status(Status(StatusCode.ERROR, fault.kind))
        model.end(done)

    def _sent(
        self, payload: bytes, within: Context, message: MessageSpan, since: int
    ) -> TracedResult:
        topic = topic_of(payload, self._usual.topic)
        sending = self._tracer.start_span(
            self._send,
            within,
            SpanKind.PRODUCER,
            self._of_post
            | {
                "messaging.destination.name": clip_utf8(topic, _MOST_TOPIC),
                "messaging.message.body.size": len(payload),
            },
            start_time=since,
        )
        to = self._with_context(payload, set_span_in_context(sending, Context()))
        traced = TracedResult.to(to, payload)
        assert isinstance(traced, TracedResult)
        traced.sending, traced.of = sending, message
        return traced

    def _passed_on(self, result: Result, context: Context) -> Result:
        if result is None or not self._v5 or not _context_of(context).is_valid:
            return result
        made = tuple(
            Addressed.to(self._with_context(payload, context), payload)
            for payload in payloads_of(result)
        )
        return made if isinstance(result, tuple) else made[0]

    def _with_context(self, payload: bytes, context: Context) -> Destination:
        to = payload.destination if isinstance(payload, Addressed) else self._usual
        if not self._v5 or _PARENT.encode() in to.properties:
            return to  # MQTT 3.1.1 has no properties; or the model has said what comes before it
        carrier: dict[str, str] = {}
        self._propagator.inject(carrier, context)
        return replace(to, properties=to.properties + encode_user(carrier.items()))


class _Timing:
    """When the stages of a chunk's messages began, in ns of Unix time."""

    def __init__(self, chunk: Chunk, places: range) -> None:
        self._batch = chunk.batch
        self._start = places.start
        # The clock of `arrived` is another one.
        self._offset = time.time_ns() - time.monotonic_ns()
        self._now = time.time_ns()
        self.known = chunk.began > 0
        count = max(len(chunk.results), 1)
        self.together = count if chunk.as_one_call else 1
        self._began = int(chunk.began * 1e9) + self._offset
        took = int(chunk.took * 1e9)
        self._took = took if chunk.as_one_call else took // max(len(places), 1)

    def arrived(self, place: int) -> int:
        return self._batch.arrived[place] + self._offset

    def called(self, place: int) -> int:
        before = 0 if self.together > 1 else place - self._start
        return max(self._began + before * self._took, self.arrived(place))

    def done(self, place: int) -> int:
        return self.called(place) + self._took if self.known else self._now


def _of_broker(operation: str, host: str, port: int) -> Attributes:
    return {
        "messaging.system": "mqtt",
        "messaging.operation.name": operation,
        "messaging.operation.type": operation,
        "server.address": host,
        "server.port": port,
    }


def _carrier(properties: PublishProperties) -> Mapping[str, str]:
    """What a message says of its trace; nothing, where it says it twice."""
    parents = [value for name, value in properties.user if name == _PARENT]
    states = [value for name, value in properties.user if name == _STATE]
    state = ",".join(states)
    if len(parents) != 1:
        return {}
    return {_PARENT: parents[0], _STATE: state if len(state) <= _MOST_STATE else ""}


def _context_of(context: Context) -> SpanContext:
    return get_current_span(context).get_span_context()


def _fail(span: Span, error: str, fault: Fault | None = None) -> None:
    """Its status, and for a fault of the model's the exception."""
    kind, message = exception_in(error)
    span.set_status(Status(StatusCode.ERROR, clip_utf8(message, _MOST_TOPIC)))
    if fault is None:
        return
    span.set_attribute("error.type", kind or fault.kind)
    span.add_event(
        "exception",
        {
            "exception.type": kind or fault.kind,
            "exception.message": clip_utf8(message, _MOST_ERROR),
            "exception.stacktrace": clip_utf8(error, _MOST_ERROR),
        },
    )
