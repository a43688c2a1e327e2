"""Signs of life: by paho as long as its answers are read in time, without an answer otherwise."""

from __future__ import annotations

from typing import cast

import pytest

from pyboot_svc.worker.mqtt.link.keepalive import KeepAlive
from pyboot_svc.worker.mqtt.link.paho_client import ControlClient
from pyboot_svc.worker.mqtt.wire.plane import NoPlane


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


class Told(NoPlane):
    """Notes, by the second, which sign of life went out; both a plane and a client."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.said: list[tuple[float, str]] = []
        self._clock = clock
        self.keepalive = 60.0

    def ping(self) -> None:
        self.said.append((self._clock.now - 1000, "ping"))

    def keep_alive(self) -> None:
        self.said.append((self._clock.now - 1000, "paho"))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr("pyboot_svc.worker.mqtt.link.keepalive.time.monotonic", made.monotonic)
    return made


def test_paho_is_asked_about_once_a_second(clock: Clock) -> None:
    told = Told(clock)
    alive = KeepAlive(cast(ControlClient, told), told)
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
    assert KeepAlive(cast(ControlClient, told), told).patience == pytest.approx(seconds)


def test_while_full_a_ping_goes_out_twice_in_the_time_that_the_broker_waits(clock: Clock) -> None:
    told = Told(clock)
    alive = KeepAlive(cast(ControlClient, told), told)
    for _ in range(121):
        alive.tick(full=True)
        clock.now += 1
    assert told.said == [(0, "ping"), (30, "ping"), (60, "ping"), (90, "ping"), (120, "ping")]


def test_paho_is_asked_again_when_all_is_read_that_waited(clock: Clock) -> None:
    told = Told(clock)
    alive = KeepAlive(cast(ControlClient, told), told)
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
    alive = KeepAlive(cast(ControlClient, told), told)
    told.keepalive = 4.0  # as CONNACK said it, after this was made
    for _ in range(7):
        alive.tick(full=True)
        clock.now += 1
    assert told.said == [(0, "ping"), (2, "ping"), (4, "ping"), (6, "ping")]
