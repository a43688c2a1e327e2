"""A thread that leads waits for all connections that have joined, and serves them."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest
from support.poll import until

from pyboot_svc.worker.leader import Leader


class Led:
    def __init__(self, sock: socket.socket, leader: Leader) -> None:
        self.sock = sock
        self.received: list[bytes] = []
        leader.join(sock.fileno(), self)

    def serve(self) -> int:
        self.received.append(self.sock.recv(100))
        return 1


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    near, far = socket.socketpair()
    with near, far:
        yield near, far


@pytest.fixture
def leader() -> Leader:
    return Leader(0)


def idle() -> bool:
    return False


def test_without_a_connection_there_is_nothing_to_wait_for(leader: Leader) -> None:
    assert not leader.lead(idle)


def test_what_comes_is_taken_in(leader: Leader, ends: tuple[socket.socket, socket.socket]) -> None:
    near, far = ends
    led = Led(near, leader)
    far.send(b"1")
    assert leader.lead(idle)
    assert led.received == [b"1"]


def test_it_does_not_wait_when_there_is_work(
    leader: Leader, ends: tuple[socket.socket, socket.socket]
) -> None:
    led = Led(ends[0], leader)
    ends[1].send(b"1")
    assert leader.lead(lambda: True)
    assert led.received == []


def test_one_that_has_left_is_not_served(
    leader: Leader, ends: tuple[socket.socket, socket.socket]
) -> None:
    led = Led(ends[0], leader)
    leader.leave(ends[0].fileno())
    ends[1].send(b"1")
    assert not leader.lead(idle)
    assert led.received == []


def test_one_that_has_not_joined_may_leave(leader: Leader) -> None:
    leader.leave(12345)


def test_one_whose_socket_was_closed_may_leave(
    leader: Leader, ends: tuple[socket.socket, socket.socket]
) -> None:
    Led(ends[0], leader)
    descriptor = ends[0].fileno()
    ends[0].close()
    leader.leave(descriptor)
    assert not leader.lead(idle)


def test_it_can_be_recalled_while_it_waits(
    leader: Leader,
    ends: tuple[socket.socket, socket.socket],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pyboot_svc.worker.leader._TICK_SECONDS", 600)
    led = Led(ends[0], leader)
    work = threading.Event()

    def run() -> None:
        while not work.is_set():
            leader.lead(work.is_set)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    until(lambda: leader.gets_on, "it waits")
    work.set()
    leader.recall()
    thread.join(20)
    assert not thread.is_alive()
    assert led.received == []


def test_it_gets_on_while_it_waits_and_not_long_after(
    leader: Leader, ends: tuple[socket.socket, socket.socket]
) -> None:
    assert not leader.gets_on
    Led(ends[0], leader)
    ends[1].send(b"1")
    leader.lead(idle)
    assert leader.gets_on
    until(lambda: not leader.gets_on, "it is away for long")


def test_in_a_quiet_time_it_may_be_left_alone_for_longer(
    leader: Leader, ends: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    Led(ends[0], leader)
    ends[1].send(b"1")
    leader.lead(idle)
    under_load = leader.look_seconds
    monkeypatch.setattr("pyboot_svc.worker.leader._TICK_SECONDS", 0.2)
    leader.lead(idle)
    assert leader.look_seconds > under_load
