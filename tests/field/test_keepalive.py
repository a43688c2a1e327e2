"""A broker may allow less time between signs of life than a client asked for (MQTT 5, 3.2.2.3.14).

Its word holds for every ping: while idle, and while the worker is behind and reads nothing.

And on a slow link the answer to a ping comes behind a large message, or the ping itself does.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest
from support.broker import Broker
from support.poll import until
from support.stub import (
    CONNECT,
    PINGREQ,
    PINGRESP,
    PUBACK,
    PUBLISH,
    SUBSCRIBE,
    Packet,
    StubBroker,
    publish,
)
from support.workers import Workers

# Server Keep Alive: 2 s, 4 s, and 0, which is none.
ALLOWS_2_S = bytes.fromhex("20 06 01 00 03 13 00 02")
ALLOWS_4_S = bytes.fromhex("20 06 01 00 03 13 00 04")
ALLOWS_ANY = bytes.fromhex("20 06 01 00 03 13 00 00")
MODELS = """
import time
def same(payload):
    return payload
def slow(payload):
    time.sleep(25 if payload == "wait" else 0)
    return payload
def large(payload):
    return "x" * payload
"""
# So long a large message takes on a slow link: more than twice what the broker allows.
LARGE_SECONDS = 8.0
_PIECE_SECONDS = 0.2


class SlowReader:
    """Reads no more than `rate` bytes a second of what is large."""

    def __init__(self, reader: asyncio.StreamReader, rate: int) -> None:
        self._reader = reader
        self._piece = int(rate * _PIECE_SECONDS)

    async def readexactly(self, count: int) -> bytes:
        found = b""
        while len(found) < count:
            if found:
                await asyncio.sleep(_PIECE_SECONDS)
            found += await self._reader.readexactly(min(self._piece, count - len(found)))
        return found


class SlowBroker(StubBroker):
    """One that is behind a slow link, which brings so many bytes a second to it."""

    RATE = 500_000

    def __init__(self, connack: bytes) -> None:
        super().__init__(connack)
        # Little is taken before it is read.
        for listener in self._server.sockets:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32_768)

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        slow = SlowReader(reader, self.RATE)
        await super().talk(cast(asyncio.StreamReader, slow), writer)


@pytest.fixture
def start(
    write_config: Callable[..., Path], workers: Callable[..., Workers]
) -> Callable[..., Workers]:
    """Runs a worker with the broker at `port` for both, which it tells its own `keepalive`."""

    def begin(port: int, keepalive: int, model: str = "same") -> Workers:
        edge = (
            f"{{name: m, edge_mode: my_models.{model}, queue: {{pre: 2}}, "
            f"pre_broker: b, pre_port: {port}, pre_topic: t/in, pre_qos: 1, "
            f"post_broker: b, post_port: {port}, post_topic: t/out, post_qos: 1}}"
        )
        head = f"brokers:\n  b: {{host: 127.0.0.1, keepalive: {keepalive}}}\n"
        return workers(write_config(edge, models=MODELS, head=head))

    return begin


@pytest.mark.parametrize(
    ("connack", "keepalive"), [(ALLOWS_4_S, 3600), (ALLOWS_ANY, 5)], ids=["less", "none"]
)
def test_an_idle_worker_tells_that_it_lives_as_often_as_it_is_to(
    connack: bytes, keepalive: int, start: Callable[..., Workers]
) -> None:
    with StubBroker(connack) as stub:
        start(stub.port, keepalive)
        until(
            lambda: all(
                len([ping for ping in stub.of_kind(PINGREQ) if ping.connection == number]) >= 3
                for number in (1, 2)
            ),
            "three pings of both connections",
            60,
        )
        assert len(stub.of_kind(CONNECT)) == 2


def test_a_worker_that_is_behind_does_so_too(
    start: Callable[..., Workers],
) -> None:
    with StubBroker(ALLOWS_4_S) as stub:
        start(stub.port, 3600, "slow")
        (subscribed,) = stub.of_kind(SUBSCRIBE)
        # More than it said that it takes: it reads on when there is room again.
        flood = [publish("t/in", b'"wait"', 1, 1)]
        flood += [publish("t/in", b"1", 1, mid) for mid in range(2, 40)]
        stub.send(b"".join(flood), subscribed.connection)

        def pings() -> int:
            return sum(ping.connection == subscribed.connection for ping in stub.of_kind(PINGREQ))

        # At first those of an idle connection may be among them, which are answered.
        until(lambda: pings() >= 4, "pings", 22)
        assert not stub.of_kind(PUBACK), "the model is still at the first message"
        until(lambda: len(stub.of_kind(PUBACK)) == 39, "all is worked off", 60)
        assert len(stub.of_kind(CONNECT)) == 2


def test_a_broker_that_allows_less_never_ends_the_connection(
    tmp_path: Path, start: Callable[..., Workers]
) -> None:
    lines = "listener {port} 127.0.0.1\nallow_anonymous true\nmax_keepalive 10\nlog_type all\n"
    broker = Broker(tmp_path / "short", lines).start()
    try:
        app = start(broker.port, 60)
        said = "Received PINGREQ from pyboot-m-1\n"
        until(lambda: broker.log.read_text().count(said) >= 2, "pings", 60)
        assert {link["connects"] for link in app.instance("m-1")["brokers"].values()} == {1}
    finally:
        broker.stop()


def test_an_answer_behind_a_large_message_on_a_slow_link_is_waited_for(
    start: Callable[..., Workers],
) -> None:
    slow: set[int] = set()

    def answer(packet: Packet) -> bytes | None:
        return None if packet.connection in slow else PINGRESP

    with StubBroker(ALLOWS_4_S, pingreq=answer) as stub:
        start(stub.port, 3600)
        (subscribed,) = stub.of_kind(SUBSCRIBE)
        number = subscribed.connection
        message = publish("t/in", b'"%s"' % (b"x" * 40_000), 1)
        size = int(len(message) * _PIECE_SECONDS / LARGE_SECONDS)

        def pings() -> int:
            return sum(ping.connection == number for ping in stub.of_kind(PINGREQ))

        slow.add(number)
        before = pings()
        for at in range(0, len(message), size):
            stub.send(message[at : at + size], number)
            time.sleep(_PIECE_SECONDS)
        missing = pings() - before
        slow.clear()
        stub.send(PINGRESP * missing, number)
        until(lambda: stub.of_kind(PUBACK), "its result is safe")
        assert missing >= 2, "the broker hears of the worker all the same"
        assert len(stub.of_kind(CONNECT)) == 2


def test_a_ping_behind_a_large_result_on_a_slow_link_is_waited_for(
    start: Callable[..., Workers],
) -> None:
    with SlowBroker(ALLOWS_4_S) as stub:
        start(stub.port, 3600, "large")
        (subscribed,) = stub.of_kind(SUBSCRIBE)
        size = int(SlowBroker.RATE * LARGE_SECONDS)
        stub.send(publish("t/in", b"%d" % size, 1), subscribed.connection)
        until(lambda: stub.of_kind(PUBACK), "its result is safe", 60)
        (sent,) = stub.of_kind(PUBLISH)
        assert len(sent.rest) > size
        assert len(stub.of_kind(CONNECT)) == 2


def test_an_end_for_want_of_an_answer_to_a_ping_is_no_messages_fault(
    start: Callable[..., Workers],
) -> None:
    """One that was the first in flight at two losses would be sent alone, and then be given up."""
    dead: set[int] = set()

    def die(packet: Packet) -> None:
        dead.add(packet.connection)

    def answer(packet: Packet) -> bytes | None:
        return None if packet.connection in dead else PINGRESP

    with StubBroker(ALLOWS_2_S, publish=die, pingreq=answer) as stub:
        app = start(stub.port, 3600)
        (subscribed,) = stub.of_kind(SUBSCRIBE)
        inputs = [publish("t/in", b"%d" % number, 1, number) for number in (1, 2, 3)]
        stub.send(b"".join(inputs), subscribed.connection)

        def sent() -> list[int]:
            return list(Counter(packet.connection for packet in stub.of_kind(PUBLISH)).values())

        until(lambda: len(sent()) == 3, "two connections were given up", 30)
        until(lambda: sent()[:3] == [3, 3, 3], "each time all three are sent", 5)
        assert "no answer to PINGREQ" in app.log
