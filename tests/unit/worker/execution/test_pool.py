"""The model threads between their two queues: order, contexts, and messages that fail."""

from __future__ import annotations

import asyncio
import logging
import random
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from support.columns import Acknowledged, Standing, batch_of, payloads_of, roomy_budget
from support.poll import until
from support.store import configured, held_up, rows, settled

from pyboot_svc.config import OnError
from pyboot_svc.metrics.snapshot import as_document
from pyboot_svc.model.context import Context
from pyboot_svc.model.loader import Model
from pyboot_svc.model.state import CallState
from pyboot_svc.worker.delivery.completion import Completion
from pyboot_svc.worker.delivery.dead_letters import DeadLetters
from pyboot_svc.worker.delivery.model_state import StateSaver
from pyboot_svc.worker.delivery.post_queue import PostQueue
from pyboot_svc.worker.delivery.settlement import Settlement
from pyboot_svc.worker.durables import Durables
from pyboot_svc.worker.execution.crash_journal import CrashJournal
from pyboot_svc.worker.execution.failure_log import FailureLog
from pyboot_svc.worker.execution.model_call import ModelCall
from pyboot_svc.worker.execution.pool import ModelPool, NoIdleWork
from pyboot_svc.worker.execution.pre_queue import PreQueue
from pyboot_svc.worker.messages import Chunk, Message, ResultBatch
from pyboot_svc.worker.stats import Stats

ONCE = OnError(retries=0)


class Settling(Settlement):
    """Notes the payloads that are settled, beside acknowledging them in order."""

    def __init__(self, saver: StateSaver) -> None:
        super().__init__(roomy_budget(), saver)
        self.origin = Acknowledged()
        self.settled: list[bytes] = []
        self.chunks: set[Chunk] = set()

    def settle(self, chunk: Chunk, places: Sequence[int]) -> None:
        self.settled.extend(chunk.batch.payloads[place] for place in places)
        self.chunks.add(chunk)
        super().settle(chunk, places)

    @property
    def acknowledged(self) -> list[bytes]:
        return self.origin.payloads


class Aside(NoIdleWork):
    """Notes how often others were left to it."""

    def __init__(self) -> None:
        self.times = 0

    def step_aside(self) -> None:
        self.times += 1


