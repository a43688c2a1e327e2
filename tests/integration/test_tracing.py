"""Spans of real workers at a collector: one trace through two models, and what goes wrong."""

from __future__ import annotations

import socket
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from site import getsitepackages
from typing import Any

import pytest
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from support.app import run_pyboot
from support.broker import Broker
from support.client import Plant
from support.collector import Collector, Seen
from support.environment import make_environment, packages_folder
from support.poll import until
from support.proxy import Proxy
from support.workers import Workers

from pyboot_svc.errors import ExitCode

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
    write_config: Callable[..., Path], workers: Callable[..., Workers], topic: str
) -> Callable[[str, float], Workers]:
    """Starts two models, the second of which takes what the first one gives."""

    def run(url: str, sample: float) -> Workers:
        chain = [("first", "in", "between"), ("second", "between", "out")]
        edges = [
            EDGE.format(name=name, topic=topic, pre=pre, post=post, url=url, sample=sample)
            for name, pre, post in chain
        ]
        return workers(write_config(*edges, models=MODELS))

    return run


class Sender:
    """Publishes with user properties; `received` are those of what has come."""

    def __init__(self, broker: Broker) -> None:
        self.received: list[dict[str, str]] = []
        self._client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
        self._client.on_message = lambda client, data, message: self.received.append(
            dict(getattr(message.properties, "UserProperty", []))
        )
        self._client.connect("127.0.0.1", broker.port)
        self._client.loop_start()

    def subscribe(self, topic: str) -> None:
        done = threading.Event()
        self._client.on_subscribe = lambda *_: done.set()
        self._client.subscribe(topic, 1)
        assert done.wait(20), "no SUBACK"

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
    start: Callable[..., Workers], collector: Collector, plant: Plant, sender: Sender, topic: str
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
    start: Callable[..., Workers], collector: Collector, plant: Plant, topic: str, broker: Broker
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
    start: Callable[..., Workers], collector: Collector, plant: Plant, topic: str
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
    start: Callable[..., Workers], collector: Collector, plant: Plant, sender: Sender, topic: str
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
    start: Callable[..., Workers], plant: Plant, topic: str
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
        until(lambda: "spans" in str(running.instance("first-1")["notices"]), "it is noticed", 60)
        assert running.stop() == 0
    said = [line for line in running.log.splitlines() if "spans" in line or "Transient" in line]
    assert len(said) <= 2, said  # once for each model


def test_what_waits_is_sent_at_the_stop(
    write_config: Callable[..., Path],
    workers: Callable[..., Workers],
    collector: Collector,
    plant: Plant,
    topic: str,
) -> None:
    edge = EDGE.format(
        name="first", topic=topic, pre="in", post="out", url=collector.url, sample=1
    ).replace("100}", "600000}")
    running = workers(write_config(edge, models=MODELS))
    plant.subscribe(f"{topic}/out")
    plant.publish(f"{topic}/in", 1)
    plant.wait_for(1)
    assert collector.spans == []
    assert running.stop() == 0
    assert len(collector.spans) == 4


def test_a_result_that_waited_on_disk_carries_its_context(
    write_config: Callable[..., Path],
    workers: Callable[..., Workers],
    collector: Collector,
    broker: Broker,
    sender: Sender,
    topic: str,
) -> None:
    sender.subscribe(f"{topic}/out")
    with Proxy(broker.port) as way:
        way.cut()
        edge = EDGE.format(
            name="first", topic=topic, pre="in", post="out", url=collector.url, sample=0
        ).replace("{name", f"{{post_port: {way.port}, name", 1)
        running = workers(write_config(edge, models=MODELS), ready=False)
        running.wait_log("subscribed to")
        sender.publish(f"{topic}/in", b"1", traceparent=f"00-{SENDER}-b7ad6b7169203331-01")
        [process] = collector.wait_for(1, "process")
        assert process.attributes["pyboot.end"] == "spooled"
        [sending] = collector.wait_for(1, "send")
        way.resume()
        until(lambda: sender.received, "the result", 60)
        running.close()
    assert sender.received[0]["traceparent"] == f"00-{SENDER}-{sending.id}-01"


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    return make_environment(tmp_path / "venv")


def test_in_an_environment_of_the_models_own(
    write_config: Callable[..., Path],
    workers: Callable[..., Workers],
    collector: Collector,
    environment: Path,
    plant: Plant,
    topic: str,
) -> None:
    edge = EDGE.format(
        name="first", topic=topic, pre="in", post="out", url=collector.url, sample=1
    ).replace("{name", f"{{python: {environment}, name", 1)
    config = write_config(edge, models=MODELS)
    checked = run_pyboot("check", "--models", "-c", str(config))
    assert checked.returncode == ExitCode.CONFIG
    executable = f"{environment}/bin/python"
    assert f"`tracing` needs opentelemetry: {executable} -m pip install" in checked.stdout
    # What pip would put there.
    places = {str(Path(name).resolve()) for name in getsitepackages()}
    (packages_folder(environment) / "more.pth").write_text("\n".join(places))
    assert run_pyboot("check", "--models", "-c", str(config)).returncode == ExitCode.OK
    workers(config)
    plant.subscribe(f"{topic}/out")
    plant.publish(f"{topic}/in", 1)
    plant.wait_for(1)
    assert collector.wait_for(4)[0].resource["service.name"] == "first"


def test_without_the_libraries_it_is_said(
    write_config: Callable[..., Path], tmp_path: Path, collector: Collector, topic: str
) -> None:
    """Which are hidden by a package of that name without anything in it."""
    hidden = tmp_path / "hidden" / "opentelemetry"
    hidden.mkdir(parents=True)
    (hidden / "__init__.py").touch()
    edge = EDGE.format(name="first", topic=topic, pre="in", post="out", url=collector.url, sample=1)
    config = write_config(edge, models=MODELS)
    without = {"PYTHONPATH": str(hidden.parent)}
    said = f"`tracing` needs opentelemetry.sdk: {sys.executable} -m pip install opentelemetry-sdk"
    checked = run_pyboot("check", "-c", str(config), env=without)
    assert checked.returncode == ExitCode.CONFIG
    assert f"edge[0].tracing: {said}" in checked.stdout
    folders = ("--run-dir", str(tmp_path / "run"), "--state-dir", str(tmp_path / "state"))
    worker = run_pyboot("worker", "first-1", "-c", str(config), *folders, env=without)
    assert worker.returncode == ExitCode.CONFIG
    assert said in worker.stderr
