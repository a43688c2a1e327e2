"""A whole pipeline without a broker: messages are handed in, and results taken, in memory."""

from __future__ import annotations

import json
import logging
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, cast

import pytest
from support.columns import batch_of
from support.disk import SmallDisk
from support.poll import until
from support.store import POST, configured, rows

from pyboot_svc.config import BatchLimits, OnError, QueueLimits, SpoolLimits
from pyboot_svc.metrics.snapshot import ConnectionStatus, Counters, as_document
from pyboot_svc.model.context import Context
from pyboot_svc.model.loader import Model
from pyboot_svc.model.state import CallState
from pyboot_svc.threads import spawn
from pyboot_svc.worker.durables import Durables
from pyboot_svc.worker.execution.pool import NoIdleWork
from pyboot_svc.worker.messages import (
    Chunk,
    Message,
    MessageBatch,
    Particulars,
    ResultBatch,
    Sendable,
    StoredMessage,
    count_of,
)
from pyboot_svc.worker.mqtt.interfaces import Count, Deliver, Source
from pyboot_svc.worker.pipeline import Links, Pipeline
from pyboot_svc.worker.storage.writer import DATABASE_NAME

AWAY = ConnectionStatus("10.0.0.1:1883", "unreachable", "connection refused", 0.0)
CONNECTED = ConnectionStatus("10.0.0.1:1883", "connected", "", 0.0)


# What the broker waits for an acknowledgement of: by which connection it came, and its number.
Held = tuple[int, int]


class MemoryInbox:
    """The test is the pre broker."""

    def __init__(self) -> None:
        self.status = CONNECTED
        self.overdue = -1.0
        self.subscribed = True
        self.quiet_seconds = 0.0
        self.left = False
        self.acknowledged: list[Held] = []
        self.session = 1
        self._last_mid = 0
        self.closed = threading.Event()
        self.stopped = False
        self.notices: list[str] = []
        self.commands: list[tuple[str, bytes]] = []
        self._deliver: Deliver = lambda batch: None
        self.crowded: Callable[[], bool] = bool

    def command(self, topic: str, payload: bytes) -> None:
        self.commands.append((topic, payload))

    def leave(self) -> None:
        self.left = True
        self.quiet_seconds = 60.0

    def start(
        self,
        deliver: Deliver,
        unacknowledged: Callable[[], int],
        crowded: Callable[[], bool],
        count: Count,
        on_crash: Callable[[], None],
    ) -> None:
        self._deliver = deliver
        self.crowded = crowded

    def send(self, *payloads: bytes, qos: int = 0, retained: bool = False) -> list[Held]:
        """Gives what is to be acknowledged."""
        return self.send_mixed(*((payload, qos) for payload in payloads), retained=retained)

    def send_mixed(self, *messages: tuple[bytes, int], retained: bool = False) -> list[Held]:
        """Payloads, each with its QoS."""
        packet_ids = [self._next_mid() if qos else 0 for _, qos in messages]
        held = [(self.session, mid) for mid in packet_ids if mid]
        batch = batch_of(
            [payload for payload, _ in messages],
            packet_ids=packet_ids,
            arrived=time.monotonic_ns(),
            session=self.session,
            origin=self,
            particulars=Particulars(retained=range(len(messages)) if retained else ()),
        )
        self._deliver(batch)
        return held

    def reconnect(self) -> None:
        """What comes by the next connection is numbered anew."""
        self.session += 1
        self._last_mid = 0

    def acknowledge(self, batch: MessageBatch, start: int, stop: int) -> None:
        packet_ids = batch.packet_ids[start:stop]
        self.acknowledged.extend((batch.session, mid) for mid in packet_ids if mid)

    def _next_mid(self) -> int:
        self._last_mid += 1
        return self._last_mid

    def close_intake(self) -> None:
        self.closed.set()

    def stop(self, timeout: float) -> None:
        assert timeout > 0
        self.stopped = True


