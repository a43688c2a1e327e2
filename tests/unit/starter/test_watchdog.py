"""Whether the master makes progress: told to the service manager, or asked at the health socket."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from support.poll import until

from pyboot_svc.config import Config, WebAddress
from pyboot_svc.health.client import ask_health, master_health_socket
from pyboot_svc.starter.base import Settings, StarterContext
from pyboot_svc.starter.builtin import HookStarter

Turning = dict[str, bool]


@pytest.fixture
def turning() -> Turning:
    return {"the web": True, "the metrics socket": True}


@pytest.fixture
def context(tmp_path: Path, turning: Turning) -> StarterContext:
    context = StarterContext(Settings(tmp_path / "config.yaml", tmp_path, tmp_path))
    context.config, context.web = Config(()), WebAddress()
    for name in turning:
        context.watched[name] = lambda name=name: turning[name]  # type: ignore[misc]
    return context


def test_what_stands_still_is_said_and_no_sign_of_life(
    tmp_path: Path,
    context: StarterContext,
    turning: Turning,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    path = tmp_path / "notify.sock"
    monkeypatch.setenv("NOTIFY_SOCKET", str(path))
    monkeypatch.setenv("WATCHDOG_USEC", "150000")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(path))
        manager.settimeout(20)
        hook = HookStarter()
        hook.start(context)
        try:
            until(lambda: b"WATCHDOG=1" in manager.recv(4096), "it lives")
            turning["the web"] = False
            until(lambda: "the web makes no progress" in caplog.text, "it is noticed")
        finally:
            hook.stop(context)
    assert not master_health_socket(tmp_path).exists()


def test_who_asks_is_told_of_what_stands_still(
    tmp_path: Path, context: StarterContext, turning: Turning
) -> None:
    path = master_health_socket(tmp_path)
    hook = HookStarter()
    hook.start(context)
    try:
        assert ask_health(path, 20).ready
        turning["the web"] = False
        answer = ask_health(path, 20)
        assert not answer.alive
        assert answer.stalls == ("the web makes no progress",)
    finally:
        hook.stop(context)
    assert not path.exists()


def test_a_master_that_can_not_be_asked_works_and_says_so(
    tmp_path: Path, context: StarterContext, caplog: pytest.LogCaptureFixture
) -> None:
    master_health_socket(tmp_path).parent.write_text("no folder")
    hook = HookStarter()
    hook.start(context)
    hook.stop(context)
    assert "`pyboot health master` can't see how the master does" in caplog.text
