"""What is said of the pipeline, and when: nobody hears that it is ready and has not started."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest
from support.snapshots import traffic
from support.store import configured

from pyboot_svc.metrics.snapshot import Traffic
from pyboot_svc.notify import Notifier
from pyboot_svc.worker.condition import Condition, Draining, Loaded, Loading, Running
from pyboot_svc.worker.heartbeat import Heartbeat
from pyboot_svc.worker.pipeline import Pipeline
from pyboot_svc.worker.readiness import Readiness


class Line:
    """A pipeline as its supervision sees it."""

    def __init__(self) -> None:
        self.reasons = ["not subscribed yet"]
        self.subscribed = False
        self.stalled: list[str] = []

    def not_ready(self) -> list[str]:
        return list(self.reasons)

    def notices(self) -> list[str]:
        return []

    def stalls(self) -> list[str]:
        return self.stalled

    def figures(self) -> Traffic:
        return traffic()

    def connect(self) -> None:
        self.subscribed, self.reasons = True, []

    def lose(self) -> None:
        self.subscribed, self.reasons = False, ["pre broker: connection lost"]


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    address = tmp_path / "notify"
    monkeypatch.setenv("NOTIFY_SOCKET", str(address))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(address))
        manager.setblocking(False)
        yield manager


@pytest.fixture
def notifier(manager: socket.socket) -> Iterator[Notifier]:
    notifier = Notifier()
    yield notifier
    notifier.close()


@pytest.fixture
def line() -> Line:
    return Line()


@pytest.fixture
def supervision(line: Line, notifier: Notifier) -> Readiness:
    return Readiness("m-1", cast(Pipeline, line), notifier)


@pytest.fixture
def condition() -> Condition:
    return Condition(configured(), Heartbeat())


def heard(manager: socket.socket) -> list[str]:
    found = []
    try:
        while True:
            found.append(manager.recv(4096).decode())
    except BlockingIOError:
        return found


def test_what_is_found_ready_has_started_and_the_manager_is_told_once(
    line: Line, supervision: Readiness, manager: socket.socket
) -> None:
    supervision.tick()
    assert not supervision.started
    assert "READY=1" not in heard(manager)
    line.connect()
    assert supervision.not_ready() == []
    assert supervision.started, "though no tick has seen it yet"
    line.lose()
    supervision.tick()
    supervision.tick()
    assert heard(manager).count("READY=1") == 1
    assert supervision.not_ready() == ["pre broker: connection lost"]
    assert supervision.started


def test_how_it_does_is_told_before_that_it_is_ready(
    line: Line, supervision: Readiness, manager: socket.socket
) -> None:
    """Whoever waits for it to be ready reads its status then."""
    line.subscribed, line.reasons = True, ["post broker: unknown host"]
    supervision.tick()
    told = [text for text in heard(manager) if text.startswith(("STATUS=", "READY="))]
    assert told[0].startswith("STATUS=waiting: post broker: unknown host; in ")
    assert told[1:] == ["READY=1"]
    assert supervision.interval < 1, "while a roll may wait for it"
    line.connect()
    supervision.tick()
    assert heard(manager)[-1].startswith("STATUS=ready; ")


def test_one_that_has_subscribed_has_started_whatever_else_is_amiss(
    line: Line, supervision: Readiness
) -> None:
    line.subscribed, line.reasons = True, ["post broker: connection refused"]
    supervision.tick()
    assert supervision.started
    assert supervision.not_ready() == ["post broker: connection refused"]


def test_in_every_answer_ready_is_started(
    condition: Condition, line: Line, supervision: Readiness
) -> None:
    """As the master's, the probes' and the health socket's threads may ask at any moment."""
    line.connect()
    pipeline = cast(Pipeline, line)
    for phase in (Loading(), Loaded(pipeline)):  # before anybody supervises it
        condition.phase = phase
        health = condition.health()
        assert not health.ready
        assert not health.started
        assert health.reasons
    condition.phase = Running(pipeline, supervision)
    health = condition.health()
    assert health.ready
    assert health.started
    assert health.reasons == ()
    line.lose()
    health = condition.health()
    assert not health.ready
    assert health.started
    condition.phase = Draining(pipeline, supervision)
    line.connect()
    health = condition.health()
    assert not health.ready
    assert health.started
    assert health.reasons == ("it is stopping",)


def test_the_state_that_the_master_shows_is_ready_only_when_started(
    condition: Condition, line: Line, supervision: Readiness
) -> None:
    pipeline = cast(Pipeline, line)

    def state() -> str:
        return condition.snapshot().process.state

    assert state() == "loading"
    condition.phase = Loaded(pipeline)
    assert state() == "loading"
    condition.phase = Running(pipeline, supervision)
    assert state() == "waiting"
    line.connect()
    assert state() == "ready"
    assert supervision.started
    condition.phase = Draining(pipeline, supervision)
    assert state() == "draining"


def test_figures_are_told_as_soon_as_there_are_any(condition: Condition, line: Line) -> None:
    assert condition.snapshot().traffic is None
    condition.phase = Loaded(cast(Pipeline, line))
    assert condition.snapshot().traffic == traffic()


def test_a_main_thread_that_hangs_is_not_alive() -> None:
    heartbeat = Heartbeat()
    condition = Condition(configured(), heartbeat)
    assert condition.health().alive
    heartbeat.beat(-12)
    health = condition.health()
    assert not health.alive
    assert health.stalls == ("the main thread made no progress for 12 s past its limit",)
