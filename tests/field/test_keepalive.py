"""A broker may allow less time between signs of life than a client asked for (MQTT 5, 3.2.2.3.14).

Its word holds for every ping: while idle, and while the worker is behind and reads nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from support.broker import Broker
from support.poll import until
from support.stub import CONNECT, PINGREQ, PUBACK, SUBSCRIBE, StubBroker, publish
from support.workers import Workers

# Server Keep Alive: 4 s, and 0, which is none.
ALLOWS_4_S = bytes.fromhex("20 06 01 00 03 13 00 04")
ALLOWS_ANY = bytes.fromhex("20 06 01 00 03 13 00 00")
MODELS = """
import time
def same(payload):
    return payload
def slow(payload):
    time.sleep(25 if payload == "wait" else 0)
    return payload
"""


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
