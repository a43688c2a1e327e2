"""Whoever looks at a worker is waited for as long as they read."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from support.poll import until

from pyboot_svc.tracing.server import SOCKET_NAME, TraceServer

# More than the kernel holds of what isn't read.
LINES = 1000


class Passing:
    """A thousand messages of a kilobyte have passed since the last time."""

    def __init__(self) -> None:
        self.closed = threading.Event()

    def documents(self) -> Iterator[dict[str, Any]]:
        for number in range(LINES):
            yield {"number": number, "input": "x" * 1000}

    def close(self) -> None:
        self.closed.set()


@contextmanager
def looking(folder: Path) -> Iterator[tuple[socket.socket, Passing]]:
    passing = Passing()
    server = TraceServer(folder, lambda wish: passing)
    try:
        with socket.socket(socket.AF_UNIX) as viewer:
            viewer.settimeout(20)
            viewer.connect(str(folder / SOCKET_NAME))
            viewer.sendall(b'{"topic": null, "errors": false}\n')
            yield viewer, passing
    finally:
        server.close()


def has_filled(viewer: socket.socket) -> Callable[[], bool]:
    """Nothing more has come to be read for a moment."""
    before = -1

    def settled() -> bool:
        nonlocal before
        now = len(viewer.recv(1 << 20, socket.MSG_PEEK))
        same, before = now == before, now
        return same

    return settled


def test_who_reads_slowly_is_shown_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To read all that the kernel holds takes this reader longer than one who reads nothing is
    waited for."""
    monkeypatch.setattr("pyboot_svc.tracing.server.PATIENCE_SECONDS", 1.0)
    with looking(tmp_path) as (viewer, passing):
        heard = bytearray()
        end = time.monotonic() + 4
        while time.monotonic() < end:
            heard += viewer.recv(512)
            time.sleep(0.05)
        assert not passing.closed.is_set()
        with viewer.makefile("rb") as rest:
            heard += rest.readline()
            while heard.count(b"\n") <= LINES:
                line = rest.readline()
                assert line, "it was left alone"
                heard += line
    watching, *shown = [json.loads(line) for line in heard.splitlines()]
    assert watching == {"watching": True}
    assert [one["number"] for one in shown] == list(range(LINES))


def test_who_reads_nothing_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pyboot_svc.tracing.server.PATIENCE_SECONDS", 0.2)
    with looking(tmp_path) as (_, passing):
        assert passing.closed.wait(20)


def test_who_goes_while_it_is_waited_for_is_not_waited_for(tmp_path: Path) -> None:
    with looking(tmp_path) as (viewer, passing):
        until(has_filled(viewer), "the kernel holds as much as it may")
        viewer.close()
        assert passing.closed.wait(10)  # a reader is waited for 20 s