class MemoryOutbox:
    """The test is the post broker: away, not taking anything, or leaving it unanswered.

    As the real one does, it calls its source from one thread.
    """

    def __init__(self) -> None:
        self.away = False
        self.full = False
        self.room = 100
        self.answers = True
        self.sent: list[Sendable] = []
        self.alone = 0
        self.unanswered: list[Sendable] = []
        self.stopped = False
        self.up = False
        self._lock = threading.Lock()
        self._woken = threading.Event()
        self._status: ConnectionStatus | None = None

    @property
    def status(self) -> ConnectionStatus:
        return self._status or (AWAY if self.away else CONNECTED)

    @status.setter
    def status(self, status: ConnectionStatus) -> None:
        self._status = status

    @property
    def overdue(self) -> float:
        return -1.0

    trouble: str | None = None

    @property
    def in_flight(self) -> int:
        return sum(map(count_of, self.unanswered))

    def start(self, source: Source, on_crash: Callable[[], None]) -> None:
        self._source = source
        self._thread = spawn("post", self._run, on_crash)

    def wake(self) -> None:
        self._woken.set()

    try_send = wake

    def send_lone(self, chunk: Chunk) -> bool:
        with self._lock:
            if not self.up or self.full or (self.answers and self.unanswered):
                return False
            if not self._source.is_next(chunk):
                return False
            results = ResultBatch(chunk, range(1), cast("list[bytes]", chunk.results))
            self.sent.append(results)
            self.alone += 1
            if self.answers:
                self._source.published_at_once(chunk)
            else:
                self.unanswered.append(results)
                self._source.on_its_way(results)
            return True

    def answer(self, *, refuse: bool = False) -> None:
        with self._lock:
            self._answer(refuse=refuse)

    def answer_first(self, count: int) -> None:
        """So many messages, and no more of them."""
        with self._lock:
            safe: list[Sendable] = []
            while count:
                first = self.unanswered.pop(0)
                size = count_of(first)
                if size > count:
                    assert isinstance(first, ResultBatch)
                    self.unanswered.insert(0, first.part(count, size))
                    first, size = first.part(0, count), count
                safe.append(first)
                count -= size
            self._source.delivered(safe)

    def go_away(self) -> None:
        self.away = True
        self.wake()
        until(lambda: not self.up, "the connection is lost")

    def come_back(self) -> None:
        self.away = self.full = False
        self.wake()

    def leaving(self, *, for_good: bool = False) -> None: ...
    def stop(self, timeout: float) -> None:
        assert timeout > 0
        self.stopped = True
        self.wake()
        self._thread.join(20)

    def _run(self) -> None:
        while not self.stopped:
            self._woken.wait(0.05)
            self._woken.clear()
            with self._lock:
                self._turn()
        with self._lock:
            self._lose()

    def _turn(self) -> None:
        if self.away:
            self._lose()
            return
        if not self.up:
            self.up = True
            self._source.connected()
        while not self.full and (taken := self._take()):
            self.sent.extend(taken)
            self.unanswered.extend(taken)
            if self.answers:
                self._answer(refuse=False)

    def _take(self) -> list[Sendable]:
        rows = self._source.take_rows(self.room)
        results = self._source.take_results(self.room - len(rows))
        assert sum(map(len, results)) <= self.room - len(rows)
        return [*rows, *results]

    def _lose(self) -> None:
        if self.up:
            self.up = False
            unsafe, self.unanswered = self.unanswered, []
            self._source.lost(unsafe)

    def _answer(self, *, refuse: bool) -> None:
        if refuse:
            self._source.refused(self.unanswered, "the post broker: not authorized")
        elif self.unanswered:
            self._source.delivered(self.unanswered)
        self.unanswered = []


class Line:
    """One pipeline with both its ends in the test's hands."""

    def __init__(
        self, model: Callable[[Any, Context], Any], folder: Path, away: bool, settings: Any
    ) -> None:
        config = configured(**settings)
        self.inbox = MemoryInbox()
        self.outbox = MemoryOutbox()
        self.outbox.away = away
        self.crashed = threading.Event()
        safe = Durables(config, folder)
        self.pipeline = Pipeline(
            config,
            Model(model),
            lambda: Context(
                "test-1", Path(), logging.getLogger("model"), state=CallState(safe.state)
            ),
            safe,
            Links(self.inbox, self.outbox, NoIdleWork()),
        )
        self.pipeline.start(self.crashed.set)
        if not away:
            until(lambda: self.outbox.up, "connected")

    @property
    def figures(self) -> dict[str, Any]:
        return as_document(self.pipeline.figures())

    def counter(self, name: str) -> int:
        return self.figures["counters"][name]  # type: ignore[no-any-return]

    def wait_processed(self, count: int) -> None:
        until(lambda: self.counter("processed") == count, f"{count} processed")

    @property
    def results(self) -> list[bytes]:
        """Those that came straight from the model, and those that came by the spool."""
        found: list[bytes] = []
        for item in self.outbox.sent:
            if isinstance(item, ResultBatch):
                found += item.payloads
            elif item.topic == "out":
                found.append(item.payload)
        return found

    @property
    def dead_letters(self) -> list[StoredMessage]:
        rows = (item for item in self.outbox.sent if isinstance(item, StoredMessage))
        return [row for row in rows if row.topic == "pyboot/dead"]


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """Models wait for it; it opens at the end of the test at the latest."""
    event = threading.Event()
    yield event
    event.set()