class Pool:
    """A ModelPool at work on its queues."""

    def __init__(
        self,
        model: Callable[[Any, Context], Any],
        threads: int,
        codec: str,
        folder: Path,
        on_error: OnError,
        timeout: float,
        room: int,
    ) -> None:
        self.folder = folder
        self.safe = safe = Durables(configured(threads=threads), folder)
        budget = roomy_budget()
        self.waiting = PreQueue(10_000, budget)
        self.results = PostQueue(room, budget)
        self.saver = saver = StateSaver(safe.state, safe.store)
        self.settlement = Settling(saver)
        self.crashes: list[str] = []
        self.woken = threading.Event()
        self.aside = Aside()
        self._tally = Stats()
        self._sent = 0
        edge = configured(codec=codec, on_error=on_error, model_timeout=timeout).edge
        call = ModelCall.of(edge, Model(model), safe, FailureLog())
        letters = DeadLetters(configured(), safe.store, safe.spool.dead_letters, self.woken.set)
        self.pool = ModelPool(
            call,
            lambda: Context(
                "test-1", Path(), logging.getLogger("model"), state=CallState(safe.state)
            ),
            self.waiting,
            Completion(self.results, letters, saver, self.settlement, self._tally),
            Standing(self.results),
            self.aside,
        )
        self._note_crash = lambda: self.crashes.append(threading.current_thread().name)
        safe.store.start(self._note_crash)
        self.pool.start(threads, self._note_crash)

    @property
    def settled(self) -> list[bytes]:
        """All that were settled, once what is on its way to the disk is there."""
        settled(self.safe.store)
        return self.settlement.settled

    def put(
        self,
        *payloads: bytes,
        topics: str | Sequence[str] = "in",
        qos: int = 1,
        session: int = 1,
    ) -> None:
        packet_ids = [number if qos else 0 for number in range(1, len(payloads) + 1)]
        batch = batch_of(payloads, topics, packet_ids=packet_ids, session=session)
        batch.origin = self.settlement.origin
        self.settlement.admit(batch)
        self.waiting.put(batch)

    def process(self, *payloads: bytes, topic: str = "in") -> list[Any]:
        """Have the payloads processed; gives all results that came of it."""
        self._sent += len(payloads)
        self.put(*payloads, topics=topic)
        until(lambda: self.crashes or self.idle, "all processed")
        assert self.counter("processed") == self._sent
        assert self.crashes == []
        return self.take(self._sent)

    def publish(self) -> None:
        """The broker has all results."""
        for results in self.results.take(10_000):
            self.settlement.settle(results.chunk, results.places)

    def take(self, most: int) -> list[bytes]:
        return payloads_of(self.results.take(most))

    def wait_given_up(self, processed: int) -> None:
        """Look after overlong calls until so many are processed in all."""

        def expired() -> bool:
            self.pool.expire()
            return self.idle

        until(expired, f"{processed} processed")
        assert self.counter("processed") == processed

    @property
    def idle(self) -> bool:
        """Whether all is processed, and what came of it handed on."""
        return self.waiting.unfinished() == 0

    def counter(self, name: str) -> int:
        return self.figures["counters"][name]  # type: ignore[no-any-return]

    @property
    def errors(self) -> dict[str, int]:
        return self.figures["errors"]  # type: ignore[no-any-return]

    @property
    def figures(self) -> dict[str, Any]:
        return as_document(self._tally.figures())

    def close(self) -> None:
        self.waiting.close()
        self.results.close()
        self.safe.store.stop(20)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Pool]]:
    pools: list[Pool] = []

    def make(
        model: Callable[[Any, Context], Any],
        threads: int = 1,
        codec: str = "json",
        on_error: OnError = ONCE,
        timeout: float = 60,
        room: int = 10_000,
    ) -> Pool:
        pools.append(Pool(model, threads, codec, tmp_path, on_error, timeout, room))
        return pools[-1]

    yield make
    for pool in pools:
        pool.close()


def number_of(chunk: Chunk) -> int:
    return chunk.number


def inputs_of(result_batches: list[ResultBatch]) -> list[bytes]:
    """The payloads of the messages that these results are for."""
    return [p.chunk.batch.payloads[place] for p in result_batches for place in p.places]


def echo(payload: Any, context: Context) -> Any:
    return payload


@pytest.mark.parametrize("threads", [1, 4, 16])
def test_results_come_in_order_of_arrival(start: Callable[..., Pool], threads: int) -> None:
    chance = random.Random(threads)

    def model(payload: int, context: Context) -> int | None:
        if payload % 3 == 0:
            time.sleep(chance.random() * 0.004)
        return payload if payload % 5 else None

    pool = start(model, threads)
    expected = [b"%d" % number for number in range(400) if number % 5]
    assert pool.process(*(b"%d" % number for number in range(400))) == expected
    assert len(pool.settled) == pool.counter("nothing_to_publish") == 80


@pytest.mark.parametrize("threads", [1, 4])
def test_many_quick_messages_stay_in_order(start: Callable[..., Pool], threads: int) -> None:
    sent = [b"%d" % number for number in range(5_000)]
    assert start(echo, threads).process(*sent) == sent


