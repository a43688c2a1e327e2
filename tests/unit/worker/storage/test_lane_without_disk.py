"""A lane of the spool while the disk can't be written and the broker comes and goes.

The store asks each write in turn whether it can do without the disk. Here anything may happen
between two of these questions: on the store's own thread, so that a seed gives the same each time.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from support.poll import until
from support.store import running

from pyboot_svc.worker.messages import RESULTS
from pyboot_svc.worker.storage import writer
from pyboot_svc.worker.storage.durable_queue import DurableQueue, Row
from pyboot_svc.worker.storage.writer import DATABASE_NAME, DatabaseWriter

if TYPE_CHECKING:
    import sqlite3

_MOST_APPENDED = 60


class FailingStore:
    """A store at work whose disk fails as it is told, and what happens between its questions."""

    def __init__(self, store: DatabaseWriter, monkeypatch: pytest.MonkeyPatch) -> None:
        self.fails = True
        self.between: Callable[[], None] = lambda: None
        self._submit = store.submit
        monkeypatch.setattr(store, "submit", self._wrapped)
        monkeypatch.setattr(writer, "RETRY_SECONDS", 0)

    def _wrapped(
        self,
        write: writer.Write,
        done: writer.Done,
        take_back: writer.TakeBack = lambda: False,
        growth: int = 0,
    ) -> None:
        def write_or_fail(connection: sqlite3.Connection) -> None:
            if self.fails:
                raise OSError("no space left")
            write(connection)

        def asked() -> bool:
            self.between()
            return take_back()

        self._submit(write_or_fail, done, asked, growth)


class Lane:
    """A lane, with what must hold each time that something is taken."""

    def __init__(self, queue: DurableQueue) -> None:
        self.queue = queue
        self.appended = 0
        self.asked_for: list[int] = []
        self.safe: list[int] = []
        self.delivered: set[int] = set()
        self._out: list[Any] = []

    def append(self, count: int = 1) -> None:
        """The first of them tells when they are safe."""
        first, self.appended = self.appended, self.appended + count
        self.asked_for.append(first)
        rows: list[Row] = [("out", b"%d" % number, 1, {}) for number in range(first, self.appended)]
        self.queue.append(rows, lambda: self.safe.append(first))

    def serve(self) -> None:
        self.queue.serve(lambda: None)

    def reset(self) -> None:
        self._out.clear()
        self.queue.reset()

    def take(self, most: int = 1000) -> None:
        for item in self.queue.take(most):
            gone = self.delivered | {int(one.payload) for one in self._out}
            expected = min(number for number in range(self.appended) if number not in gone)
            assert int(item.payload) == expected
            self._out.append(item)

    def deliver(self, count: int = 1000) -> None:
        delivered, self._out = self._out[:count], self._out[count:]
        self.delivered.update(int(item.payload) for item in delivered)
        self.queue.remove(delivered)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[DatabaseWriter]:
    with running(tmp_path / DATABASE_NAME) as store:
        yield store


@pytest.fixture
def disk(store: DatabaseWriter, monkeypatch: pytest.MonkeyPatch) -> FailingStore:
    return FailingStore(store, monkeypatch)


@pytest.fixture
def lane(store: DatabaseWriter, disk: FailingStore, tmp_path: Path) -> Lane:
    return Lane(DurableQueue(store, tmp_path / DATABASE_NAME, RESULTS))


def finish(lane: Lane, disk: FailingStore) -> None:
    """The disk is well again and the broker there: all comes out, in order."""

    def all_delivered() -> bool:
        lane.take()
        lane.deliver()
        return len(lane.delivered) == lane.appended

    disk.between = lambda: None
    disk.fails = False
    lane.serve()
    until(all_delivered, "all comes out")
    until(lambda: sorted(lane.safe) == lane.asked_for, "all is safe")


def between(*steps: Callable[[], None]) -> Callable[[], None]:
    """These before the first questions, one each."""
    left = list(steps)
    return lambda: left.pop(0)() if left else None


def test_what_was_refused_before_the_broker_came_is_not_overtaken(
    lane: Lane, disk: FailingStore
) -> None:
    disk.between = between(lane.append, lambda: None, lane.serve, lane.take)
    lane.append()
    until(lambda: lane.queue.in_memory, "it does without the disk")
    lane.take()
    finish(lane, disk)


def test_what_was_in_memory_when_the_broker_went_is_not_overtaken(
    lane: Lane, disk: FailingStore
) -> None:
    """The first of two is in memory when the connection is lost, and the second is asked then."""
    questions = 0

    def step() -> None:
        nonlocal questions
        questions += 1
        if questions == 1:
            lane.append()
            lane.serve()
        elif questions == 2:
            lane.reset()
            disk.fails = False

    disk.between = step
    lane.append()
    until(lambda: questions >= 2 and not disk.fails, "the connection is lost")
    finish(lane, disk)


@pytest.mark.parametrize("seed", range(30))
def test_any_order_of_events_between_the_questions(
    store: DatabaseWriter, lane: Lane, disk: FailingStore, seed: int
) -> None:
    draw = random.Random(seed)
    wrong: list[AssertionError] = []
    steps: list[Callable[[], None]] = [
        *[lambda: lane.append(draw.randint(1, 3))] * 4,
        *[lambda: lane.take(draw.randint(1, 4))] * 3,
        *[lambda: lane.deliver(draw.randint(1, 4))] * 2,
        *(lane.serve, lane.serve, lane.reset),
    ]

    def step() -> None:
        disk.fails = draw.random() < 0.8
        for _ in range(draw.randint(0, 3)):
            try:
                if lane.appended < _MOST_APPENDED:
                    draw.choice(steps)()
            except AssertionError as error:
                wrong.append(error)

    def go_on() -> None:
        """Also where nothing of the lane is left that could be asked."""
        step()
        if lane.appended < _MOST_APPENDED and not wrong:
            store.submit(lambda connection: None, go_on)

    disk.between = step
    store.submit(lambda connection: None, go_on)
    until(lambda: wrong or lane.appended >= _MOST_APPENDED, "it all happens")
    assert wrong == []
    finish(lane, disk)
