"""Spans on their way to a collector: as many as there is room for wait, and a thread sends them.

Nobody waits for it: where the collector is away, or slow, the oldest spans make room.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from pyboot_svc.backoff import Backoff
from pyboot_svc.logs import RateLimit
from pyboot_svc.text import printable
from pyboot_svc.threads import spawn

_SAID_SECONDS = 600.0
_LONGEST_PAUSE_SECONDS = 30.0
_MOST_SPANS = 1_000_000
# In characters; the library quotes what it was told by others.
_LONGEST_REASON = 400

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class QueueBounds:
    """How many spans wait at most, how many go together, and after how many seconds they go."""

    waiting: int = 2048
    together: int = 512
    seconds: float = 5.0

    @classmethod
    def of(cls, variables: Mapping[str, str]) -> QueueBounds:
        """As OpenTelemetry's variables say; what is no number from 1 on is passed over."""

        def number(name: str, usual: int) -> int:
            given = variables.get(name, "")
            wanted = int(given) if given.isascii() and given.isdecimal() else 0
            return min(wanted, _MOST_SPANS) or usual

        waiting = number("OTEL_BSP_MAX_QUEUE_SIZE", cls.waiting)
        together = number("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", cls.together)
        delay = number("OTEL_BSP_SCHEDULE_DELAY", int(cls.seconds * 1000))
        return cls(waiting, min(together, waiting), delay / 1000)


class SpanQueue(SpanProcessor):
    """Takes spans that have ended. `dropped` is told how many never reach the collector.

    `url` is where `exporter` sends them, for those who read the log.
    """

    def __init__(
        self,
        exporter: SpanExporter,
        url: str,
        bounds: QueueBounds,
        dropped: Callable[[int], None],
    ) -> None:
        self._exporter = exporter
        self._url = url
        self._bounds = bounds
        self._dropped = dropped
        self._waiting: deque[ReadableSpan] = deque(maxlen=bounds.waiting)
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._backoff = Backoff(bounds.seconds, max(bounds.seconds, _LONGEST_PAUSE_SECONDS))
        # Why the last attempt failed; empty when it did not.
        self.trouble = ""
        self._said = RateLimit(1, _SAID_SECONDS)
        self._told = False
        self._thread = spawn("traces", self._run, on_crash=self._crashed)

    def on_end(self, span: ReadableSpan) -> None:
        if len(self._waiting) == self._bounds.waiting:
            self._dropped(1)  # the oldest makes room
        self._waiting.append(span)
        if len(self._waiting) >= self._bounds.together and not self._wake.is_set():
            self._wake.set()

    def close(self, timeout: float) -> None:
        """Send what waits, for `timeout` seconds at most, and nothing while the collector is away.
        The rest is dropped."""
        deadline = time.monotonic() + timeout
        self._closing.set()
        self._wake.set()
        if not self.trouble:
            self._thread.join(max(deadline - time.monotonic(), 0))
        if self._waiting:
            self._dropped(len(self._waiting))

    def _crashed(self) -> None:
        self.trouble = "an internal error"

    def _run(self) -> None:
        # The library says each time what is said once here.
        logger = logging.getLogger(type(self._exporter).__module__)
        self._reasons = _Reasons(threading.get_ident())
        logger.addFilter(self._reasons)
        try:
            while not self._closing.is_set():
                if self.trouble:
                    # Whatever comes meanwhile: one that is away is not asked more often.
                    if self._closing.wait(self._backoff.next()):
                        break
                else:
                    self._wake.wait(self._bounds.seconds)
                self._wake.clear()
                while self._waiting and self._send():
                    pass
        finally:
            logger.removeFilter(self._reasons)

    def _send(self) -> bool:
        """Some of what waits; whether to go on."""
        spans: list[ReadableSpan] = []
        while self._waiting and len(spans) < self._bounds.together:
            spans.append(self._waiting.popleft())
        failure = self._failure(spans)
        if failure:
            self._dropped(len(spans))
            self._say_away(failure)
        elif self.trouble:
            self._backoff.reset()
            if self._told:
                self._told = False
                log.info("spans reach %s again", self._url)
        self.trouble = failure
        return not failure

    def _failure(self, spans: list[ReadableSpan]) -> str:
        self._reasons.first = ""
        try:
            if self._exporter.export(spans) is SpanExportResult.SUCCESS:
                return ""
        except Exception as error:  # a library's, of whatever is wrong with the network
            return f"{type(error).__name__}: {error}"
        return self._reasons.first or "it failed"

    def _say_away(self, failure: str) -> None:
        if not self.trouble and self._said.admit("away") is not None:
            self._told = True
            log.warning(
                "spans don't reach %s: %s; messages go on without, up to %d spans wait",
                self._url,
                printable(failure, _LONGEST_REASON),
                self._bounds.waiting,
            )


class _Reasons(logging.Filter):
    """Keeps what the exporter says in this thread out of the log, and of it the first: the last is
    that it gives up."""

    def __init__(self, thread: int) -> None:
        super().__init__()
        self._thread = thread
        self.first = ""

    def filter(self, record: logging.LogRecord) -> bool:
        if record.thread != self._thread:
            return True
        self.first = self.first or record.getMessage()
        return False