@pytest.mark.parametrize("threads", [1, 4])
def test_batches_of_any_size_are_published_and_acknowledged_in_order(
    start: Callable[..., Pool], threads: int
) -> None:
    def model(payload: int, context: Context) -> int | None:
        return payload if payload % 3 else None

    pool = start(model, threads)
    chance = random.Random(threads)
    sent: list[bytes] = []
    while len(sent) < 3_000:
        payloads = [
            b"%d" % number for number in range(len(sent), len(sent) + chance.randint(1, 40))
        ]
        pool.put(*payloads, session=1 + len(sent) // 500)
        sent += payloads
    until(lambda: pool.idle, "all processed")
    result_batches = pool.results.take(len(sent))
    assert payloads_of(result_batches) == [payload for payload in sent if int(payload) % 3]
    assert inputs_of(result_batches) == payloads_of(result_batches)
    for results in chance.sample(result_batches, len(result_batches)):
        pool.settlement.settle(results.chunk, results.places)
    assert pool.settlement.acknowledged == sent
    assert pool.settlement.unacknowledged == 0


def test_results_know_their_messages_when_others_have_none(start: Callable[..., Pool]) -> None:
    kept = {b"a": b"", b"c": b"C", b"e": b""}
    pool = start(lambda payload, context: kept.get(payload), codec="raw")
    sent = [b"a", b"b", b"c", b"d", b"e", b"f"] * 50
    pool.put(*sent)
    until(lambda: pool.idle, "all processed")
    result_batches = pool.results.take(len(sent))
    assert payloads_of(result_batches) == [b"", b"C", b""] * 50
    assert inputs_of(result_batches) == [b"a", b"c", b"e"] * 50
    assert pool.settled == [b"b", b"d", b"f"] * 50


def test_of_qos_0_nothing_is_acknowledged(start: Callable[..., Pool]) -> None:
    pool = start(lambda payload, context: None)
    pool.put(b"1", b"2", qos=0)
    until(lambda: pool.idle, "all processed")
    assert pool.settled == [b"1", b"2"]
    assert pool.settlement.acknowledged == []
    pool.put(b"3")
    until(lambda: pool.settlement.acknowledged == [b"3"], "acknowledged")


def test_none_publishes_nothing_and_is_settled(start: Callable[..., Pool]) -> None:
    pool = start(lambda payload, context: None)
    assert pool.process(b"1", b"null") == []
    assert pool.settled == [b"1", b"null"]
    assert (pool.counter("nothing_to_publish"), pool.errors) == (2, {})
    assert pool.results.depth() == 0


def test_results_are_left_for_the_outbox_to_settle(start: Callable[..., Pool]) -> None:
    pool = start(echo)
    assert pool.process(b'{"a": [1, "\xc3\xa9"]}') == [b'{"a":[1,"\xc3\xa9"]}']
    assert pool.settled == []


def test_raw_codec_gives_the_bytes_as_they_are(start: Callable[..., Pool]) -> None:
    pool = start(lambda payload, context: payload[::-1], codec="raw")
    assert pool.process(b"\xff\x00a", b"") == [b"a\x00\xff", b""]


class Unspeakable(Exception):
    """Raises again when somebody wants to read it."""

    def __str__(self) -> str:
        raise SystemExit


def raises(error: BaseException) -> Callable[[Any, Context], Any]:
    def model(payload: Any, context: Context) -> Any:
        if payload == "bad":
            raise error
        return payload

    return model


def returns(make: Callable[[], Any]) -> Callable[[Any, Context], Any]:
    return lambda payload, context: make() if payload == "bad" else payload


def recurses(payload: Any, context: Context) -> Any:
    return recurses_too(payload, context) if payload == "bad" else payload


def recurses_too(payload: Any, context: Context) -> Any:
    return recurses(payload, context)


def circular() -> list[Any]:
    items: list[Any] = []
    items.append(items)
    return items


def nested(depth: int) -> list[Any]:
    items: list[Any] = []
    for _ in range(depth):
        items = [items]
    return items


BAD = b'"bad"'
FAILURES = {
    "cut off": (b'{"a": 1', echo, "not_json"),
    "words": (b"hello", echo, "not_json"),
    "two values": (b"1 2", echo, "not_json"),
    "only blanks": (b"  ", echo, "not_json"),
    "not UTF-8": (b'"\xff\xfe"', echo, "not_utf8"),
    "empty": (b"", echo, "empty"),
    "deeply nested": (b"[" * 100_000, echo, "too_deep"),
    "object out": (BAD, returns(object), "not_encodable"),
    "set out": (BAD, returns(lambda: {1j, 2}), "not_encodable"),
    "circle out": (BAD, returns(circular), "not_encodable"),
    "nested out": (BAD, returns(lambda: nested(100_000)), "not_encodable"),
    "half a character out": (BAD, returns(lambda: "\ud800"), "not_encodable"),
    "ValueError": (BAD, raises(ValueError("bad value")), "model"),
    "SystemExit": (BAD, raises(SystemExit(0)), "model"),
    "KeyboardInterrupt": (BAD, raises(KeyboardInterrupt()), "model"),
    "GeneratorExit": (BAD, raises(GeneratorExit()), "model"),
    "RecursionError": (BAD, recurses, "model"),
    "MemoryError": (BAD, raises(MemoryError()), "model"),
    "without a text": (BAD, raises(Unspeakable()), "model"),
}


@pytest.mark.parametrize(("payload", "model", "kind"), FAILURES.values(), ids=FAILURES)
def test_a_message_that_fails_is_counted_logged_and_settled_and_the_next_one_processed(
    start: Callable[..., Pool],
    caplog: pytest.LogCaptureFixture,
    payload: bytes,
    model: Callable[[Any, Context], Any],
    kind: str,
) -> None:
    pool = start(model)
    assert pool.process(payload, b'"good"', topic="plant/7") == [b'"good"']
    assert pool.errors == {kind: 1}
    assert pool.counter("nothing_to_publish") == 0
    assert pool.settled == [payload]
    [kept] = rows(pool.folder, "SELECT topic, payload, kind, attempts FROM dead")
    assert kept == ("plant/7", payload, kind, 1)
    [record] = caplog.records
    said = record.getMessage()
    assert record.levelno == logging.ERROR
    assert f"message failed ({kind}): topic plant/7, {len(payload)} bytes" in said
    assert f"begins {payload[:64]!r}: " in said


def test_a_failing_model_is_logged_with_its_error_and_where_it_came_from(
    start: Callable[..., Pool], caplog: pytest.LogCaptureFixture
) -> None:
    start(raises(ValueError("no such pump"))).process(BAD)
    assert "the model raised ValueError: no such pump" in caplog.text
    assert re.search(r'File ".*test_pool\.py", line \d+, in model', caplog.text)


def test_the_trace_of_a_deep_recursion_is_cut(
    start: Callable[..., Pool], caplog: pytest.LogCaptureFixture
) -> None:
    start(recurses).process(BAD)
    assert "the model raised RecursionError" in caplog.text
    assert len(caplog.text.splitlines()) < 30


def test_only_the_beginning_of_a_payload_is_logged(
    start: Callable[..., Pool], caplog: pytest.LogCaptureFixture
) -> None:
    start(echo).process(b"x" * 10_000_000)
    assert "10000000 bytes" in caplog.text
    assert caplog.text.count("x" * 64) == 1
    assert len(caplog.text) < 1_000


def test_failures_of_one_kind_are_logged_a_few_times_and_all_counted(
    start: Callable[..., Pool], caplog: pytest.LogCaptureFixture
) -> None:
    pool = start(raises(ValueError("x")))
    pool.process(*[b""] * 50, *[BAD] * 50)
    assert pool.errors == {"empty": 50, "model": 50}
    assert caplog.text.count("message failed (empty)") == 5
    assert caplog.text.count("message failed (model)") == 5


def test_who_waits_for_room_leaves_the_connections_to_others(start: Callable[..., Pool]) -> None:
    """What makes room, an answer of the broker's, comes by one of them."""
    pool = start(echo, room=2)
    assert pool.aside.times == 0
    pool.put(b"1")
    pool.put(b"2")
    until(lambda: pool.aside.times, "there is no room for more")
    pool.put(b"3")
    assert pool.take(1) == [b"1"]
    until(lambda: pool.idle, "the third is done")
    assert pool.take(2) == [b"2", b"3"]


def test_so_does_who_has_more_of_long_work(start: Callable[..., Pool]) -> None:
    """Answers of the broker's are read meanwhile."""

    def slow(payload: Any, context: Context) -> Any:
        time.sleep(0.1)
        return payload

    pool = start(slow)
    assert pool.process(b"1") == [b"1"]
    assert pool.aside.times == 0
    assert pool.process(b"2", b"3", b"4") == [b"2", b"3", b"4"]
    assert pool.aside.times > 0


def test_each_thread_has_a_context_with_its_own_topic(start: Callable[..., Pool]) -> None:
    together = threading.Barrier(4)
    contexts: list[Context] = []

    def model(payload: str, context: Context) -> bool:
        together.wait(20)
        contexts.append(context)
        together.wait(20)  # all four are in here now, each with another topic
        return context.topic == payload

    pool = start(model, threads=4)
    names = ["a", "b", "c", "d"]
    pool.put(*(f'"{name}"'.encode() for name in names), topics=names, qos=0)
    until(lambda: pool.idle, "all processed")
    assert pool.take(4) == [b"true"] * 4
    assert len({id(context) for context in contexts}) == 4


def test_the_topic_follows_the_message(start: Callable[..., Pool]) -> None:
    pool = start(lambda payload, context: context.topic)
    assert pool.process(b"1", topic="a") + pool.process(b"1", topic="b") == [b'"a"', b'"b"']


def test_threads_are_named_for_the_process_list(start: Callable[..., Pool]) -> None:
    pool = start(lambda payload, context: threading.current_thread().name, threads=3)
    alive = {thread.name for thread in threading.enumerate()}
    assert {"model-0", "model-1", "model-2"} <= alive
    assert pool.process(b"1")[0] in (b'"model-0"', b'"model-1"', b'"model-2"')


def test_a_failed_message_is_settled_only_when_it_is_durable(start: Callable[..., Pool]) -> None:
    pool = start(echo)
    with held_up(pool.safe.store):
        pool.process(b"bad")
        assert pool.settlement.settled == []
        assert pool.safe.spool.dead_letters.pending == 1
    assert pool.settled == [b"bad"]
    assert pool.woken.is_set()


def keep(payload: int, context: Context) -> int | None:
    """Keeps what it got; publishes odd numbers."""
    context.state["last"] = payload
    context.state[str(payload)] = payload
    return payload if payload % 2 else None


def test_state_is_durable_before_what_changed_it_is_acknowledged(
    start: Callable[..., Pool],
) -> None:
    pool = start(keep)
    with held_up(pool.safe.store):
        assert pool.process(b"2", b"4") == []
        assert pool.settlement.acknowledged == []
    assert len(pool.settled) == 2
    assert pool.settlement.acknowledged == [b"2", b"4"]
    assert rows(pool.folder, "SELECT value FROM state WHERE key = 'last'") == [("4",)]


def test_who_changes_nothing_waits_for_no_disk(start: Callable[..., Pool]) -> None:
    pool = start(lambda payload, context: None)
    with held_up(pool.safe.store):
        pool.process(b"1")
        assert len(pool.settlement.acknowledged) == 1


def test_state_changed_by_qos_0_is_durable_after_a_flush(start: Callable[..., Pool]) -> None:
    pool = start(keep)
    pool.put(b"7", qos=0)
    until(lambda: pool.counter("processed") == 1, "processed")
    assert rows(pool.folder, "SELECT key, value FROM state") == []
    pool.publish()
    pool.saver.flush()
    settled(pool.safe.store)
    assert sorted(rows(pool.folder, "SELECT key, value FROM state")) == [("7", "7"), ("last", "7")]


def test_who_finds_its_change_taken_by_another_thread_waits_for_that(
    start: Callable[..., Pool], gate: threading.Event
) -> None:
    changed = threading.Event()

    def model(payload: str, context: Context) -> None:
        context.state[payload] = True
        if payload == "first":
            changed.set()
            assert gate.wait(60)

    pool = start(model, threads=2)
    with held_up(pool.safe.store):
        pool.put(b'"first"')
        assert changed.wait(20)
        pool.put(b'"second"')
        until(lambda: pool.counter("processed") == 1, "the second one is processed")
        assert not pool.safe.state.changes  # it took both changes
        gate.set()
        until(lambda: pool.idle, "the first one is processed")
        assert pool.counter("processed") == 2
        assert pool.settlement.acknowledged == []
    settled(pool.safe.store)
    assert len(pool.settlement.acknowledged) == 2
    assert len(rows(pool.folder, "SELECT key, value FROM state")) == 2


@pytest.mark.usefixtures("busy_switching")
def test_the_last_assignment_is_what_is_kept(start: Callable[..., Pool]) -> None:
    pool = start(keep, threads=8)
    pool.put(*(b"%d" % number for number in range(500)))
    until(lambda: pool.idle, "all processed")
    pool.publish()
    settled(pool.safe.store)
    last = pool.safe.state["last"]
    assert rows(pool.folder, "SELECT value FROM state WHERE key = 'last'") == [(str(last),)]


def test_a_call_that_never_ends_loses_its_message_and_its_thread_is_replaced(
    start: Callable[..., Pool], gate: threading.Event
) -> None:
    pool = start(
        lambda payload, context: gate.wait(60) if payload == "bad" else payload, timeout=1.5
    )
    pool.put(b"1", BAD, b"2", BAD, b"3")

    pool.wait_given_up(5)
    result_batches = pool.results.take(10)
    assert payloads_of(result_batches) == [b"1", b"2", b"3"]
    assert pool.errors == {"timeout": 2}
    assert pool.settled == [BAD, BAD]
    gate.set()
    model_threads = [t for t in threading.enumerate() if t.name == "model-0"]
    until(lambda: sum(t.is_alive() for t in model_threads) == 1, "the replaced ones end")
    assert inputs_of(result_batches) == payloads_of(result_batches) == [b"1", b"2", b"3"]
    assert pool.results.depth() == 0


def test_what_a_thread_died_of_is_a_suspect(
    start: Callable[..., Pool], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Whatever the error, and though the process ends in order."""

    def fail(*args: object) -> None:
        raise asyncio.CancelledError

    def model(payload: int, context: Context) -> float:
        return 1 / payload

    pool = start(model, threads=1)
    monkeypatch.setattr(FailureLog, "say", fail)
    pool.put(b"1", b"0", b"2")
    until(lambda: pool.crashes, "the thread has died")
    pool.safe.journal.close()
    copy = tmp_path / "copy"
    copy.write_bytes((pool.folder / "in-hand").read_bytes())
    assert CrashJournal(copy, 1, 1).left_in_hand == [Message("in", b"0").id]


def test_calls_left_behind_that_use_the_processor_are_a_stall(
    start: Callable[..., Pool], gate: threading.Event
) -> None:
    def burn(payload: Any, context: Context) -> None:
        while not gate.is_set():
            pass

    pool = start(burn, timeout=0.1)
    pool.put(b"1")
    pool.wait_given_up(1)
    assert until(lambda: pool.pool.stalls(0.01), "seen to burn") == [
        "1 call(s) of the model exceed model_timeout and use the processor"
    ]
    gate.set()
    until(lambda: pool.pool.stalls(0.01) == [], "it has ended")


def test_too_many_calls_left_behind_are_a_stall(
    start: Callable[..., Pool], gate: threading.Event
) -> None:
    pool = start(lambda payload, context: gate.wait(60) and None, timeout=0.05, threads=4)
    pool.put(*[b"1"] * 17)
    pool.wait_given_up(17)
    assert pool.pool.stalls(1) == ["17 call(s) of the model exceed model_timeout and never end"]
    gate.set()
    until(lambda: pool.pool.stalls(1) == [], "they have ended")
