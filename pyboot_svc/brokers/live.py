"""What arrives at a model's input, beside the workers: copies, at QoS 0."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator, Sequence
from queue import Empty, SimpleQueue

from pyboot_svc.config import Edge, InstanceConfig
from pyboot_svc.errors import UnavailableError
from pyboot_svc.text import printable
from pyboot_svc.worker.messages import TICK, MessageBatch
from pyboot_svc.worker.mqtt.guest import Guest, stay
from pyboot_svc.worker.mqtt.inbox import REFUSED
from pyboot_svc.worker.mqtt.interfaces import BrokerLimits, Link
from pyboot_svc.worker.mqtt.session.retained import NoRetained

# Messages that wait for the model; what comes beyond is left out.
_MOST_WAITING = 10_000
_LOOK_SECONDS = 0.2
_FAREWELL_SECONDS = 2.0
_QUIET_SECONDS = 10.0

log = logging.getLogger(__name__)


class LiveInput(Guest):
    """A session of its own, subscribed to `filters`; a context manager. It comes back when the
    connection is lost; until it has been subscribed once, whatever is in its way is an error."""

    def __init__(self, config: InstanceConfig, filters: Sequence[str]) -> None:
        """Raises ConfigError for files that can't be used."""
        self._broker = config.edge.pre.broker.address
        self._filters = filters
        self._sieve = NoRetained() if config.edge.retained == "ignore" else None
        self._arrived: SimpleQueue[MessageBatch | None] = SimpleQueue()
        # Those that the broker has not granted yet.
        self._asked: set[str] = set()
        self._link: Link
        self._subscribed = self._stopping = False
        # Until when nothing is said of there being no message; inf once one came, or it was said.
        self._quiet_until = math.inf
        self._connection = stay(config, self)
        # How many came while too many waited.
        self.left_out = 0

    def __enter__(self) -> LiveInput:
        self._connection.start(self.stop)
        return self

    def __exit__(self, *error: object) -> None:
        self._connection.stop(_FAREWELL_SECONDS)

    def stop(self) -> None:
        """Give nothing more; may be called by a signal's handler."""
        self._stopping = True
        self._arrived.put(None)

    @property
    def stopping(self) -> bool:
        return self._stopping

    def next(self, most: int, due: float) -> MessageBatch | None:
        """The next messages, `most` at most; None when there is none until `due`, by the monotonic
        clock, or when it is stopped. Raises UnavailableError."""
        batch = self._wait(due)
        while batch is not None and len(batch) < most:
            try:
                more = self._arrived.get_nowait()
            except Empty:
                break
            if more is None:
                break
            batch.extend(more)
        return batch

    def require_input(self) -> None:
        """Raises UnavailableError unless it has been subscribed."""
        if not self._subscribed:
            reason = self._connection.status.reason or "not subscribed yet"
            raise UnavailableError(f"pre broker {self._broker}: {reason}")

    def _wait(self, due: float) -> MessageBatch | None:
        while not self._stopping:
            left = due - time.monotonic()
            if left <= 0:
                return None
            try:
                return self._arrived.get(timeout=min(left, _LOOK_SECONDS))
            except Empty:
                self._look()
        return None

    def _look(self) -> None:
        if self._connection.status.state == "unreachable":
            self.require_input()
        if time.monotonic() > self._quiet_until:
            self._quiet_until = math.inf
            log.warning(
                "no message on %s yet: is it the topic that is published to, to the letter, and do "
                "the broker's access rules let it through?",
                printable(" and ".join(self._filters)),
            )

    # What the connection tells:

    def on_connected(self, link: Link, session_present: bool, limits: BrokerLimits) -> None:
        self._link = link
        self._asked = {*self._filters}
        for topic_filter in self._filters:
            link.subscribe(topic_filter, 0)

    def on_subscribed(self, topic_filter: str, code: int, reason: str) -> None:
        if code >= REFUSED:
            said = f"the subscription to {printable(topic_filter)} was refused: {reason}"
            self._link.drop(said, refused=True)
            return
        self._asked.discard(topic_filter)
        if not self._asked and not self._subscribed:
            self._subscribed = True
            self._quiet_until = time.monotonic() + _QUIET_SECONDS
            log.info("subscribed to %s", printable(" and ".join(self._filters)))

    def on_messages(self, batch: MessageBatch) -> None:
        self._quiet_until = math.inf
        news = self._sieve.sift(batch)[0] if self._sieve is not None else batch
        for place in range(len(news) if news is not None else 0):
            assert news is not None
            if self._arrived.qsize() >= _MOST_WAITING:
                self.left_out += 1
            else:
                self._arrived.put(news.part(place, place + 1))


def calls_due(
    live: LiveInput, edge: Edge, at_once: int, most: int | None, seconds: float | None
) -> Iterator[MessageBatch]:
    """What is for the model as it comes: messages, `at_once` at most, and ticks where it has them;
    until `live` is stopped, `most` messages have come or so many seconds are over.

    Raises UnavailableError when the input can't be subscribed to.
    """
    now = time.monotonic()
    end = math.inf if seconds is None else now + seconds
    tick_due = math.inf if edge.every is None else now + edge.every
    left = math.inf if most is None else most
    while left > 0 and not live.stopping and time.monotonic() < end:
        batch = live.next(int(min(at_once, left)), min(end, tick_due))
        if batch is not None:
            left -= len(batch)
            yield batch
        if edge.every is not None and time.monotonic() >= tick_due and not live.stopping:
            tick_due = time.monotonic() + edge.every
            yield MessageBatch([""], [b""], [0], [time.monotonic_ns()], particulars=TICK)
    if not live.stopping:
        live.require_input()