@pytest.fixture
def start(gate: threading.Event, tmp_path: Path) -> Iterator[Callable[..., Line]]:
    lines: list[Line] = []

    def make(
        model: Callable[[Any, Context], Any],
        pre: int = 10_000,
        post: int = 10_000,
        overflow: str = "drop_oldest",
        away: bool = False,
        most_bytes: int = 64 * 1024**2,
        folder: Path = tmp_path,
        post_qos: int = POST.qos,
        **settings: Any,
    ) -> Line:
        settings["post"] = POST._replace(qos=post_qos)
        settings["queue"] = QueueLimits(pre, post, overflow, most_bytes)
        lines.append(Line(model, folder, away, settings))
        return lines[-1]

    yield make
    gate.set()
    for line in lines:
        line.pipeline.drain(0)
        assert not line.crashed.is_set()


def echo(payload: Any, context: Context) -> Any:
    return payload


def numbers(count: int) -> list[bytes]:
    return [b"%d" % number for number in range(count)]


@pytest.mark.parametrize("post_qos", [0, 1])
@pytest.mark.parametrize("threads", [1, 8])
def test_results_and_acknowledgements_in_order_of_arrival(
    start: Callable[..., Line], threads: int, post_qos: int
) -> None:
    """Those that come alone, with nothing before them, go by no queue."""

    def model(payload: int, context: Context) -> int | None:
        if payload % 7 == 0:
            raise ValueError(payload)
        return None if payload % 3 == 0 else payload

    line = start(model, threads=threads, post_qos=post_qos)
    sent: list[Held] = []
    for first in range(0, 300, 30):
        sent += line.inbox.send(*numbers(300)[first : first + 30], qos=1)
    until(lambda: len(line.inbox.acknowledged) == 300, "all acknowledged")
    assert line.inbox.acknowledged == sent
    failed = [n for n in range(300) if n % 7 == 0]
    silent = [n for n in range(300) if n % 7 and n % 3 == 0]
    published = [n for n in range(300) if n % 7 and n % 3]
    assert line.results == [b"%d" % number for number in published]
    until(lambda: len(line.dead_letters) == len(failed), "the dead letters are published")
    assert {item.payload for item in line.dead_letters} == {b"%d" % number for number in failed}
    assert line.figures["errors"] == {"model": len(failed)}
    assert line.figures["counters"] == {
        **dict.fromkeys(Counters._fields, 0),
        "received": 300,
        "processed": 300,
        "published": len(published),
        "nothing_to_publish": len(silent),
    }
    assert line.figures["unacknowledged"] == 0


@pytest.mark.parametrize("post_qos", [0, 1])
def test_a_result_that_comes_alone_goes_by_no_queue(
    post_qos: int, start: Callable[..., Line]
) -> None:
    line = start(lambda payload, context: payload, threads=1, post_qos=post_qos)
    for number in range(5):
        line.inbox.send(b"%d" % number)
        until(lambda number=number: line.counter("published") == number + 1, "published")  # type: ignore[misc]
    assert line.results == [b"%d" % number for number in range(5)]
    assert line.outbox.alone == 5
    assert line.figures["held_bytes"] == 0


def test_one_that_comes_alone_is_held_until_the_broker_answers(start: Callable[..., Line]) -> None:
    line = start(lambda payload, context: payload, threads=1, post_qos=1)
    line.outbox.answers = False
    for number in range(5):
        line.inbox.send(b"%d" % number, qos=1)
        until(lambda number=number: line.outbox.alone == number + 1, "it is on its way")  # type: ignore[misc]
    assert line.inbox.acknowledged == []
    until(lambda: line.counter("processed") == 5, "all are counted")
    assert line.figures["held_bytes"] > 0
    line.outbox.answer()
    until(lambda: len(line.inbox.acknowledged) == 5, "acknowledged")
    assert (line.counter("published"), line.figures["held_bytes"]) == (5, 0)
    assert line.results == [b"%d" % number for number in range(5)]


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


@pytest.mark.parametrize("threads", [1, 8])
def test_acknowledgements_go_to_the_connection_that_brought_the_messages(
    start: Callable[..., Line], gate: threading.Event, threads: int
) -> None:
    line = start(lambda payload, context: gate.wait(60) and payload, threads=threads)
    sent = line.inbox.send(*numbers(20), qos=1)
    line.inbox.reconnect()
    sent += line.inbox.send(*numbers(20), qos=1)  # the broker sends them again: it has no answer
    sent += line.inbox.send(*numbers(30)[20:], qos=1)
    assert line.figures["unacknowledged"] == 50
    gate.set()
    until(lambda: len(line.inbox.acknowledged) == 50, "all acknowledged")
    assert line.inbox.acknowledged == sent
    assert sent[:20] + sent[20:40] == [(s, mid) for s in (1, 2) for mid in range(1, 21)]
    assert line.results == numbers(20) + numbers(30)
    assert line.figures["unacknowledged"] == 0


