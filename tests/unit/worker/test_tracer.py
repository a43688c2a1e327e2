"""Samples of the messages that pass: which, how many, and what they tell."""

from __future__ import annotations

import time
from typing import Any

import pytest
from support.columns import chunk_of

from pyboot_svc.tracing.wish import Wish, read_wish
from pyboot_svc.worker.messages import Addressed, Chunk, Destination, Fault, ResultBatch
from pyboot_svc.worker.tracer import MOST_A_SECOND, MOST_BYTES, MOST_WAITING, MOST_WATCHES, Tracer


def results_of(*payloads: bytes, inputs: bytes = b"in") -> ResultBatch:
    chunk = chunk_of([inputs] * len(payloads), 0)
    chunk.results.extend(payloads)
    chunk.began, chunk.took = time.monotonic(), 0.002 * len(payloads)
    return ResultBatch(chunk, range(len(payloads)), list(payloads))


def failed(place: int = 0) -> Chunk:
    chunk = results_of(b"a", b"b").chunk
    chunk.failures[place] = Fault("model", "ValueError: no")
    return chunk


def shown(tracer: Tracer, wish: Wish, results: ResultBatch) -> list[dict[str, Any]]:
    watch = tracer.watch(wish)
    assert watch is not None
    tracer.ended_with(results, "published")
    found = list(watch.documents())
    watch.close()
    return found


def test_it_is_on_while_somebody_looks() -> None:
    tracer = Tracer("out")
    assert not tracer.on
    watches = [tracer.watch(Wish()) for _ in range(MOST_WATCHES)]
    assert tracer.on
    assert tracer.watch(Wish()) is None
    for watch in watches:
        assert watch is not None
        watch.close()
    assert not tracer.on


def test_what_a_sample_tells() -> None:
    to = Addressed.to(Destination("elsewhere", 1), b"two")
    one, two = shown(Tracer("out"), Wish(), results_of(b"one", to))
    assert (one["to"], one["result"], two["to"], two["result"]) == (
        "out",
        "one",
        "elsewhere",
        "two",
    )
    assert (one["input"], one["bytes"], one["together"]) == ("in", 2, 2)
    assert one["ms"]["model"] == 2.0
    assert "error" not in one


def test_what_is_large_or_binary_is_bounded() -> None:
    [sample] = shown(Tracer("t" * 9999), Wish(), results_of(b"\xff" * 9999, inputs=b"\0" * 9999))
    assert sample["result"] == "\\xff" * MOST_BYTES
    assert (sample["result_bytes"], sample["bytes"]) == (9999, 9999)
    assert len(sample["to"]) == MOST_BYTES


def test_no_more_than_a_few_a_second_and_the_rest_is_counted() -> None:
    found = shown(Tracer("out"), Wish(), results_of(*[b"x"] * 1000))
    skipped = sum(one.get("skipped", 0) for one in found)
    samples = [one for one in found if "skipped" not in one]
    assert len(samples) + skipped == 1000
    assert len(samples) <= 2 * MOST_A_SECOND  # a second may just have begun


def test_what_nobody_reads_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    tracer = Tracer("out")
    watch = tracer.watch(Wish())
    assert watch is not None
    clock = iter(range(1, 10_000))
    monkeypatch.setattr("time.monotonic", lambda: next(clock))
    for number in range(MOST_WAITING + 10):
        tracer.ended_with(results_of(b"%d" % number), "published")
    *samples, rest = watch.documents()
    assert [one["result"] for one in samples] == [str(n) for n in range(10, MOST_WAITING + 10)]
    assert rest == {"skipped": 10}


def test_errors_alone() -> None:
    tracer = Tracer("out")
    watch = tracer.watch(Wish(errors=True))
    assert watch is not None
    tracer.ended_with(results_of(b"well"), "published")
    tracer.ended_without(failed(1), [0, 1], "dead letter")
    tracer.ended_with(results_of(b"no"), "refused", "refused: too large")
    first, second = watch.documents()
    assert (first["end"], first["error"]) == ("dead letter", "model: ValueError: no")
    assert (second["end"], second["error"]) == ("refused", "refused: too large")


def test_topics() -> None:
    results = results_of(b"a", b"b")
    results.chunk.batch.topics[:] = ["plant/a", "plant/b"]
    assert [one["topic"] for one in shown(Tracer("o"), Wish("plant/b"), results)] == ["plant/b"]
    assert len(shown(Tracer("o"), Wish("plant/+"), results)) == 2
    assert shown(Tracer("o"), Wish("other/#"), results) == []


def test_a_trace_that_fails_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    tracer = Tracer("out")
    watch = tracer.watch(Wish())
    assert watch is not None
    results = results_of(b"x")
    results.chunk.batch.topics.clear()
    tracer.ended_with(results, "published")
    assert "a trace failed, and is over" in caplog.text
    assert not tracer.on
    watch.close()


@pytest.mark.parametrize(
    "document",
    [{"topic": ""}, {"topic": 1}, {"topic": "x" * 70_000}, {"errors": "yes"}],
    ids=["empty", "a number", "too long", "not a sign"],
)
def test_what_is_no_wish(document: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="no wish"):
        read_wish(document)


def test_a_wish_goes_over_a_socket() -> None:
    assert read_wish(Wish("a/#", True).document()) == Wish("a/#", True)
    assert read_wish({}) == Wish()
