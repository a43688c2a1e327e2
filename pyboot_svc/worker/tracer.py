"""Who wants to know of the messages that pass: those who look at samples, and OpenTelemetry.

Whoever handles messages looks at one flag. With nobody there is nothing more to it; for somebody
who looks, a few a second are noted at their ends, where all is known, without waiting for anything,
and the rest is counted.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Protocol

from pyboot_svc.text import clip_utf8
from pyboot_svc.topics import is_subscribed
from pyboot_svc.tracing.wish import Wish
from pyboot_svc.worker.messages import Chunk, Result, ResultBatch, topic_of

MOST_WATCHES = 4
# Of one who looks: so many a second, and so many that wait to be read.
MOST_A_SECOND = 50
MOST_WAITING = 200
# Of a payload, and of an error.
MOST_BYTES = 1000
_MOST_TOPICS = 1000
_MS = 1e6

log = logging.getLogger(__name__)


class Sample(NamedTuple):
    """A message at its end. The clock `ended` is Unix time; the stages are in ns, None unknown."""

    ended: float
    topic: str
    payload: bytes
    size: int
    end: str
    stages: tuple[int | None, int | None, int | None]
    # So many the model had in one go; its time is their mean.
    together: int
    to: str | None = None
    result: bytes | None = None
    result_size: int = 0
    error: str | None = None

    def document(self) -> dict[str, Any]:
        """As JSON has it; what is not UTF-8 is shown as escapes."""
        names = ("wait", "model", "out")
        found: dict[str, Any] = {
            "time": round(self.ended, 6),
            "topic": self.topic,
            "input": _text(self.payload),
            "bytes": self.size,
            "end": self.end,
            "to": self.to,
            "ms": {
                name: None if took is None else round(took / _MS, 3)
                for name, took in zip(names, self.stages, strict=True)
            },
            "together": self.together,
        }
        if self.result is not None:
            found |= {"result": _text(self.result), "result_bytes": self.result_size}
        if self.error is not None:
            found["error"] = self.error
        return found


class Spans(Protocol):
    """Spans of messages, which results carry on."""

    @property
    def notices(self) -> list[str]: ...
    def begin(self, chunk: Chunk, places: range, found: Sequence[Result]) -> Sequence[Result]: ...
    def ended(self, results: ResultBatch, end: str, error: str | None) -> None: ...


class Tracer:
    """`on` while somebody looks, or there are spans. `usual` is the topic of results that have none
    of their own."""

    def __init__(self, usual: str) -> None:
        self.usual = usual
        self.on = False
        # Whoever hands results on asks whether there are any.
        self.spans: Spans | None = None
        # Replaced as a whole, since model threads read it.
        self._watches: tuple[Sampler, ...] = ()

    def watch(self, wish: Wish) -> Sampler | None:
        """Begin to take samples for somebody; None when as many as may look already."""
        if len(self._watches) >= MOST_WATCHES:
            return None
        made = Sampler(wish, self)
        self._watches = (*self._watches, made)
        self.on = True
        return made

    def leave(self, watch: Sampler) -> None:
        self._watches = tuple(other for other in self._watches if other is not watch)
        self.on = bool(self._watches) or self.spans is not None

    def export(self, spans: Spans) -> None:
        """From now on there are spans."""
        self.spans = spans
        self.on = True

    @property
    def notices(self) -> list[str]:
        return [] if self.spans is None else self.spans.notices

    def handed_on(self, chunk: Chunk, places: range, found: Sequence[Result]) -> Sequence[Result]:
        """The results of messages at these places, with the context of their spans."""
        if self.spans is None:
            return found
        try:
            return self.spans.begin(chunk, places, found)
        except Exception:
            self._fail("spans failed, and are over")
            return found

    def ended_with(self, results: ResultBatch, end: str, error: str | None = None) -> None:
        """These results have come to this `end`, and with them their inputs."""
        if self.spans is not None:
            try:
                self.spans.ended(results, end, error)
            except Exception:
                self._fail("spans failed, and are over")
        self._ended(results.chunk, results.places, end, results.payloads, error)

    def ended_without(self, chunk: Chunk, places: Sequence[int], end: str) -> None:
        """Of these there is no result; those that failed say why in their chunk."""
        self._ended(chunk, places, end, (), None)

    def _ended(
        self,
        chunk: Chunk,
        places: Sequence[int],
        end: str,
        payloads: Sequence[bytes],
        error: str | None,
    ) -> None:
        if chunk.batch.particulars.tick:
            return  # there was no message
        try:
            for watch in self._watches:
                for at in watch.chosen(chunk, places, failed=error is not None):
                    result = payloads[at] if payloads else None
                    watch.add(self._sample(chunk, places[at], end, result, error))
        except Exception:
            self._fail("a trace failed, and is over")

    def _fail(self, what: str) -> None:
        """Whatever is wrong here, the messages go their way."""
        log.exception(what)
        self._watches, self.spans, self.on = (), None, False

    def _sample(
        self, chunk: Chunk, place: int, end: str, result: bytes | None, error: str | None
    ) -> Sample:
        batch, fault = chunk.batch, chunk.failures.get(place)
        if fault is not None:
            error = f"{fault.kind}: {fault.error}"
        payload = batch.payloads[place]
        return Sample(
            time.time(),
            clip_utf8(batch.topics[place], MOST_BYTES),
            payload[:MOST_BYTES],
            len(payload),
            end,
            _stages(chunk, place),
            len(chunk.results),
            None if result is None else clip_utf8(topic_of(result, self.usual), MOST_BYTES),
            None if result is None else bytes(result[:MOST_BYTES]),
            0 if result is None else len(result),
            None if error is None else clip_utf8(error, MOST_BYTES),
        )


class Sampler:
    """The samples for one who looks: those of its wish, a bounded number."""

    def __init__(self, wish: Wish, tracer: Tracer) -> None:
        self._wish = wish
        self._tracer = tracer
        self._samples: deque[Sample] = deque(maxlen=MOST_WAITING)
        self._wanted: dict[str, bool] = {}
        self._second = 0
        self._left = 0
        # How many passed that it was not shown, and of how many of them it was told.
        self._skipped = self._told = 0

    def chosen(self, chunk: Chunk, places: Sequence[int], *, failed: bool) -> Sequence[int]:
        """Which of the `places` to note, by their position."""
        second = int(time.monotonic())
        if second != self._second:
            self._second, self._left = second, MOST_A_SECOND
        wanted = self._wanted_of(chunk, places, failed)
        chosen = wanted[: self._left]
        self._left -= len(chosen)
        self._skipped += len(wanted) - len(chosen)
        return chosen

    def add(self, sample: Sample) -> None:
        if len(self._samples) == MOST_WAITING:
            self._skipped += 1  # the oldest makes room
        self._samples.append(sample)

    def documents(self) -> Iterator[dict[str, Any]]:
        while self._samples:
            try:
                sample = self._samples.popleft()
            except IndexError:
                break
            yield sample.document()
        if (skipped := self._skipped - self._told) > 0:
            self._told += skipped
            yield {"skipped": skipped}

    def close(self) -> None:
        self._tracer.leave(self)

    def _wanted_of(self, chunk: Chunk, places: Sequence[int], failed: bool) -> Sequence[int]:
        wanted: Sequence[int] = range(len(places))
        if self._wish.errors and not failed:
            failures = chunk.failures
            wanted = [at for at in wanted if places[at] in failures] if failures else ()
        if self._wish.topic is not None:
            topics, wants = chunk.batch.topics, self._wants
            wanted = [at for at in wanted if wants(topics[places[at]])]
        return wanted

    def _wants(self, topic: str) -> bool:
        known = self._wanted.get(topic)
        if known is None:
            if len(self._wanted) >= _MOST_TOPICS:
                self._wanted.clear()
            known = self._wanted[topic] = is_subscribed(str(self._wish.topic), topic)
        return known


def _stages(chunk: Chunk, place: int) -> tuple[int | None, int | None, int | None]:
    """How long it waited for the model, was in it, and was on its way out since."""
    if not chunk.began:
        return None, None, None
    began, took = int(chunk.began * 1e9), int(chunk.took * 1e9)
    out = time.monotonic_ns() - began - took
    wait = began - chunk.batch.arrived[place]
    return max(wait, 0), took // max(len(chunk.results), 1), max(out, 0)


def _text(payload: bytes) -> str:
    return payload.decode("utf-8", "backslashreplace")