@pytest.mark.parametrize("threads", [1, 8])
def test_of_mixed_messages_those_of_qos_0_are_not_acknowledged(
    start: Callable[..., Line], gate: threading.Event, threads: int
) -> None:
    line = start(lambda payload, context: gate.wait(60) and payload, threads=threads)
    sent = line.inbox.send_mixed(*((payload, int(payload) % 3 % 2) for payload in numbers(30)))
    line.inbox.send(*numbers(35)[30:])
    line.inbox.send(*numbers(40)[35:], retained=True)
    sent += line.inbox.send(*numbers(45)[40:], qos=1)
    assert len(sent) == line.figures["unacknowledged"] == 15
    gate.set()
    until(lambda: line.counter("published") == 45, "all is published")
    until(lambda: line.inbox.acknowledged == sent, "acknowledged")
    assert line.results == numbers(45)
    assert line.figures["unacknowledged"] == 0


def test_a_refused_result_is_an_error_and_its_input_a_dead_letter(
    start: Callable[..., Line], tmp_path: Path
) -> None:
    line = start(echo)
    line.outbox.answers = False
    sent = line.inbox.send(b"1", qos=1)
    until(lambda: line.outbox.in_flight == 1, "in flight")
    line.outbox.answer(refuse=True)
    until(lambda: line.inbox.acknowledged == sent, "acknowledged")
    [(payload, kind, error)] = rows(tmp_path, "SELECT payload, kind, error FROM dead")
    assert (payload, kind, error) == (b"1", "refused", "the post broker: not authorized")
    assert (line.figures["errors"], line.counter("published")) == ({"refused": 1}, 0)


def test_latency_is_there_once_something_was_published(start: Callable[..., Line]) -> None:
    line = start(echo)
    line.inbox.send(b"1")
    until(lambda: line.counter("published") == 1, "published")
    assert line.figures["latency_ms"]["p99"] > 0


def test_a_drop_for_want_of_bytes_names_the_key(
    start: Callable[..., Line], gate: threading.Event, caplog: pytest.LogCaptureFixture
) -> None:
    line = start(lambda payload, context: gate.wait(60) and payload, most_bytes=10_000, pre_qos=0)
    for _ in range(5):
        line.inbox.send(b'"' + b"x" * 4000 + b'"')
    assert line.counter("dropped") > 0
    said, *_ = [record.getMessage() for record in caplog.records]
    assert said.startswith("queue.bytes is full: dropped ")
    assert "raise `queue.bytes`" in said
    gate.set()


@pytest.mark.parametrize(
    ("overflow", "dropped", "kept"),
    [
        ("drop_newest", 12, [*range(10), *range(4)]),
        ("drop_oldest", 16, [*range(1, 7), *range(4)]),
    ],
)
def test_a_full_pre_queue_drops_qos_0_and_counts_it(
    start: Callable[..., Line],
    gate: threading.Event,
    caplog: pytest.LogCaptureFixture,
    overflow: str,
    dropped: int,
    kept: list[int],
) -> None:
    line = start(lambda payload, context: gate.wait(60) and payload, pre=10, overflow=overflow)
    line.inbox.send(b"1")
    until(lambda: line.figures["pre_queue"] == 0, "the model has the first one")
    line.inbox.send(*numbers(15))
    line.inbox.send(*numbers(7))
    assert (line.figures["pre_queue"], line.counter("dropped")) == (10, 12)
    line.inbox.send(*numbers(4), qos=1)
    assert line.figures["pre_queue"] == len(kept)
    assert line.counter("dropped") == dropped
    assert line.counter("received") == 27
    said, *_ = [record.getMessage() for record in caplog.records]
    assert "pre_queue is full: dropped 5 messages of QoS 0; the model is too slow" in said
    gate.set()
    line.wait_processed(1 + len(kept))
    results = [b"1", *(b"%d" % number for number in kept)]
    until(lambda: line.results == results, "published")


