"""The worker's end of the metrics socket, with the test as its master."""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from support.poll import until
from support.timeouts import default_timeout

from pyboot_svc import __version__
from pyboot_svc.identity import InstanceId
from pyboot_svc.master.hub import Hub
from pyboot_svc.metrics.reporter import Reporter
from pyboot_svc.sockets.unix import open_listener


class Master:
    """One accepted connection of the reporter's."""

    def __init__(self, listener: socket.socket) -> None:
        listener.settimeout(20)
        self._connection, _ = listener.accept()
        self._connection.settimeout(20)
        self._lines: BinaryIO = self._connection.makefile("rb")

    def read(self) -> Any:
        return json.loads(self._lines.readline())

    def send(self, data: bytes) -> None:
        self._connection.sendall(data)

    def is_closed(self) -> bool:
        try:
            return self._lines.readline() == b""
        except ConnectionResetError:
            return True

    def close(self) -> None:
        self._lines.close()
        self._connection.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "metrics.sock"


@pytest.fixture
def reporter(path: Path) -> Iterator[Reporter]:
    """Not started yet; counts the questions in `pre_queue`."""
    asked = 0

    def snapshot() -> dict[str, Any]:
        nonlocal asked
        asked += 1
        return {"pre_queue": asked, "post_queue": 0}

    made = Reporter(path, "a-1", snapshot)
    yield made
    made.stop()


def reporter_threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name == "metrics"}


def test_hello_then_one_snapshot_a_question(path: Path, reporter: Reporter) -> None:
    with open_listener(path) as listener:
        reporter.start()
        with closing(Master(listener)) as master:
            assert master.read() == {
                "instance": "a-1",
                "pid": os.getpid(),
                "version": __version__,
            }
            for number in (1, 2, 3):
                master.send(b"?\n")
                assert master.read() == {"pre_queue": number, "post_queue": 0}


def test_it_waits_for_a_question_whatever_timeout_a_model_has_set(
    path: Path, reporter: Reporter
) -> None:
    with open_listener(path) as listener, default_timeout(0):
        reporter.start()
        with closing(Master(listener)) as master:
            master.read()
            for number in (1, 2, 3):
                master.send(b"?\n")
                assert master.read() == {"pre_queue": number, "post_queue": 0}


def test_its_token_is_read_anew_for_each_hello(path: Path) -> None:
    tokens = ["", "first", "second"]
    made = Reporter(path, "a-1", dict, lambda: tokens.pop(0))
    with open_listener(path) as listener:
        made.start()
        found = []
        for _ in range(3):
            with closing(Master(listener)) as master:
                found.append(master.read().get("token"))
    made.stop()
    assert found == [None, "first", "second"]


def test_questions_in_pieces_and_several_at_once(path: Path, reporter: Reporter) -> None:
    with open_listener(path) as listener:
        reporter.start()
        with closing(Master(listener)) as master:
            master.read()
            master.send(b"?")
            master.send(b"\n?\n?\n")
            assert [master.read()["pre_queue"] for _ in range(3)] == [1, 2, 3]


def test_what_is_no_question_gets_no_answer(path: Path, reporter: Reporter) -> None:
    with open_listener(path) as listener:
        reporter.start()
        with closing(Master(listener)) as master:
            master.read()
            master.send(b"\nhello\n??\n?\r\n\xff\n?\n")
            assert master.read() == {"pre_queue": 1, "post_queue": 0}


def test_it_leaves_a_master_that_never_ends_its_line(path: Path, reporter: Reporter) -> None:
    with open_listener(path) as listener:
        reporter.start()
        with closing(Master(listener)) as master:
            master.read()
            try:
                master.send(b"x" * 100_000)
            except (BrokenPipeError, ConnectionResetError):
                pass  # it left before all of it was sent
            assert master.is_closed()
        with closing(Master(listener)) as master:
            assert master.read()["instance"] == "a-1"


def test_it_waits_for_a_master_and_finds_it_again(path: Path, reporter: Reporter) -> None:
    reporter.start()
    for _ in range(3):
        with open_listener(path) as listener:
            hub = Hub([listener], [InstanceId("a", 1)])
            hub.start()
            try:
                until(lambda: hub.scrape()["a-1"].snapshot, "the reporter is there")  # noqa: B023
            finally:
                hub.stop()


def test_stopped_it_does_not_come_back(path: Path, reporter: Reporter) -> None:
    before = reporter_threads()
    with open_listener(path) as listener:
        reporter.start()
        with closing(Master(listener)) as master:
            master.read()
            [thread] = reporter_threads() - before
            reporter.stop()
        thread.join(20)
        assert not thread.is_alive()
        listener.settimeout(0)
        with pytest.raises(BlockingIOError):
            listener.accept()
