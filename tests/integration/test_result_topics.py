"""Results that go to topics of their own."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion
from support.broker import Broker
from support.poll import until
from support.workers import Workers

MODELS = """
import time

def same(payload): return payload
def each(payloads): return payloads
def slow(payload):
    time.sleep(0.001)
    return payload
"""
DEVICES = 7
MESSAGES = 700


class Listener:
    """All that comes, by topic."""

    def __init__(self, port: int) -> None:
        self.heard: dict[str, list[Any]] = defaultdict(list)
        self._client = paho.Client(CallbackAPIVersion.VERSION2)
        self._client.on_message = lambda _client, _data, message: self.heard[message.topic].append(
            json.loads(message.payload)
        )
        ready: list[bool] = []
        self._client.on_subscribe = lambda *_: ready.append(True)
        self._client.connect("127.0.0.1", port)
        self._client.subscribe("#", 1)
        self._client.loop_start()
        until(lambda: ready, "it is subscribed")

    def publish(self, topic: str, payload: Any) -> None:
        self._client.publish(topic, json.dumps(payload), 1)

    def count(self, prefix: str) -> int:
        return sum(
            len(found) for topic, found in list(self.heard.items()) if topic.startswith(prefix)
        )

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


@pytest.fixture
def run(
    write_config: Callable[..., Path], workers: Callable[..., Workers], topic: str
) -> Callable[..., Workers]:
    def start(more: str, model: str = "same", ready: bool = True) -> Workers:
        edge = (
            f"{{name: edge, edge_mode: my_models.{model}, pre_topic: {topic}/in/+, "
            f"post_topic: '{topic}/out/{{topic[3]}}/{{device}}', {more}}}"
        )
        return workers(write_config(edge, models=MODELS), ready=ready)

    return start


@pytest.mark.parametrize(
    "more",
    [
        "pre_qos: 1, post_qos: 0",
        "pre_qos: 1, post_qos: 1",
        "pre_qos: 1, post_qos: 2",
        "pre_qos: 1, post_qos: 1, batch: {max_size: 50}",
        "pre_qos: 1, post_qos: 1, threads: 3",
    ],
)
def test_each_device_gets_its_own_in_order(
    run: Callable[..., Workers], broker: Broker, topic: str, more: str
) -> None:
    started = run(more, "each" if "batch" in more else "same")
    listener = Listener(broker.port)
    try:
        for number in range(MESSAGES):
            device = number % DEVICES
            listener.publish(f"{topic}/in/h{device % 2}", {"device": device, "n": number})
        until(lambda: listener.count(f"{topic}/out/") == MESSAGES, "all results", 60.0)
        for device in range(DEVICES):
            found = [one["n"] for one in listener.heard[f"{topic}/out/h{device % 2}/{device}"]]
            assert found == list(range(device, MESSAGES, DEVICES))
        until(lambda: started.instance("edge-1")["unacknowledged"] == 0, "all acknowledged")
        assert started.instance("edge-1")["errors"] == {}
    finally:
        listener.close()


def test_what_can_not_be_filled_in_is_a_dead_letter_that_says_so(
    run: Callable[..., Workers], broker: Broker, topic: str
) -> None:
    started = run("pre_qos: 1, post_qos: 1")
    listener = Listener(broker.port)
    try:
        for payload in ({"n": 1}, {"device": "a/b"}, {"device": "good"}):
            listener.publish(f"{topic}/in/h", payload)
        until(lambda: listener.count(f"{topic}/out/h/good") == 1, "the good one")
        assert started.instance("edge-1")["errors"] == {"not_encodable": 2}
        started.wait_log("post_topic needs {device}, which the result doesn't have")
        started.wait_log("post_topic's {device} is 'a/b': it must be one level of a topic")
        assert listener.count(f"{topic}/out/") == 1
    finally:
        listener.close()


def test_results_that_waited_on_disk_keep_their_topics(
    run: Callable[..., Workers], broker: Broker, tmp_path: Path, topic: str
) -> None:
    other = Broker(tmp_path / "other").start()
    port = other.port
    other.stop()
    started = run(f"pre_qos: 1, post_qos: 1, post_port: {port}", ready=False)
    started.wait_log("subscribed to")
    source = Listener(broker.port)
    for device in "abc":
        source.publish(f"{topic}/in/h", {"device": device})
    until(lambda: started.instance("edge-1")["spooled"] == 3, "they are on disk")
    source.close()
    other.start()
    sink = Listener(port)
    try:
        names = [f"{topic}/out/h/{device}" for device in "abc"]
        until(lambda: all(name in sink.heard for name in names), "all have come", 40.0)
    finally:
        sink.close()
        other.stop()