def test_a_full_post_queue_stops_the_model_and_that_fills_the_pre_queue(
    start: Callable[..., Line],
) -> None:
    line = start(echo, pre=100, post=20, overflow="drop_newest")
    line.outbox.full = True
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
    start: Callable[..., Line], threads: int
) -> None:
    line = start(echo, post=100, threads=threads)
    line.outbox.full = True
    line.inbox.send(*numbers(5_000))

    def stands_still() -> bool:
        pre, post = line.pipeline.depths()
        return post >= 100 and pre + post == 5_000

    until(stands_still, "the model stands still")
    assert line.pipeline.depths()[1] < 2 * 100 + threads
    line.outbox.come_back()
    until(lambda: line.counter("published") == 5_000, "all is published")
    assert line.results == numbers(5_000)


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


def test_drain_with_the_post_broker_away_spools_the_results(
    start: Callable[..., Line], gate: threading.Event, tmp_path: Path
) -> None:
    line = start(lambda payload, context: gate.wait(60) and payload, away=True)
    sent = line.inbox.send(*numbers(6), qos=1)
    gate.set()
    assert line.pipeline.drain(30) == 0
    assert line.inbox.acknowledged == sent
    spooled = rows(tmp_path, "SELECT payload FROM spool ORDER BY id")
    assert spooled == [(b"%d" % number,) for number in range(6)]
    again = start(echo)
    until(lambda: again.results == numbers(6), "published after the restart")


def test_drain_spools_what_the_post_broker_never_answers(
    start: Callable[..., Line], tmp_path: Path
) -> None:
    line = start(echo)
    line.outbox.answers = False
    sent = line.inbox.send(*numbers(6), qos=1)
    until(lambda: line.outbox.in_flight == 6, "in flight")
    assert line.pipeline.drain(2.5) == 0
    assert line.inbox.acknowledged == sent
    spooled = rows(tmp_path, "SELECT payload FROM spool ORDER BY id")
    assert spooled == [(b"%d" % number,) for number in range(6)]


def test_results_are_spooled_and_acknowledged_while_the_post_broker_is_away(
    start: Callable[..., Line],
) -> None:
    line = start(echo, threads=4)
    sent = line.inbox.send(*numbers(100), qos=1)
    until(lambda: line.counter("published") == 100, "published")
    line.outbox.go_away()
    sent += line.inbox.send(*numbers(300)[100:], qos=1)
    until(lambda: line.inbox.acknowledged == sent, "acknowledged")
    assert line.counter("spooled") == line.figures["spooled"] == 200
    line.outbox.come_back()
    sent += line.inbox.send(*numbers(400)[300:], qos=1)
    until(lambda: line.counter("published") == 400, "all is published")
    assert line.results == numbers(400)
    until(lambda: line.figures["spooled"] == 0, "the spool is empty")
    until(lambda: line.inbox.acknowledged == sent, "acknowledged")


def test_what_was_in_flight_when_the_post_broker_went_is_sent_again_in_order(
    start: Callable[..., Line],
) -> None:
    line = start(echo)
    line.outbox.answers = False
    sent = line.inbox.send(*numbers(50), qos=1)
    until(lambda: line.outbox.in_flight == 50, "in flight")
    line.outbox.go_away()
    until(lambda: line.inbox.acknowledged == sent, "spooled")
    line.inbox.send(*numbers(60)[50:], qos=1)
    line.outbox.answers = True
    line.outbox.come_back()
    until(lambda: line.counter("published") == 60, "published")
    assert line.results == numbers(50) + numbers(60)


def test_a_parcel_split_by_the_room_and_answered_in_part_is_sent_again_in_order(
    start: Callable[..., Line],
) -> None:
    line = start(echo, batch=BatchLimits(100, 0))  # all are one chunk, as the model gets them
    line.outbox.answers, line.outbox.room = False, 5
    sent = line.inbox.send(*numbers(100), qos=1)
    until(lambda: line.outbox.in_flight == 100, "in flight")
    assert [count_of(item) for item in line.outbox.sent] == [5] * 20
    line.outbox.answer_first(7)
    assert line.inbox.acknowledged == sent[:7]
    assert line.outbox.in_flight == 93
    line.outbox.go_away()
    until(lambda: line.inbox.acknowledged == sent, "the rest is spooled")
    assert line.counter("spooled") == line.figures["spooled"] == 93
    line.outbox.answers = True
    line.outbox.come_back()
    until(lambda: line.counter("published") == 100, "published")
    assert line.results == numbers(100) + numbers(100)[7:]


