"""What a message costs within the process, counted and not timed: it is the same everywhere.

Bytecodes, and calls of functions that are written in C, for each message of a batch. When a count
has to change, the failure says what was counted: write it into RECORDED.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType, SimpleNamespace
from typing import Any, NamedTuple

import pytest
from support.collection import no_collection
from support.store import configured

from pyboot_svc.model import Context, Model
from pyboot_svc.worker.execution.crash_journal import CrashJournal
from pyboot_svc.worker.execution.failure_log import FailureLog
from pyboot_svc.worker.execution.model_call import ModelCall
from pyboot_svc.worker.execution.poison import PoisonTracker
from pyboot_svc.worker.execution.runner import Runner
from pyboot_svc.worker.messages import Chunk, MessageBatch, ids_of
from pyboot_svc.worker.mqtt.wire.decoder import Decoder
from pyboot_svc.worker.mqtt.wire.encoder import PublishEncoder, encode_pubacks, id_lead
from pyboot_svc.worker.storage.writer import DatabaseWriter

MESSAGES = 256
# What another version of Python may take more: not one call, or one line, more a message.
HEADROOM = 1.1


class Cost(NamedTuple):
    """For each message."""

    bytecodes: float
    c_calls: float


# Of Python 3.11; later ones take fewer bytecodes for the same.
RECORDED = {
    "read": Cost(13, 0.5),
    "read mixed": Cost(173, 5),
    "work raw": Cost(84, 5),
    "work json": Cost(110, 9),
    "write": Cost(40, 0.1),
}


def count(work: Callable[[], object]) -> Cost:
    """Bytecodes and C calls of `work`, by the message."""
    bytecodes = c_calls = 0

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal bytecodes
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        bytecodes += event == "opcode"
        return trace

    def profile(frame: FrameType, event: str, argument: Any) -> None:
        nonlocal c_calls
        c_calls += event == "c_call"

    work()  # the first time fills what is kept
    before = sys.gettrace(), sys.getprofile()
    with no_collection():
        try:
            sys.settrace(trace)
            work()
            sys.settrace(before[0])
            sys.setprofile(profile)
            work()
        finally:
            sys.settrace(before[0])
            sys.setprofile(before[1])
    return Cost(round(bytecodes / MESSAGES, 2), round(c_calls / MESSAGES, 2))


def published(payloads: list[bytes]) -> bytes:
    """PUBLISH packets of QoS 1, MQTT 5."""
    parts = PublishEncoder("plant/temperature/7", 1, b"\0").encode(payloads, range(1, MESSAGES + 1))
    return b"".join(parts)


@pytest.fixture
def stream() -> bytes:
    """All of one shape."""
    return published([b'{"value":%d}' % (1000 + number) for number in range(MESSAGES)])


@pytest.fixture
def mixed() -> bytes:
    """Each longer or shorter than those beside it."""
    return published([b'{"value":%d}' % 10 ** (number % 10) for number in range(MESSAGES)])


def batch_of(stream: bytes) -> MessageBatch:
    found = Decoder(v5=True).feed(stream)
    times = [1] * len(found.packet_ids)
    return MessageBatch(found.topics, found.payloads, found.packet_ids, times, 1)


@pytest.fixture
def runner(tmp_path: Path, request: pytest.FixtureRequest) -> Runner:
    memory = SimpleNamespace(
        journal=CrashJournal(tmp_path / "in-hand", 1, MESSAGES),
        suspects=PoisonTracker(DatabaseWriter(tmp_path / "database")),
    )
    model = Model(lambda payload: payload, wants_context=False)
    calling = ModelCall.of(configured(codec=request.param).edge, model, memory, FailureLog())
    context = Context("model-1", tmp_path, logging.getLogger("model"))
    return Runner(0, calling, context)


def check(name: str, found: Cost) -> None:
    recorded = RECORDED[name]
    assert found.bytecodes <= recorded.bytecodes * HEADROOM, f"{name}: {found}, not {recorded}"
    assert found.c_calls <= recorded.c_calls * HEADROOM, f"{name}: {found}, not {recorded}"


@pytest.mark.parametrize(("name", "packets"), [("read", "stream"), ("read mixed", "mixed")])
def test_reading(name: str, packets: str, request: pytest.FixtureRequest) -> None:
    data: bytes = request.getfixturevalue(packets)
    assert len(batch_of(data)) == MESSAGES
    check(name, count(lambda: batch_of(data)))


@pytest.mark.parametrize("runner", ["raw", "json"], indirect=True)
def test_working(runner: Runner, stream: bytes, request: pytest.FixtureRequest) -> None:
    """With the digests, which the crash journal takes."""
    pytest.importorskip("orjson")
    chunks = [Chunk(number, batch_of(stream)) for number in range(3)]
    waiting = iter(chunks)
    codec = request.node.callspec.params["runner"]
    check(f"work {codec}", count(lambda: runner.work(next(waiting))))
    assert [chunk.results for chunk in chunks] == [batch_of(stream).payloads] * 3


def test_writing(stream: bytes) -> None:
    """With the acknowledgements of the inputs; their digests were made before."""
    encoder = PublishEncoder("results", 1, id_lead())
    chunk = Chunk(0, batch_of(stream))
    digests = chunk.digests

    def write() -> None:
        parts = encoder.encode(chunk.batch.payloads, range(1, MESSAGES + 1), ids_of(digests))
        b"".join([*parts, encode_pubacks(chunk.batch.packet_ids)])

    check("write", count(write))


@pytest.mark.parametrize(("name", "packets"), [("read", "stream"), ("read mixed", "mixed")])
def test_one_more_call_a_message_is_noticed(
    name: str, packets: str, request: pytest.FixtureRequest
) -> None:
    data: bytes = request.getfixturevalue(packets)

    def slower() -> None:
        for payload in batch_of(data).payloads:
            len(payload)

    with pytest.raises(AssertionError, match=f"{name}: "):
        check(name, count(slower))
