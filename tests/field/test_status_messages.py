"""Brokers that don't take what an instance says of itself: results go out all the same."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from support.app import Up, data_plane
from support.broker import Broker
from support.client import Plant
from support.poll import until
from support.stub import Answer, Packet, StubBroker, puback

MODELS = """
def same(payload):
    return payload
"""
CONNACK_311 = b"\x20\x02\x00\x00"
# Several losses of the connection, one after another, on a busy machine.
LONG = 90.0


@pytest.fixture
def config(tmp_path: Path, broker: Broker, topic: str) -> Callable[..., Path]:
    """Writes a configuration of one edge that says how it is to the broker at `post_port`."""

    def write(post_port: int, protocol: str, status: str = "{}") -> Path:
        (tmp_path / "my_models.py").write_text(MODELS)
        file = tmp_path / "config.yaml"
        file.write_text(
            f"""
model_path: .
brokers:
  pre: {{host: 127.0.0.1, port: {broker.port}}}
  post: {{host: 127.0.0.1, port: {post_port}, protocol: "{protocol}"}}
edge:
- name: m
  edge_mode: my_models.same
  data_plane: {data_plane()}
  pre_broker: pre
  pre_topic: {topic}
  pre_qos: 1
  post_broker: post
  post_topic: {topic}/out
  post_qos: 1
  status: {status}
"""
        )
        return file

    return write


def published(app: Up) -> int:
    count: int = app.instance("m-1")["counters"]["published"]
    return count


def states(reader: Plant) -> list[str]:
    return [payload["state"] for payload in reader.payloads()]


def come_through(app: Up, plant: Plant, topic: str) -> None:
    """Results do, and the connection stays."""
    plant.publish_all(topic, list(range(20)), 1)
    until(lambda: published(app) == 20, "all results are published", LONG)
    until(lambda: app.get("/readyz")[0] == 200, "ready", LONG)


def test_one_that_the_broker_hangs_up_on_is_given_up(
    config: Callable[..., Path], up: Callable[..., Up], plant: Plant, topic: str
) -> None:
    """As AWS IoT Core does for a topic that isn't allowed."""

    def answer(packet: Packet) -> bytes | Answer | None:
        if packet.topic.startswith("pyboot/status/"):
            return Answer(hang_up=True)
        return puback(packet.mid) if packet.qos else None

    with StubBroker(connect=lambda packet: CONNACK_311, publish=answer) as stub:
        app = up(config(stub.port, "3.1.1"), ready=False)
        app.wait_log("subscribed to")
        app.wait_log("the status at pyboot/status/m-1 is not published for an hour", LONG)
        come_through(app, plant, topic)
        assert "it happens whenever the status at pyboot/status/m-1 is sent" in app.log
        assert "twice?" not in app.log


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_one_that_is_too_large_is_named(
    protocol: str,
    config: Callable[..., Path],
    up: Callable[..., Up],
    plant: Plant,
    topic: str,
    tmp_path: Path,
) -> None:
    """By MQTT 5 the broker has told how large it may be; by 3.1.1 it hangs up."""
    lines = "listener {port} 127.0.0.1\nallow_anonymous true\nmax_packet_size 500\n"
    post = Broker(tmp_path / "post", lines).start()
    try:
        app = up(config(post.port, protocol, "{home_assistant: true}"))
        plant.publish(topic, {"temperature": 21.5}, 1)
        app.wait_log("the discovery message at homeassistant/", LONG)
        app.wait_log("is not published", LONG)
        until(lambda: published(app) == 1, "the first result", LONG)
        plant.publish_all(topic, list(range(19)), 1)
        until(lambda: published(app) == 20, "all results are published", LONG)
        if protocol == "5":
            assert "larger than the 500 bytes it takes" in app.log
            assert app.instance("m-1")["brokers"]["post"]["connects"] == 1
    finally:
        post.stop()


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_to_a_broker_without_qos_1_they_go_at_qos_0(
    protocol: str,
    config: Callable[..., Path],
    up: Callable[..., Up],
    topic: str,
    tmp_path: Path,
) -> None:
    """The last will included, with which it would not let the client in."""
    post = Broker(
        tmp_path / "post", "listener {port} 127.0.0.1\nmax_qos 0\nallow_anonymous true\n"
    ).start()
    try:
        app = up(config(post.port, protocol), ready=False)
        with Plant(post.port, protocol) as reader:
            reader.subscribe("pyboot/status/+", 0)
            reader.wait_for(1, LONG)
            until(lambda: app.get("/readyz")[0] == 200, "ready", LONG)
            os.kill(app.instance("m-1")["pid"], signal.SIGKILL)
            until(lambda: "offline" in states(reader), "its last will", LONG)
    finally:
        post.stop()
