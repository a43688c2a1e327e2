"""A thread that leads waits for all connections that have joined, and serves them."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import pytest
from support.poll import until

from pyboot_svc.worker.mqtt.link.linger import Linger
from pyboot_svc.worker.mqtt.reactor import Reactor


class Pollable:
    """Each read brings `count` messages; there are more when it is `full`."""

    def __init__(self, sock: socket.socket, leader: Reactor) -> None:
        self.sock = sock
        self.received: list[bytes] = []
        self.count = 1
        self.full = False
        self.alone = False
        leader.join(sock.fileno(), self)

    def take_over(self) -> None:
        self.alone = True

    def serve(self) -> tuple[int, bool]:
        self.received.append(self.sock.recv(100))
        return self.count, self.full


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    near, far = socket.socketpair()
    with near, far:
        yield near, far


@pytest.fixture
def leader(request: pytest.FixtureRequest) -> Iterator[Reactor]:
    """It waits for more for as many microseconds as the parameter says; without one, never."""
    leader = Reactor(getattr(request, "param", 0))
    yield leader
    leader.close()


def idle() -> bool:
    return False


def test_without_a_connection_there_is_nothing_to_wait_for(leader: Reactor) -> None:
    assert not leader.poll_once(idle)


def test_what_comes_is_taken_in(leader: Reactor, ends: tuple[socket.socket, socket.socket]) -> None:
    near, far = ends
    led = Pollable(near, leader)
    far.send(b"1")
    assert leader.poll_once(idle)
    assert led.received == [b"1"]


def test_it_does_not_wait_when_there_is_work(
    leader: Reactor, ends: tuple[socket.socket, socket.socket]
) -> None:
    led = Pollable(ends[0], leader)
    ends[1].send(b"1")
    assert not leader.poll_once(lambda: True)
    assert led.received == []


def test_one_that_has_left_is_not_served(
    leader: Reactor, ends: tuple[socket.socket, socket.socket]
) -> None:
    led = Pollable(ends[0], leader)
    leader.leave(ends[0].fileno())
    ends[1].send(b"1")
    assert not leader.poll_once(idle)
    assert led.received == []


def test_one_that_has_not_joined_may_leave(leader: Reactor) -> None:
    leader.leave(12345)


def test_one_whose_socket_was_closed_may_leave(
    leader: Reactor, ends: tuple[socket.socket, socket.socket]
) -> None:
    Pollable(ends[0], leader)
    descriptor = ends[0].fileno()
    ends[0].close()
    leader.leave(descriptor)
    assert not leader.poll_once(idle)


def test_it_can_be_woken_while_it_waits(
    leader: Reactor,
    ends: tuple[socket.socket, socket.socket],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pyboot_svc.worker.mqtt.reactor.TICK_SECONDS", 600)
    led = Pollable(ends[0], leader)
    work = threading.Event()

    def run() -> None:
        while not work.is_set():
            leader.poll_once(work.is_set)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    until(lambda: leader.is_active, "it waits")
    work.set()
    leader.wake()
    thread.join(20)
    assert not thread.is_alive()
    assert led.received == []


def test_it_gets_on_while_it_waits_and_not_long_after(
    leader: Reactor, ends: tuple[socket.socket, socket.socket]
) -> None:
    assert not leader.is_active
    Pollable(ends[0], leader)
    ends[1].send(b"1")
    leader.poll_once(idle)
    assert leader.is_active
    until(lambda: not leader.is_active, "it is away for long")


def test_one_that_steps_aside_has_the_connections_serve_themselves(
    leader: Reactor, ends: tuple[socket.socket, socket.socket]
) -> None:
    led = Pollable(ends[0], leader)
    ends[1].send(b"1")
    leader.poll_once(idle)
    assert leader.is_active
    assert not led.alone
    leader.step_aside()
    assert not leader.is_active
    assert led.alone


def test_the_less_comes_the_longer_it_may_be_left_alone(
    leader: Reactor, ends: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [time.monotonic()]
    monkeypatch.setattr("pyboot_svc.worker.mqtt.reactor.monotonic", lambda: now[0])
    Pollable(ends[0], leader)

    def after(count: int) -> float:
        """So many in a second; how long it may be left alone then."""
        for _ in range(count):
            ends[1].send(b"1")
            leader.poll_once(idle)
        now[0] += 1.0
        ends[1].send(b"1")
        leader.poll_once(idle)
        return leader.look_seconds

    assert leader.look_seconds == 0.1
    after(0)  # from here on it is measured
    assert [round(after(count - 1), 2) for count in (8000, 1000, 500, 250, 20, 1)] == [
        *(0.1, 0.5, 1.0, 2.0, 2.0, 2.0)
    ]
    assert after(7999) == 0.1


@pytest.mark.parametrize("leader", [1000], indirect=True)
def test_it_waits_for_more_but_not_when_there_is_more_already(
    leader: Reactor, ends: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    sleep = time.sleep

    def noted(seconds: float) -> None:
        waits.append(seconds)
        sleep(seconds)

    monkeypatch.setattr("pyboot_svc.worker.mqtt.reactor.sleep", noted)
    monkeypatch.setattr("pyboot_svc.worker.mqtt.link.linger.MEASURE_SECONDS", 0.0)
    monkeypatch.setattr("pyboot_svc.worker.mqtt.link.linger.HOLD_SECONDS", 3600.0)
    monkeypatch.setattr("pyboot_svc.worker.mqtt.link.linger.OVERBUSY_SHARE", -1.0)
    monkeypatch.setattr("pyboot_svc.worker.mqtt.link.linger.BUSY_SHARE", -1.0)
    led = Pollable(ends[0], leader)
    for full, waited in ((False, True), (True, False), (False, True)):
        led.full = full
        for count in range(100_000, 100_020):
            led.count = count  # within less than a second: closer together than 10 µs
            ends[1].send(b"1")
            leader.poll_once(idle)
            if count == 100_009:
                waits.clear()
        assert bool(waits) == waited
        assert all(0 < wait <= 0.001 for wait in waits)


@pytest.mark.parametrize("leader", [1000], indirect=True)
def test_of_several_connections_one_that_has_more_is_enough(
    leader: Reactor, ends: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    noted: list[tuple[int, bool]] = []
    monkeypatch.setattr(Linger, "note", lambda pace, now, count, full: noted.append((count, full)))
    near, far = socket.socketpair()
    with near, far:
        first, second = Pollable(ends[0], leader), Pollable(near, leader)
        second.count = 5
        for first.full, second.full in ((False, False), (True, False), (False, True)):
            ends[1].send(b"1")
            far.send(b"1")
            leader.poll_once(idle)
    assert noted == [(6, False), (6, True), (6, True)]
