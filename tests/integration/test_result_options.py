"""How results are published: retained, for a while, with a content type."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from queue import Queue
from typing import Any

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion
from support.broker import Broker
from support.client import Plant
from support.poll import until
from support.workers import Workers

MODELS = "def same(payload): return payload\ndef fails(payload): raise KeyError(payload)\n"


@pytest.fixture
def hear(broker: Broker) -> Iterator[Callable[[str], Queue[Any]]]:
    """Subscribes to a filter by MQTT 5; gives the queue that messages come to."""
    clients = []

    def subscribe(topic_filter: str) -> Queue[Any]:
        client = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
        heard: Queue[Any] = Queue()
        client.on_message = lambda _client, _data, message: heard.put(message)
        ready: Queue[Any] = Queue()
        client.on_subscribe = lambda *_: ready.put(True)
        client.connect("127.0.0.1", broker.port)
        client.subscribe(topic_filter, 1)
        client.loop_start()
        clients.append(client)
        ready.get(timeout=10)
        return heard

    yield subscribe
    for client in clients:
        client.disconnect()
        client.loop_stop()


@pytest.fixture
def run(
    write_config: Callable[..., Path], workers: Callable[..., Workers], topic: str
) -> Callable[..., Workers]:
    def start(more: str, model: str = "same") -> Workers:
        edge = (
            f"{{name: edge, edge_mode: my_models.{model}, pre_topic: {topic}/in, "
            f"post_topic: {topic}/out, {more}}}"
        )
        return workers(write_config(edge, models=MODELS))

    return start


ALL = "post_retain: true, post_expiry: 600, post_content_type: application/json"


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_all_of_them(
    run: Callable[..., Workers],
    hear: Callable[[str], Queue[Any]],
    plant: Plant,
    topic: str,
    qos: int,
) -> None:
    run(f"{ALL}, pre_qos: {min(qos, 1)}, post_qos: {qos}")
    live = hear(f"{topic}/out")
    for number in range(3):
        plant.publish(f"{topic}/in", number, qos=1)
        message = live.get(timeout=20)
        assert (message.payload, message.properties.ContentType) == (
            str(number).encode(),
            "application/json",
        )
        assert message.properties.MessageExpiryInterval <= 600
    kept = hear(f"{topic}/out").get(timeout=20)
    assert (kept.retain, kept.payload) == (True, b"2")


def test_without_them_nothing_is_kept(
    run: Callable[..., Workers], hear: Callable[[str], Queue[Any]], plant: Plant, topic: str
) -> None:
    run("pre_qos: 1, post_qos: 1")
    live = hear(f"{topic}/out")
    plant.publish(f"{topic}/in", 1, qos=1)
    message = live.get(timeout=20)
    assert not hasattr(message.properties, "ContentType")
    assert not hasattr(message.properties, "MessageExpiryInterval")
    later = hear(f"{topic}/#")
    plant.publish(f"{topic}/mark", 1, qos=1)
    assert later.get(timeout=20).topic == f"{topic}/mark"


def test_results_that_waited_on_disk_have_them_and_dead_letters_do_not(
    write_config: Callable[..., Path],
    workers: Callable[..., Workers],
    broker: Broker,
    tmp_path: Path,
    topic: str,
) -> None:
    """The post broker is away at first."""
    other = Broker(tmp_path / "other").start()
    port = other.port
    other.stop()
    topics = f"pre_topic: {topic}/in, post_topic: {topic}/out, post_port: {port}"
    edges = [
        f"{{name: edge, edge_mode: my_models.same, pre_qos: 1, post_qos: 1, {topics}, {ALL}}}",
        f"{{name: bad, edge_mode: my_models.fails, pre_qos: 1, post_qos: 1, {topics}, {ALL}}}",
    ]
    started = workers(write_config(*edges, models=MODELS), ready=False)
    until(lambda: started.log.count("subscribed to") == 2, "both are subscribed")
    with Plant(broker.port) as plant:
        plant.publish(f"{topic}/in", 7, qos=1)
        until(lambda: started.instance("edge-1")["spooled"] == 1, "it is on disk")
    other.start()
    try:
        heard: list[Any] = []
        client = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
        client.on_message = lambda _client, _data, message: heard.append(message)
        client.connect("127.0.0.1", port)
        client.subscribe("#", 1)
        client.loop_start()
        until(lambda: len(heard) >= 2, "both have come", 40.0)
        found = {message.topic: message for message in heard}
        assert found[f"{topic}/out"].properties.ContentType == "application/json"
        assert not hasattr(found["pyboot/dead/bad"].properties, "ContentType")
        client.disconnect()
        client.loop_stop()
    finally:
        other.stop()


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
@pytest.mark.parametrize("qos", [0, 1])
def test_what_was_retained_can_be_ignored(
    write_config: Callable[..., Path],
    workers: Callable[..., Workers],
    hear: Callable[[str], Queue[Any]],
    broker: Broker,
    topic: str,
    qos: int,
    protocol: str,
) -> None:
    live = hear(f"{topic}/out")
    client = paho.Client(CallbackAPIVersion.VERSION2)
    client.connect("127.0.0.1", broker.port)
    client.loop_start()
    client.publish(f"{topic}/in", b'"old"', 1, retain=True).wait_for_publish(10)
    head = f"brokers: {{here: {{host: 127.0.0.1, port: {broker.port}, protocol: {protocol!r}}}}}\n"
    edge = (
        f"{{name: edge, edge_mode: my_models.same, pre_broker: here, pre_port: {broker.port}, "
        f"pre_topic: {topic}/in, pre_qos: {qos}, post_topic: {topic}/out, retained: ignore}}"
    )
    started = workers(write_config(edge, models=MODELS, head=head))
    client.publish(f"{topic}/in", b'"new"', 1, retain=True).wait_for_publish(10)
    assert live.get(timeout=20).payload == b'"new"'
    until(lambda: started.instance("edge-1")["unacknowledged"] == 0, "all is acknowledged")
    assert live.empty()
    client.disconnect()
    client.loop_stop()
