"""The threads that answer requests."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from support.poll import until

from pyboot_svc.sockets.gate import Visit
from pyboot_svc.web import workers
from pyboot_svc.web.workers import Workers


class Caller:
    """Whoever waits for an answer; without a connection."""

    def __init__(self) -> None:
        self.answers: list[bytes] = []
        self.visit = Visit(None, "", lambda _, answer: self.answers.append(answer))  # type: ignore[arg-type]


Start = Callable[[Callable[[Visit], bytes]], Workers]


@pytest.fixture
def start() -> Iterator[Start]:
    with ExitStack() as stack:

        def make(answer: Callable[[Visit], bytes]) -> Workers:
            made = Workers(answer, threads=1, waiting=1)
            made.start()
            stack.callback(made.stop, 20)
            return made

        yield make


def test_what_is_too_much_is_told_at_once(start: Start) -> None:
    callers, held, begun = [Caller(), Caller(), Caller()], threading.Event(), threading.Event()

    def answer(visit: Visit) -> bytes:
        begun.set()
        held.wait(20)
        return b"well"

    working = start(answer)
    working.take(callers[0].visit)
    assert begun.wait(20)
    for caller in callers[1:]:
        working.take(caller.visit)
    assert callers[2].answers[0].startswith(b"HTTP/1.1 503 ")
    held.set()
    until(lambda: callers[1].answers == [b"well"], "the one that waited is answered")


def test_a_request_that_fails_is_its_own(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    callers = [Caller(), Caller()]
    answers = {callers[1].visit: b"well"}
    working = start(lambda visit: answers[visit])
    working.take(callers[0].visit)
    until(lambda: callers[0].answers == [b""], "nothing is answered")
    working.take(callers[1].visit)
    until(lambda: callers[1].answers == [b"well"], "the next one is")
    assert "a request could not be answered" in caplog.text


def test_threads_that_make_no_progress_are_stuck(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "STUCK_SECONDS", 0.1)
    held = threading.Event()
    working = start(lambda visit: b"well" if held.wait(20) else b"")
    assert not working.stuck
    working.take(Caller().visit)
    until(lambda: working.stuck, "it is noticed")
    held.set()
    until(lambda: not working.stuck, "that it works again, too")
