"""Spans of real workers at a collector: one trace through two models, and what goes wrong."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from support.app import Up
from support.broker import Broker
from support.client import Plant
from support.collector import Collector, Seen
from support.poll import until

SENDER = "0af7651916cd43dd8448eb211c80319c"
MODELS = """
__version__ = "4.2"

def some(payload):
    if payload == "bad":
        raise ValueError("it is bad")
    return None if payload == "nothing" else payload
"""
EDGE = (
    "{{name: {name}, edge_mode: my_models.some, pre_topic: {topic}/{pre}, "
    "post_topic: {topic}/{post}, pre_qos: 1, post_qos: 1, "
    "tracing: {{otlp: '{url}', sample: {sample}}}, environment: {{OTEL_BSP_SCHEDULE_DELAY: 100}}}}"
)


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as running:
        yield running


@pytest.fixture
def start(
    write_config: Callable[..., Path], up: Callable[..., Up], topic: str
) -> Callable[[str, float], Up]:
    """Starts two models, the second of which takes what the first one gives."""

    def run(url: str, sample: float) -> Up:
        chain = [("first", "in", "between"), ("second", "between", "out")]
        edges = [
            EDGE.format(name=name, topic=topic, pre=pre, post=post, url=url, sample=sample)
            for name, pre, post in chain
        ]
        return up(write_config(*edges, models=MODELS))

    return run


class Sender:
    """Publishes with user properties."""

    def __init__(self, broker: Broker) -> None:
        self._client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
        self._client.connect("127.0.0.1", broker.port)
        self._client.loop_start()

    def publish(self, topic: str, payload: bytes, **user: str) -> None:
        properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        properties.UserProperty = list(user.items())
        self._client.publish(topic, payload, 1, properties=properties).wait_for_publish(20)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


@pytest.fixture
def sender(broker: Broker) -> Iterator[Sender]:
    made = Sender(broker)
    yield made
    made.close()


def one(spans: list[Seen], **attributes: Any) -> Seen:
    wanted = attributes.items()
    [found] = [span for span in spans if wanted <= {**vars(span), **span.attributes}.items()]
    return found


def test_one_trace_leads_through_two_models(
    start: Callable[..., Up], collector: Collector, plant: Plant, sender: Sender, topic: str
) -> None:
    start(collector.url, 0)
    plant.subscribe(f"{topic}/out")
    sender.publish(f"{topic}/in", b"1")  # has none, and `sample: 0` begins none
    sender.publish(
        f"{topic}/in", b"2", traceparent=f"00-{SENDER}-b7ad6b7169203331-01", tracestate="a=1,b=2"
    )
    plant.wait_for(2)
    spans = collector.wait_for(8)
    assert {span.trace for span in spans} == {SENDER}
    first = one(spans, name=f"process {topic}/in")
    between = one(spans, name=f"send {topic}/between")
    second = one(spans, name=f"process {topic}/between")
    out = one(spans, name=f"send {topic}/out")
    assert first.parent == "b7ad6b7169203331"
    assert (between.parent, second.parent, out.parent) == (first.id, between.id, second.id)
    for span in (first, second):
        stages = {stage.name for stage in spans if stage.parent == span.id}
        assert {"pre_queue", "model"} < stages
        assert span.begin <= span.end
    assert [span.kind for span in (first, between)] == ["CONSUMER", "PRODUCER"]
    assert collector.paths[0] == "/v1/traces"


def test_what_spans_tell(
    start: Callable[..., Up], collector: Collector, plant: Plant, topic: str, broker: Broker
) -> None:
    start(collector.url, 1)
    plant.subscribe(f"{topic}/out")
    plant.publish(f"{topic}/in", 12)
    plant.wait_for(1)
    spans = collector.wait_for(8)
    first = one(spans, name=f"process {topic}/in")
    assert (
        first.attributes.items()
        >= {
            "messaging.system": "mqtt",
            "messaging.destination.name": f"{topic}/in",
            "messaging.operation.type": "process",
            "messaging.message.body.size": 2,
            "server.address": "127.0.0.1",
            "server.port": broker.port,
            "pyboot.end": "published",
        }.items()
    )
    assert (
        first.resource.items()
        >= {
            "service.name": "first",
            "service.instance.id": "first-1",
            "service.version": "4.2",
        }.items()
    )
    assert first.status == "UNSET"


def test_errors_and_what_has_no_result(
    start: Callable[..., Up], collector: Collector, plant: Plant, topic: str
) -> None:
    start(collector.url, 1)
    plant.publish(f"{topic}/in", "bad")
    plant.publish(f"{topic}/in", "nothing")
    spans = collector.wait_for(2, "process")
    bad = one(spans, **{"pyboot.end": "dead letter"})
    assert (bad.status, bad.said, bad.attributes["error.type"]) == (
        *("ERROR", "it is bad"),
        "ValueError",
    )
    exception = bad.events["exception"]
    assert exception["exception.type"] == "ValueError"
    assert exception["exception.message"] == "it is bad"
    assert "my_models.py" in exception["exception.stacktrace"]
    assert one(spans, **{"pyboot.end": "nothing to publish"}).status == "UNSET"


def test_a_sender_that_does_not_sample_decides_for_all(
    start: Callable[..., Up], collector: Collector, plant: Plant, sender: Sender, topic: str
) -> None:
    start(collector.url, 1)
    plant.subscribe(f"{topic}/out")
    sender.publish(f"{topic}/in", b"1", traceparent=f"00-{SENDER}-b7ad6b7169203331-00")
    sender.publish(f"{topic}/in", b"2", traceparent="00-nonsense")
    plant.wait_for(2)
    spans = collector.wait_for(8)
    assert len(spans) == 8
    assert SENDER not in {span.trace for span in spans}
    assert len({span.trace for span in spans}) == 1


def test_a_collector_that_is_away_is_no_matter_of_the_messages(
    start: Callable[..., Up], plant: Plant, topic: str
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and nobody listens
        port = taken.getsockname()[1]
        running = start(f"http://127.0.0.1:{port}", 1)
        plant.subscribe(f"{topic}/out")
        plant.publish_all(f"{topic}/in", list(range(2000)), 1)
        assert plant.wait_for(2000, 60) == list(range(2000))
        until(lambda: "spans don't reach" in running.log, "it is said", 60)
        until(lambda: running.instance("first-1")["counters"]["spans_dropped"] > 0, "it is counted")
        assert any("spans" in notice for notice in running.instance("first-1")["notices"])
        began = time.monotonic()
        assert running.stop() == 0
        assert time.monotonic() - began < 15
    said = [line for line in running.log.splitlines() if "spans" in line or "Transient" in line]
    assert len(said) == 2, said  # once for each model


def test_what_waits_is_sent_at_the_stop(
    write_config: Callable[..., Path],
    up: Callable[..., Up],
    collector: Collector,
    plant: Plant,
    topic: str,
) -> None:
    edge = EDGE.format(
        name="first", topic=topic, pre="in", post="out", url=collector.url, sample=1
    ).replace("100}", "600000}")
    running = up(write_config(edge, models=MODELS))
    plant.subscribe(f"{topic}/out")
    plant.publish(f"{topic}/in", 1)
    plant.wait_for(1)
    assert collector.spans == []
    assert running.stop() == 0
    assert len(collector.spans) == 4
