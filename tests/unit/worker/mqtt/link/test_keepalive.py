"""Signs of life: by paho as long as its answers are read in time, without an answer otherwise.

And while bytes move, behind which the answer may be.
"""

from __future__ import annotations

from typing import cast

import pytest
from support.clock import Clock

from pyboot_svc.worker.mqtt.link.keepalive import KeepAlive
from pyboot_svc.worker.mqtt.link.paho_client import ControlClient
from pyboot_svc.worker.mqtt.wire.plane import NoPlane


class Told(NoPlane):
    """Notes, by the second, which sign of life went out; both a plane and a client.

    `bytes` have moved, and it is `pinged` while an answer is missing.
    """

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.said: list[tuple[float, str]] = []
        self._clock = clock
        self.keepalive = 60.0
        self.pinged = False
        self.bytes = 0

    def ping(self) -> None:
        self.said.append((self._clock.now - 1000, "ping"))

    def keep_alive(self) -> None:
        self.said.append((self._clock.now - 1000, "paho"))

    def excuse(self) -> None:
        self.said.append((self._clock.now - 1000, "excuse"))

    def moved(self) -> int:
        return self.bytes

    @property
    def excuses(self) -> list[float]:
        return [second for second, what in self.said if what == "excuse"]


def alive_of(told: Told) -> KeepAlive:
    return KeepAlive(cast(ControlClient, told), told, told.moved)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr("pyboot_svc.worker.mqtt.link.keepalive.time.monotonic", made.monotonic)
    return made


def test_paho_is_asked_about_once_a_second(clock: Clock) -> None:
    told = Told(clock)
    alive = alive_of(told)
    for _ in range(30):
        alive.tick(full=False)
        clock.now += 0.1
    assert [what for _, what in told.said] == ["paho"] * 3


@pytest.mark.parametrize(("agreed", "seconds"), [(4, 1), (30, 1), (60, 2), (300, 10)])
def test_turns_may_be_further_apart_where_the_broker_waits_for_longer(
    clock: Clock, agreed: float, seconds: float
) -> None:
    told = Told(clock)
    told.keepalive = agreed
    assert alive_of(told).patience == pytest.approx(seconds)


def test_while_full_a_ping_goes_out_twice_in_the_time_that_the_broker_waits(clock: Clock) -> None:
    told = Told(clock)
    alive = alive_of(told)
    for _ in range(121):
        alive.tick(full=True)
        clock.now += 1
    assert told.said == [(0, "ping"), (30, "ping"), (60, "ping"), (90, "ping"), (120, "ping")]


def test_paho_is_asked_again_when_all_is_read_that_waited(clock: Clock) -> None:
    told = Told(clock)
    alive = alive_of(told)
    alive.tick(full=True)
    told.full = True  # reads bring as much as they can: its answer is further behind
    clock.now += 10
    alive.tick(full=False)
    assert told.said == [(0, "ping")]
    told.full = False
    clock.now += 1
    alive.tick(full=False)
    assert told.said[1:] == [(11, "paho")]
    told.full = True  # a long read alone is no reason
    clock.now += 1
    alive.tick(full=False)
    assert told.said[2:] == [(12, "paho")]


def test_a_broker_that_waits_for_less_is_told_more_often(clock: Clock) -> None:
    told = Told(clock)
    alive = alive_of(told)
    told.keepalive = 4.0  # as CONNACK said it, after this was made
    for _ in range(7):
        alive.tick(full=True)
        clock.now += 1
    assert told.said == [(0, "ping"), (2, "ping"), (4, "ping"), (6, "ping")]


class Flow:
    """A second at a time in which so many bytes move."""

    def __init__(self, clock: Clock) -> None:
        self.told = Told(clock)
        self._alive = alive_of(self.told)
        self._clock = clock

    def goes(self, seconds: int, moving: int, *, full: bool = False) -> list[float]:
        """Gives the seconds at which the answer was excused."""
        known = len(self.told.excuses)
        for _ in range(seconds):
            self._clock.now += 1
            self.told.bytes += moving
            self._alive.tick(full=full)
        return self.told.excuses[known:]


@pytest.fixture
def flow(clock: Clock) -> Flow:
    return Flow(clock)


def test_what_moves_excuses_an_answer_that_is_missing(flow: Flow) -> None:
    assert not flow.goes(10, 5000), "none is missing"
    flow.told.pinged = True
    assert flow.goes(4, 5000) == [12, 13, 14]  # the first look has nothing to compare with
    assert not flow.goes(60, 0)
    assert flow.goes(2, 1500) == [75, 76]
    # Before paho looks, and it looks each second all the same.
    assert flow.told.said[-2:] == [(76, "excuse"), (76, "paho")]
    assert len(flow.told.said) - len(flow.told.excuses) == 76


def test_pings_alone_excuse_nothing(flow: Flow) -> None:
    flow.told.pinged = True
    assert not flow.goes(100, 80)


def test_what_moves_excuses_no_answer_for_ever(flow: Flow) -> None:
    flow.goes(100, 5000)
    flow.told.pinged = True
    excused = flow.goes(500, 5000)
    assert (excused[0], excused[-1]) == (102, 399)
    flow.told.pinged = False
    flow.goes(1, 5000)
    flow.told.pinged = True
    assert len(flow.goes(100, 5000)) == 99, "one came, the next has as long"


def test_while_nothing_is_read_no_answer_is_missed(flow: Flow) -> None:
    flow.told.pinged = True
    assert not flow.goes(1000, 5000, full=True)
    assert len(flow.goes(290, 5000)) >= 289
