"""The service manager's watchdog is told of life only while everything turns."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from support.poll import until

from pyboot_svc.config import Config, WebAddress
from pyboot_svc.starter.base import Settings, StarterContext
from pyboot_svc.starter.builtin import HookStarter


def test_what_stands_still_is_said_and_no_sign_of_life(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "notify.sock"
    monkeypatch.setenv("NOTIFY_SOCKET", str(path))
    monkeypatch.setenv("WATCHDOG_USEC", "150000")
    turning = {"the web": True, "the metrics socket": True}
    context = StarterContext(Settings(tmp_path / "config.yaml", tmp_path, tmp_path))
    context.config, context.web = Config(()), WebAddress()
    for name in turning:
        context.watched[name] = lambda name=name: turning[name]  # type: ignore[misc]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(path))
        manager.settimeout(20)
        hook = HookStarter()
        hook.start(context)
        try:
            until(lambda: b"WATCHDOG=1" in manager.recv(4096), "it lives")
            turning["the web"] = False
            until(lambda: "no progress: the web" in caplog.text, "it is noticed")
        finally:
            hook.stop(context)