def test_a_full_spool_takes_nothing_more_in_until_there_is_room(
    start: Callable[..., Line], caplog: pytest.LogCaptureFixture
) -> None:
    line = start(echo, post=20, spool=SpoolLimits(max_bytes=1), away=True)
    sent = line.inbox.send(*numbers(500), qos=1)
    until(lambda: "the spool is full, by the 1 bytes" in caplog.text, "the spool is full")
    until(lambda: line.figures["post_queue"] >= 20, "the model stands still")
    spooled = line.figures["spooled"]
    assert line.counter("processed") == spooled + line.figures["post_queue"]
    until(lambda: line.inbox.acknowledged == sent[:spooled], "what is spooled is acknowledged")
    line.outbox.come_back()
    until(lambda: line.counter("published") == 500, "all is published")
    assert line.results == numbers(500)
    until(lambda: line.inbox.acknowledged == sent, "acknowledged")


def test_the_last_of_a_disk_is_not_for_the_spool(
    start: Callable[..., Line], small_disk: SmallDisk, caplog: pytest.LogCaptureFixture
) -> None:
    line = start(echo, post=20, away=True, folder=small_disk.folder)
    [first] = line.inbox.send(b"1", qos=1)
    until(lambda: line.inbox.acknowledged == [first], "spooled")
    small_disk.fill(leave=16 * 1024)
    sent = line.inbox.send(*numbers(50), qos=1)
    until(lambda: "the disk is nearly full" in caplog.text, "it is said")
    assert line.figures["spooled"] == 1
    assert line.inbox.acknowledged == [first]
    small_disk.make_room()
    until(lambda: line.inbox.acknowledged == [first, *sent], "the rest is spooled")


def test_where_there_is_no_oldest_result_to_drop_input_waits(
    start: Callable[..., Line], small_disk: SmallDisk, caplog: pytest.LogCaptureFixture
) -> None:
    limits = SpoolLimits(on_full="drop_oldest")
    line = start(echo, post=20, away=True, folder=small_disk.folder, spool=limits)
    small_disk.fill(leave=16 * 1024)
    sent = line.inbox.send(*numbers(50), qos=1)
    waits = "no more input is taken in until there is room on it or the post broker is back"
    until(lambda: waits in caplog.text, "it is said")
    assert "oldest results" not in caplog.text
    small_disk.make_room()
    until(lambda: line.inbox.acknowledged == sent, "all is spooled")


def test_a_spool_that_drops_the_oldest_counts_them(
    start: Callable[..., Line], caplog: pytest.LogCaptureFixture
) -> None:
    limits = SpoolLimits(max_bytes=256 * 1024, on_full="drop_oldest")
    line = start(lambda payload, context: f"{payload:10000}", spool=limits, away=True)
    for number in range(50):
        [sent] = line.inbox.send(b"%d" % number, qos=1)
        until(lambda sent=sent: sent in line.inbox.acknowledged, "acknowledged")  # type: ignore[misc]
    until(
        lambda: line.figures["spooled"] + line.counter("spool_overflowed") == 50, "dropped for good"
    )
    assert line.counter("dropped") == 0
    kept = line.figures["spooled"]
    assert 1 <= kept <= 20
    assert "from the spool: the spool is full" in caplog.text
    assert "no more input" not in caplog.text
    line.outbox.come_back()
    until(lambda: line.counter("published") == kept, "the newest are published")
    assert [int(result.strip(b'" ')) for result in line.results] == [*range(50)][-kept:]


def test_dead_letters_wait_for_the_post_broker_and_are_kept_locally(
    start: Callable[..., Line], tmp_path: Path
) -> None:
    line = start(echo, away=True, on_error=OnError(retries=0))
    sent = line.inbox.send(b"{", b"1", qos=1)
    until(lambda: line.inbox.acknowledged == sent, "acknowledged")
    assert line.figures["dead_letters_waiting"] == 1
    line.outbox.come_back()
    until(lambda: line.results == [b"1"] and line.dead_letters, "both are published")
    [letter] = line.dead_letters
    assert (letter.payload, letter.properties["kind"]) == (b"{", "not_json")
    until(lambda: line.figures["dead_letters_waiting"] == 0, "safe with the broker")
    assert rows(tmp_path, "SELECT topic, payload, kind FROM dead") == [("in", b"{", "not_json")]


def test_a_dead_message_that_is_asked_for_again_is_processed(
    start: Callable[..., Line], tmp_path: Path
) -> None:
    good: list[int] = []

    def model(payload: int, context: Context) -> int:
        if not good:
            raise ValueError("not yet")
        return payload

    line = start(model)
    [sent] = line.inbox.send(b"1", qos=1)
    until(lambda: line.inbox.acknowledged == [sent], "acknowledged")
    good.append(1)
    with closing(sqlite3.connect(tmp_path / DATABASE_NAME)) as connection, connection:
        connection.execute("UPDATE dead SET request = 'retry'")
    line.pipeline.tick()
    until(lambda: line.results == [b"1"], "published")
    until(lambda: rows(tmp_path, "SELECT * FROM dead") == [], "forgotten")
    assert line.inbox.acknowledged == [sent]
    assert line.figures["unacknowledged"] == 0


