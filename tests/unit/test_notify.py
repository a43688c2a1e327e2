"""What a service manager hears, at a real socket of the kind that it listens at."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pyboot_svc.notify import Notifier, watchdog_seconds


class Manager:
    """The other end of NOTIFY_SOCKET."""

    def __init__(self, address: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.settimeout(10)
        self._socket.bind(address)

    def heard(self) -> str:
        return self._socket.recv(4096).decode()

    def hears_nothing_more(self) -> bool:
        self._socket.setblocking(False)
        try:
            self._socket.recv(4096)
        except BlockingIOError:
            return True
        return False

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Manager]:
    address = str(tmp_path / "notify")
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    manager = Manager(address)
    yield manager
    manager.close()


@pytest.fixture
def notifier(manager: Manager) -> Iterator[Notifier]:
    """Tells `manager`."""
    notifier = Notifier()
    yield notifier
    notifier.close()


@pytest.mark.parametrize(
    ("tell", "message"),
    [
        (Notifier.ready, "READY=1"),
        (Notifier.stopping, "STOPPING=1"),
        (Notifier.alive, "WATCHDOG=1"),
        (Notifier.stalled, "WATCHDOG=trigger"),
        (lambda notifier: notifier.status("all is well"), "STATUS=all is well"),
        (lambda notifier: notifier.extend_start(2.5), "EXTEND_TIMEOUT_USEC=2500000"),
    ],
)
def test_what_is_told(
    manager: Manager, notifier: Notifier, tell: Callable[[Notifier], None], message: str
) -> None:
    tell(notifier)
    assert manager.heard() == message
    assert manager.hears_nothing_more()


def test_a_status_is_told_when_it_changes(manager: Manager, notifier: Notifier) -> None:
    for text in ("a", "a", "b", "b", "a"):
        notifier.status(text)
    assert [manager.heard() for _ in range(3)] == ["STATUS=a", "STATUS=b", "STATUS=a"]
    assert manager.hears_nothing_more()


@pytest.mark.parametrize("end", ["\n", "\r\n", "\u2028"])
def test_a_status_cannot_say_anything_else(manager: Manager, notifier: Notifier, end: str) -> None:
    notifier.status(f"refused{end}READY=1")
    assert manager.heard() == "STATUS=refused READY=1"


def test_an_abstract_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"pyboot-test-{os.getpid()}"
    monkeypatch.setenv("NOTIFY_SOCKET", f"@{name}")
    manager = Manager(f"\0{name}")
    notifier = Notifier()
    try:
        notifier.ready()
        assert manager.heard() == "READY=1"
    finally:
        notifier.close()
        manager.close()


def test_without_a_manager_nobody_hears(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    Notifier().ready()


def test_a_manager_that_has_gone_is_no_error(manager: Manager, notifier: Notifier) -> None:
    manager.close()
    notifier.alive()


@pytest.mark.parametrize(
    ("micros", "seconds"),
    [
        ("30000000", 30.0),
        ("1500000", 1.5),
        ("0", None),
        ("-1", None),
        ("soon", None),
        ("", None),
        (None, None),
    ],
)
def test_how_often_a_sign_of_life_is_wanted(
    monkeypatch: pytest.MonkeyPatch, micros: str | None, seconds: float | None
) -> None:
    monkeypatch.delenv("WATCHDOG_PID", raising=False)
    monkeypatch.delenv("WATCHDOG_USEC", raising=False)
    if micros is not None:
        monkeypatch.setenv("WATCHDOG_USEC", micros)
    assert watchdog_seconds() == seconds


@pytest.mark.parametrize(("pid", "seconds"), [(None, 3.0), (1, None)])
def test_a_sign_of_life_is_wanted_of_one_process(
    monkeypatch: pytest.MonkeyPatch, pid: int | None, seconds: float | None
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "3000000")
    monkeypatch.setenv("WATCHDOG_PID", str(pid or os.getpid()))
    assert watchdog_seconds() == seconds
