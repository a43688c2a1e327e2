"""A message that a broker hangs up on: found among many, and no other is taken for its like."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from support.broker import Broker
from support.client import Plant
from support.poll import until
from support.store import rows
from support.stub import CONNACK, PUBLISH, Answer, Packet, StubBroker, puback
from support.workers import Workers

MODELS = """
def same(payload, context):
    context.publish(payload, f"{context.topic}/{payload['to']}")
"""
CONNACKS = {"5": CONNACK, "3.1.1": b"\x20\x02\x00\x00"}
LARGE = "x" * 3000
# Several losses of the connection, one after another, on a busy machine.
LONG = 90.0
# So long acknowledgements are held back, as by a broker that writes many at once.
HELD_SECONDS = 0.1


def message(number: int, text: str = "", to: str = "out") -> dict[str, Any]:
    return {"n": number, "to": to, "text": text}


def number_of(packet: Packet) -> int | None:
    """Of a result, with or without properties in front of the payload; a dead letter has none."""
    found: int | None = json.loads(packet.rest[packet.rest.index(b"{") :]).get("n")
    return found


def given_up(tmp_path: Path) -> list[int]:
    kept = rows(tmp_path / "state" / "m-1", "SELECT payload FROM dead ORDER BY id")
    return [json.loads(payload)["n"] for (payload,) in kept]


def counters(app: Workers) -> dict[str, int]:
    found: dict[str, int] = app.instance("m-1")["counters"]
    return found


@pytest.mark.parametrize("protocol", ["3.1.1", "5"])
def test_it_is_found_behind_others_whose_acknowledgements_are_lost(
    protocol: str,
    config: Callable[..., Path],
    workers: Callable[..., Workers],
    plant: Plant,
    topic: str,
    tmp_path: Path,
) -> None:
    """Each connection takes one of those in front of it away, so that never the same is first."""
    bad = 30
    heard: set[int] = set()

    def answer(packet: Packet) -> bytes | Answer | None:
        if not packet.qos or number_of(packet) == bad:
            return Answer(hang_up=bool(packet.qos))
        if packet.connection not in heard:
            heard.add(packet.connection)
            return puback(packet.mid)
        late = partial(stub.send, puback(packet.mid), packet.connection)
        asyncio.get_running_loop().call_later(HELD_SECONDS, late)
        return None

    with StubBroker(CONNACKS[protocol], publish=answer) as stub:
        app = workers(config(stub.port, protocol), "--state-dir", str(tmp_path / "state"))
        app.wait_log("subscribed to")
        plant.publish_all(topic, [message(n) for n in range(1, 41)], 1)
        until(lambda: given_up(tmp_path) == [bad], "it is given up", LONG)
        until(lambda: counters(app)["published"] == 39, "the others are published", LONG)
        assert stub.connections < 20
    assert "twice?" not in app.log


@pytest.mark.parametrize("spooled", [False, True], ids=["straight", "by the spool"])
def test_mosquitto_takes_all_but_the_last(
    spooled: bool,
    post_broker: Callable[[str], Broker],
    config: Callable[..., Path],
    workers: Callable[..., Workers],
    plant: Plant,
    topic: str,
    tmp_path: Path,
) -> None:
    count = 500 if spooled else 20
    post = post_broker("max_packet_size 2000\n")
    if spooled:
        post.stop()
    file = config(post.port, "3.1.1")
    app = workers(file, "--state-dir", str(tmp_path / "state"), ready=not spooled)
    app.wait_log("subscribed to")
    messages = [message(n, LARGE if n == count else "") for n in range(1, count + 1)]
    plant.publish_all(topic, messages, 1)
    if spooled:
        until(lambda: counters(app)["spooled"] == count, "all are spooled", LONG)
        post.start()
    until(lambda: given_up(tmp_path) == [count], "it is given up", LONG)
    until(lambda: counters(app)["published"] == count - 1, "the others are published", LONG)


@pytest.mark.parametrize("larger_before", [False, True])
@pytest.mark.parametrize("kind", ["content", "topics"])
def test_what_is_larger_is_no_worse(
    kind: str,
    larger_before: bool,
    config: Callable[..., Path],
    workers: Callable[..., Workers],
    plant: Plant,
    topic: str,
    tmp_path: Path,
) -> None:
    """It minds what one says, or where some go; a smaller one gets through after that."""
    bad = [1] if kind == "content" else [1, 2, 3]

    def answer(packet: Packet) -> bytes | Answer:
        return Answer(hang_up=True) if number_of(packet) in bad else puback(packet.mid)

    def send(*messages: dict[str, Any]) -> None:
        before = counters(app)["processed"]
        plant.publish_all(topic, [*messages], 1)
        until(lambda: counters(app)["processed"] == before + len(messages), "processed", LONG)

    def published(*numbers: int) -> bool:
        came = {number_of(packet) for packet in stub.of_kind(PUBLISH) if packet.qos}
        return came >= set(numbers)

    medium, large = "x" * 100, "x" * 300
    with StubBroker(CONNACKS["3.1.1"], publish=answer) as stub:
        app = workers(config(stub.port, "3.1.1"), "--state-dir", str(tmp_path / "state"))
        app.wait_log("subscribed to")
        if larger_before:
            send(*[message(n, large) for n in range(30, 60)])
        send(*[message(n, medium, f"bad{n}" if kind == "topics" else "out") for n in bad])
        until(lambda: given_up(tmp_path) == bad, "they are given up", LONG)
        send(message(70))
        until(lambda: published(70), "a smaller one", LONG)
        send(*[message(n, large) for n in range(80, 85)])
        until(lambda: published(*range(80, 85)), "larger ones", LONG)
        assert given_up(tmp_path) == bad
