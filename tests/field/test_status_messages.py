"""Brokers that don't take what an instance says of itself: results go out all the same."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from support.broker import Broker
from support.client import Plant
from support.poll import until
from support.stub import Answer, Packet, StubBroker, puback
from support.workers import Workers

MODELS = """
def same(payload):
    return payload
"""
CONNACK_311 = b"\x20\x02\x00\x00"
# Several losses of the connection, one after another, on a busy machine.
LONG = 90.0


def published(app: Workers) -> int:
    count: int = app.instance("m-1")["counters"]["published"]
    return count


def states(reader: Plant) -> list[str]:
    return [payload["state"] for payload in reader.payloads()]


def come_through(app: Workers, plant: Plant, topic: str) -> None:
    """Results do, and the connection stays."""
    plant.publish_all(topic, list(range(20)), 1)
    until(lambda: published(app) == 20, "all results are published", LONG)
    until(lambda: not app.reasons, "ready", LONG)


def test_one_that_the_broker_hangs_up_on_is_given_up(
    config: Callable[..., Path], workers: Callable[..., Workers], plant: Plant, topic: str
) -> None:
    """As AWS IoT Core does for a topic that isn't allowed."""

    def answer(packet: Packet) -> bytes | Answer | None:
        if packet.topic.startswith("pyboot/status/"):
            return Answer(hang_up=True)
        return puback(packet.mid) if packet.qos else None

    with StubBroker(connect=lambda packet: CONNACK_311, publish=answer) as stub:
        app = workers(config(stub.port, "3.1.1", more="status: {}"), ready=False)
        app.wait_log("subscribed to")
        app.wait_log("the status at pyboot/status/m-1 is not published for an hour", LONG)
        come_through(app, plant, topic)
        assert "it happens whenever the status at pyboot/status/m-1 is sent" in app.log
        assert "twice?" not in app.log


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_one_that_is_too_large_is_named(
    protocol: str,
    config: Callable[..., Path],
    workers: Callable[..., Workers],
    plant: Plant,
    topic: str,
    post_broker: Callable[[str], Broker],
) -> None:
    """By MQTT 5 the broker has told how large it may be; by 3.1.1 it hangs up."""
    post = post_broker("max_packet_size 500\n")
    app = workers(config(post.port, protocol, more="status: {home_assistant: true}"))
    plant.publish(topic, {"temperature": 21.5}, 1)
    app.wait_log("the discovery message at homeassistant/", LONG)
    app.wait_log("is not published", LONG)
    until(lambda: published(app) == 1, "the first result", LONG)
    plant.publish_all(topic, list(range(19)), 1)
    until(lambda: published(app) == 20, "all results are published", LONG)
    if protocol == "5":
        assert "larger than the 500 bytes it takes" in app.log
        assert app.instance("m-1")["brokers"]["post"]["connects"] == 1


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_to_a_broker_without_qos_1_they_go_at_qos_0(
    protocol: str,
    config: Callable[..., Path],
    workers: Callable[..., Workers],
    post_broker: Callable[[str], Broker],
) -> None:
    """The last will included, with which it would not let the client in."""
    post = post_broker("max_qos 0\n")
    app = workers(config(post.port, protocol, more="status: {}"), ready=False)
    with Plant(post.port, protocol) as reader:
        reader.subscribe("pyboot/status/+", 0)
        reader.wait_for(1, LONG)
        until(lambda: not app.reasons, "ready", LONG)
        os.kill(app.instance("m-1")["pid"], signal.SIGKILL)
        until(lambda: "offline" in states(reader), "its last will", LONG)
