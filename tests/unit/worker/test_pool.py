"""The model threads between their two queues: order, contexts, and messages that fail."""

from __future__ import annotations

import logging
import random
import re
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.poll import until

from pyboot_svc.model.codec import codec_named
from pyboot_svc.model.context import Context
from pyboot_svc.worker.message import Message
from pyboot_svc.worker.pool import ModelPool
from pyboot_svc.worker.queues import PostQueue, PreQueue
from pyboot_svc.worker.tally import Tally


class Pool:
    """A ModelPool at work on its queues."""

    def __init__(self, model: Callable[[Any, Context], Any], threads: int, codec: str) -> None:
        self.waiting = PreQueue(10_000)
        self.results = PostQueue(10_000, lambda: None)
        self.settled: list[Message] = []
        self.crashes: list[str] = []
        self._tally = Tally()
        self._sent = 0
        pool = ModelPool(
            model,
            codec_named(codec),
            lambda: Context("test-1", Path(), logging.getLogger("model")),
            self.waiting,
            self.results,
            self.settled.extend,
            self._tally,
            timeout=60,
        )
        pool.start(threads, lambda: self.crashes.append(threading.current_thread().name))

    def process(self, *payloads: bytes, topic: str = "in") -> list[Any]:
        """Have the payloads processed; gives all results that came of it."""
        self._sent += len(payloads)
        self.waiting.put([Message(topic, payload, qos=1) for payload in payloads])
        until(lambda: self.crashes or self.counter("processed") == self._sent, "all processed")
        assert self.crashes == []
        return [message.result for message in self.results.take(self._sent)]

    def counter(self, name: str) -> int:
        return self.figures["counters"][name]  # type: ignore[no-any-return]

    @property
    def errors(self) -> dict[str, int]:
        return self.figures["errors"]  # type: ignore[no-any-return]

    @property
    def figures(self) -> dict[str, Any]:
        return self._tally.figures()

    def close(self) -> None:
        self.waiting.close()
        self.results.close()


@pytest.fixture
def start() -> Iterator[Callable[..., Pool]]:
    pools: list[Pool] = []

    def make(model: Callable[[Any, Context], Any], threads: int = 1, codec: str = "json") -> Pool:
        pools.append(Pool(model, threads, codec))
        return pools[-1]

    yield make
    for pool in pools:
        pool.close()


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


def test_none_publishes_nothing_and_is_settled(start: Callable[..., Pool]) -> None:
    pool = start(lambda payload, context: None)
    assert pool.process(b"1", b"null") == []
    assert [message.payload for message in pool.settled] == [b"1", b"null"]
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
    "NaN in": (b"[NaN]", echo, "not_json"),
    "infinity in": (b'{"a": -Infinity}', echo, "not_json"),
    "not UTF-8": (b'"\xff\xfe"', echo, "not_utf8"),
    "empty": (b"", echo, "empty"),
    "deeply nested": (b"[" * 100_000, echo, "too_deep"),
    "NaN out": (BAD, returns(lambda: {"mean": float("nan")}), "not_encodable"),
    "infinity out": (BAD, returns(lambda: float("inf")), "not_encodable"),
    "object out": (BAD, returns(object), "not_encodable"),
    "set out": (BAD, returns(lambda: {1, 2}), "not_encodable"),
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
    assert [message.payload for message in pool.settled] == [payload]
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
    pool.waiting.put([Message(name, f'"{name}"'.encode(), qos=0) for name in names])
    until(lambda: pool.counter("processed") == 4, "all processed")
    assert [message.result for message in pool.results.take(4)] == [b"true"] * 4
    assert len({id(context) for context in contexts}) == 4


def test_the_topic_follows_the_message(start: Callable[..., Pool]) -> None:
    pool = start(lambda payload, context: context.topic)
    assert pool.process(b"1", topic="a") + pool.process(b"1", topic="b") == [b'"a"', b'"b"']


def test_threads_are_named_for_the_process_list(start: Callable[..., Pool]) -> None:
    pool = start(lambda payload, context: threading.current_thread().name, threads=3)
    alive = {thread.name for thread in threading.enumerate()}
    assert {"model-0", "model-1", "model-2"} <= alive
    assert pool.process(b"1")[0] in (b'"model-0"', b'"model-1"', b'"model-2"')