def test_state_comes_back_after_a_restart(start: Callable[..., Line]) -> None:
    def count(payload: int, context: Context) -> int:
        context.state["count"] = context.state.get("count", 0) + payload
        return context.state["count"]  # type: ignore[no-any-return]

    line = start(count)
    line.inbox.send(b"1", b"2", qos=1)
    until(lambda: line.results == [b"1", b"3"], "published")
    assert line.pipeline.drain(30) == 0
    again = start(count)
    again.inbox.send(b"10")
    until(lambda: again.results == [b"13"], "published")


def test_what_a_drain_leaves_in_hand_is_no_suspect(
    start: Callable[..., Line], gate: threading.Event, tmp_path: Path
) -> None:
    line = start(lambda payload, context: gate.wait(60))
    line.inbox.send(b"1", qos=1)
    until(lambda: line.figures["pre_queue"] == 0, "in hand")
    assert line.pipeline.drain(1.1) == 1
    assert not Durables(configured(), tmp_path).suspects.counts


def test_a_step_of_the_stop_that_fails_keeps_no_other_from_running(
    start: Callable[..., Line],
    gate: threading.Event,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(timeout: float) -> None:
        raise OSError("the connection is in no state to be closed")

    line = start(lambda payload, context: gate.wait(60))
    line.inbox.send(b"1", qos=1)
    until(lambda: line.figures["pre_queue"] == 0, "in hand")
    monkeypatch.setattr(line.inbox, "stop", fail)
    assert line.pipeline.drain(1.1) == 1
    assert "a step of the stop failed" in caplog.text
    # The last step has run: what is in hand at a stop is no suspect.
    assert not Durables(configured(), tmp_path).suspects.counts


@pytest.mark.parametrize(("qos", "retained"), [(0, False), (0, True), (1, False)])
def test_what_is_in_hand_at_a_crash_is_a_suspect_if_it_can_come_again(
    start: Callable[..., Line],
    gate: threading.Event,
    tmp_path_factory: pytest.TempPathFactory,
    tmp_path: Path,
    qos: int,
    retained: bool,
) -> None:
    in_hand = threading.Event()

    def model(payload: int, context: Context) -> None:
        in_hand.set()
        gate.wait(60)

    start(model).inbox.send(b"1", b"2", qos=qos, retained=retained)
    assert in_hand.wait(20)
    left = tmp_path_factory.mktemp("left") / "as-by-a-crash"
    shutil.copytree(tmp_path, left)
    suspects = Durables(configured(), left).suspects
    crashes = [suspects.crashes(Message("in", payload)) for payload in (b"1", b"2")]
    assert crashes == [qos or retained, 0]


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


@pytest.mark.parametrize("threads", [1, 4])
def test_input_of_qos_0_that_a_drain_leaves_is_counted(
    start: Callable[..., Line],
    gate: threading.Event,
    threads: int,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """What waits, what a call has in hand, and what arrives after the intake was closed."""
    line = start(lambda payload, context: gate.wait(60) and payload, threads=threads)
    line.inbox.send_mixed(*((payload, int(payload) % 2) for payload in numbers(20)))
    until(lambda: line.figures["pre_queue"] <= 20 - threads, "all threads are busy")
    drain = threading.Thread(target=lambda: line.pipeline.drain(3))
    drain.start()
    assert line.inbox.closed.wait(20)
    line.inbox.send_mixed((b"20", 0), (b"21", 1), (b"22", 0))
    drain.join(20)
    assert line.counter("received") == 22  # not that of QoS 1, which comes again
    assert line.counter("dropped_at_stop") == 12
    assert line.counter("dropped") == 0
    assert "dropped 12 messages of QoS 0 that the stop left unprocessed" in caplog.text


def test_figures_have_both_brokers(start: Callable[..., Line]) -> None:
    line = start(echo)
    assert line.figures["brokers"] == {"pre": CONNECTED._asdict(), "post": CONNECTED._asdict()}


def test_not_ready_says_which_broker_and_why(start: Callable[..., Line]) -> None:
    line = start(echo)
    assert line.pipeline.not_ready() == []
    line.inbox.subscribed = False
    assert line.pipeline.not_ready() == ["not subscribed yet"]
    line.inbox.status = ConnectionStatus("pre:1883", "unreachable", "connection refused", 0.0)
    line.outbox.status = ConnectionStatus("post:1883", "connecting", "", 0.0)
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


def waiting_for(gate: threading.Event) -> Callable[[Any, Context], Any]:
    return lambda payload, context: gate.wait(60) and payload


@pytest.mark.parametrize("qos", [0, 1])
@pytest.mark.parametrize("threads", [1, 8])
@pytest.mark.parametrize("end", ["answered", "refused", "spooled"])
def test_whatever_the_end_nothing_is_held_afterwards(
    start: Callable[..., Line], end: str, threads: int, qos: int
) -> None:
    def model(payload: int, context: Context) -> int | None:
        if payload % 7 == 0:
            raise ValueError(payload)
        return None if payload % 3 == 0 else payload

    line = start(model, threads=threads, away=end == "spooled")
    line.outbox.answers = end == "answered"
    for first in range(0, 300, 30):
        line.inbox.send(*numbers(300)[first : first + 30], qos=qos)
    line.wait_processed(300)

    def nothing_held() -> bool:
        if end == "refused":
            line.outbox.answer(refuse=True)
        held: int = line.figures["held_bytes"]
        return held == 0

    until(nothing_held, "nothing is held")


def test_what_is_dropped_is_not_held(start: Callable[..., Line], gate: threading.Event) -> None:
    line = start(waiting_for(gate), pre=10)
    line.inbox.send(*numbers(100))
    line.inbox.send(*numbers(100))
    gate.set()
    line.wait_processed(200 - line.counter("dropped"))
    assert line.counter("dropped") >= 180
    until(lambda: line.figures["held_bytes"] == 0, "nothing is held")


@pytest.mark.parametrize(
    ("overflow", "kept"), [("drop_oldest", range(96, 100)), ("drop_newest", range(5))]
)
def test_what_is_of_qos_0_and_more_bytes_than_there_is_room_for_is_dropped(
    start: Callable[..., Line], gate: threading.Event, overflow: str, kept: range
) -> None:
    line = start(waiting_for(gate), overflow=overflow, most_bytes=5500, pre_qos=0)
    for number in range(0, 100, 10):
        line.inbox.send(*(b"[%d,%s]" % (n, b'"%0990d"' % 0) for n in range(number, number + 10)))
    assert line.figures["held_bytes"] <= 5500 + 1010
    gate.set()
    until(lambda: line.figures["held_bytes"] == 0, "nothing is held")
    came = [json.loads(result)[0] for result in line.results]
    assert line.counter("dropped") == 100 - len(came)
    # There is room for five, one of which may be any that the model has in hand by then.
    assert set(kept) <= set(came)
    assert len(came) <= 6


@pytest.mark.parametrize("overflow", ["drop_oldest", "drop_newest"])
def test_one_that_is_larger_than_all_the_room_is_taken_alone(
    start: Callable[..., Line], overflow: str
) -> None:
    line = start(echo, overflow=overflow, most_bytes=100, pre_qos=0)
    for count in range(1, 4):
        line.inbox.send(b'"' + b"x" * 500 + b'"')
        line.wait_processed(count)
        until(lambda: line.figures["held_bytes"] == 0, "nothing is held")
    assert line.counter("dropped") == 0


def test_of_qos_1_nothing_is_dropped_but_reading_is_to_stop(
    start: Callable[..., Line], gate: threading.Event
) -> None:
    line = start(waiting_for(gate), most_bytes=5000)
    line.inbox.send(*[b'"%0997d"' % 1] * 4, qos=1)
    assert not line.inbox.crowded()
    line.inbox.send(*[b'"%0997d"' % 1] * 4, qos=1)
    assert line.inbox.crowded()
    gate.set()
    until(lambda: not line.inbox.crowded(), "there is room again")
    line.wait_processed(8)


@pytest.mark.parametrize("threads", [1, 4])
def test_large_results_of_small_inputs_wait_for_those_before_them(
    start: Callable[..., Line], threads: int
) -> None:
    line = start(lambda payload, context: "x" * 100_000, threads=threads, most_bytes=1_000_000)
    line.outbox.answers = False
    line.inbox.send(*numbers(500), qos=1)
    until(lambda: line.figures["held_bytes"] >= 1_000_000, "it has its fill")
    most = 0

    def all_processed() -> bool:
        nonlocal most
        most = max(most, line.figures["held_bytes"])
        line.outbox.answer()
        return line.counter("processed") == 500

    until(all_processed, "all are processed")

    def all_published() -> bool:
        line.outbox.answer()
        return line.counter("published") == 500

    until(all_published, "all are published")
    assert line.figures["held_bytes"] == 0
    # A thread that was within its chunk goes on to its end: a few results, at this size.
    assert most < 2_000_000
