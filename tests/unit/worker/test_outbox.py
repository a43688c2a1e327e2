"""The outbox on a real connection; the test is the broker, and whoever has results."""

from __future__ import annotations

import socket
import threading
from collections import deque
from collections.abc import Callable, Iterator

import pytest
from support.store import configured

from pyboot_svc.config import Broker, Endpoint
from pyboot_svc.worker import connection
from pyboot_svc.worker.message import Message
from pyboot_svc.worker.outbox import MqttOutbox
from pyboot_svc.worker.outgoing import Outgoing, Sendable
from pyboot_svc.worker.packets import Parser

CONNACK = b"\x20\x02\x00\x00"
# More than one window of either data plane.
RESULTS = 5000


class Results:
    """A source without a spool."""

    def __init__(self) -> None:
        self.waiting: deque[Message] = deque()
        self.online = threading.Event()

    def connected(self) -> None:
        self.online.set()

    def lost(self, in_flight: list[Sendable]) -> None:
        self.online.clear()

    def ready(self) -> bool:
        return bool(self.waiting)

    def take_rows(self, room: int) -> list[Outgoing]:
        return []

    def take_results(self, room: int) -> list[Message]:
        return [self.waiting.popleft() for _ in range(min(room, len(self.waiting)))]

    def delivered(self, items: list[Sendable]) -> None:
        pass

    def refused(self, items: list[Sendable], reason: str) -> None:
        raise AssertionError(reason)


class Line:
    """An outbox that is connected to `broker`, by MQTT 3.1.1 at QoS 0."""

    def __init__(self, data_plane: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            server.settimeout(20)
            there = Broker("127.0.0.1", server.getsockname()[1], protocol="3.1.1")
            self.outbox = MqttOutbox(
                configured(post=Endpoint(there, "out", 0), data_plane=data_plane)
            )
            self.results = Results()
            self.outbox.start(self.results, lambda: None)
            self.broker, _ = server.accept()
        self.broker.settimeout(20)
        assert self.broker.recv(1024).startswith(b"\x10"), "CONNECT"
        self.broker.sendall(CONNACK)
        assert self.results.online.wait(20)
        self._parser = Parser(False, 0)

    def receive(self, count: int) -> list[bytes]:
        found: list[bytes] = []
        while len(found) < count:
            arrivals = self._parser.feed(self.broker.recv(65_536), 0)
            found += [message.payload for message in arrivals.messages]
        return found

    def close(self) -> None:
        self.outbox.stop(20)
        self.broker.close()


@pytest.fixture
def connect(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Line]]:
    # What is forgotten until the loop turns by itself would be found too late for the test.
    monkeypatch.setattr(connection, "_TICK_SECONDS", 3600.0)
    lines: list[Line] = []

    def start(data_plane: str) -> Line:
        lines.append(Line(data_plane))
        return lines[-1]

    yield start
    for line in lines:
        line.close()


@pytest.mark.parametrize("data_plane", ["bulk", "plain"])
@pytest.mark.parametrize("size", [4, 50_000])
def test_one_nudge_sends_all_that_waits_however_many_windows(
    data_plane: str, size: int, connect: Callable[[str], Line]
) -> None:
    line = connect(data_plane)
    count = RESULTS if size < 1000 else 200
    payloads = [b"%04d" % number * (size // 4) for number in range(count)]
    for payload in payloads:
        message = Message("in", payload, 0)
        message.result = payload
        line.results.waiting.append(message)
    line.outbox.nudge()
    assert line.receive(count) == payloads
