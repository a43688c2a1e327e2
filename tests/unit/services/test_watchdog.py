"""The watchdog of foreground children, with health sockets in every state."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.poll import until

from pyboot_svc.errors import UnavailableError
from pyboot_svc.health.record import Health
from pyboot_svc.health.server import HealthServer
from pyboot_svc.identity import InstanceId
from pyboot_svc.services.watchdog import Watchdog

A = InstanceId("a", 1)
PID = 4711
WELL = Health("a-1", alive=True)


class Kennel:
    """A watchdog over one child, its strikes, and how often it asked."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "a-1" / "health.sock"
        self.path.parent.mkdir()
        self.strikes: list[tuple[InstanceId, int, str]] = []
        self.looks = 0
        self.pids = {A: PID}
        self.restarting = False
        self.trouble: UnavailableError | None = None
        self.watchdog = Watchdog(
            self._socket, 0.3, self._running, lambda *strike: self.strikes.append(strike)
        )

    def _running(self) -> dict[InstanceId, int]:
        if self.restarting:
            self.pids = {A: self.pids[A] + 1}
        return dict(self.pids)

    def _socket(self, identity: InstanceId) -> Path:
        assert identity == A
        self.looks += 1
        if self.trouble is not None:
            raise self.trouble
        return self.path

    def wait_looks(self, more: int) -> None:
        before = self.looks
        until(lambda: self.looks >= before + more, f"{more} looks")

    def wait_strike(self) -> tuple[InstanceId, int, str]:
        until(lambda: self.strikes, "a strike")
        return self.strikes[0]


def test_one_whose_socket_may_be_anybodys_is_left_alone(kennel: Kennel) -> None:
    health = Health("a-1", stalls=("stuck",))
    server = HealthServer(kennel.path, lambda: health)
    kennel.trouble = UnavailableError("somebody else has made the folder")
    try:
        kennel.watchdog.start()
        kennel.wait_looks(3)
        assert kennel.strikes == []
        kennel.trouble = None
        assert kennel.wait_strike() == (A, PID, "stuck")
    finally:
        server.close()


@pytest.fixture
def kennel(tmp_path: Path) -> Iterator[Kennel]:
    made = Kennel(tmp_path)
    yield made
    made.watchdog.stop()


def serve(kennel: Kennel, health: Callable[[], Health]) -> None:
    HealthServer(kennel.path, health)  # its thread is a daemon
    kennel.watchdog.start()


def test_one_that_gets_on_is_left_alone(kennel: Kennel) -> None:
    serve(kennel, lambda: WELL)
    kennel.wait_looks(12)
    assert kennel.strikes == []


def test_one_that_says_that_it_stalls_is_struck_at_once(kennel: Kennel) -> None:
    serve(kennel, lambda: Health("a-1", stalls=("this", "that")))
    assert kennel.wait_strike() == (A, PID, "this; that")


def test_one_that_is_silent_is_struck_after_a_while(kennel: Kennel) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(kennel.path))
        listener.listen(64)
        kennel.watchdog.start()
        identity, pid, reason = kennel.wait_strike()
    assert (identity, pid) == (A, PID)
    assert reason.startswith("no answer for ")
    assert kennel.looks >= 2  # on a busy machine there are no more in that time


def test_one_whose_socket_is_a_dead_ones_is_struck_after_a_while(kennel: Kennel) -> None:
    with socket.socket(socket.AF_UNIX) as left_behind:
        left_behind.bind(str(kennel.path))
    kennel.watchdog.start()
    assert kennel.wait_strike()[2].startswith("no answer for ")


def test_silence_of_a_former_process_does_not_count(kennel: Kennel) -> None:
    with socket.socket(socket.AF_UNIX) as left_behind:
        left_behind.bind(str(kennel.path))
    kennel.restarting = True
    kennel.watchdog.start()
    kennel.wait_looks(12)
    assert kennel.strikes == []


def test_one_that_could_make_no_socket_is_left_alone(kennel: Kennel) -> None:
    kennel.watchdog.start()
    kennel.wait_looks(12)
    assert kennel.strikes == []


def test_nobody_is_asked_when_nobody_runs(kennel: Kennel) -> None:
    kennel.pids = {}
    kennel.watchdog.start()
    kennel.watchdog.stop()
    assert kennel.looks == 0
