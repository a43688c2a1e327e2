"""What an instance says of itself to its broker, as MQTT's own tools see it."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.app import Running
from support.broker import Broker
from support.client import Plant
from support.poll import until

from pyboot_svc import __version__
from pyboot_svc.config.compiled import compiled_file, retired_file, write_compiled
from pyboot_svc.config.loader import load_config

MODELS = """
import time

def same(payload):
    return payload

def slow(payload):
    time.sleep(3)
    return payload
"""


@pytest.fixture
def configure(write_config: Callable[..., Path], broker: Broker, topic: str) -> Callable[..., Path]:
    """The model `m` from TOPIC/in to TOPIC/out, whose instances' status is at TOPIC/status/m-N."""

    def write(model: str = "same", protocol: str = "5", **more: Any) -> Path:
        edge = {
            "name": "m",
            "edge_mode": f"my_models.{model}",
            "pre_topic": f"{topic}/in",
            "post_topic": f"{topic}/out",
            "status": {"topic": f"{topic}/status/{{instance}}"},
            **more,
        }
        there = {"host": "127.0.0.1", "port": more.get("post_port", broker.port)}
        head = f"brokers: {json.dumps({'there': {**there, 'protocol': protocol}})}"
        file = write_config(json.dumps(edge), models=MODELS, head=head)
        text = file.read_text().replace("post_broker: 127.0.0.1", "post_broker: there")
        file.write_text(text)
        return file

    return write


@pytest.fixture
def start(tmp_path: Path, track: Callable[[Running], Running]) -> Callable[[Path], Running]:
    def run(config: Path) -> Running:
        folders = ["--run-dir", str(tmp_path / "run"), "--state-dir", str(tmp_path / "state")]
        return track(Running(tmp_path, "worker", "m-1", "--config", str(config), *folders))

    return run


class Watched:
    """Whoever subscribes to a status."""

    def __init__(self, plant: Plant, topic: str) -> None:
        self._plant = plant
        self._topic = f"{topic}/status/m-1"
        plant.subscribe(self._topic)

    @property
    def states(self) -> list[str]:
        told = [data for name, data in list(self._plant.received) if name == self._topic]
        return [json.loads(data)["state"] if data else "" for data in told]

    @property
    def last(self) -> dict[str, Any]:
        found: dict[str, Any] = self._plant.payloads(self._topic)[-1]
        return found

    def wait(self, *states: str) -> None:
        until(lambda: self.states == [*states], f"{states}", 30)


@pytest.fixture
def watched(plant: Plant, topic: str) -> Watched:
    return Watched(plant, topic)


def kept(broker: Broker, topic: str) -> bytes | None:
    """What the broker has retained there."""
    with Plant(broker.port) as late:
        late.subscribe(topic).subscribe(f"{topic}/else")
        # It is sent before the second SUBACK, if there is any.
        return late.received[-1][1] if late.received else None


@pytest.mark.parametrize("data_plane", ["bulk", "plain"])
@pytest.mark.parametrize(("protocol", "qos"), [("5", 0), ("3.1.1", 1), ("5", 2)])
def test_online_draining_offline(
    data_plane: str,
    protocol: str,
    qos: int,
    configure: Callable[..., Path],
    start: Callable[[Path], Running],
    watched: Watched,
    broker: Broker,
    topic: str,
) -> None:
    worker = start(configure(protocol=protocol, post_qos=qos, data_plane=data_plane))
    watched.wait("online")
    assert watched.last == {
        "state": "online",
        "instance": "m-1",
        "model": "m",
        "version": __version__,
        "since": watched.last["since"],
    }
    online = json.loads(kept(broker, f"{topic}/status/m-1") or b"")
    assert online == watched.last
    assert worker.stop() == 0
    watched.wait("online", "draining", "offline")
    assert watched.last["since"] >= online["since"]
    assert json.loads(kept(broker, f"{topic}/status/m-1") or b"") == watched.last


def test_one_that_is_killed_is_offline_by_its_will_and_comes_back(
    configure: Callable[..., Path], start: Callable[[Path], Running], watched: Watched
) -> None:
    config = configure()
    worker = start(config)
    watched.wait("online")
    worker.stop(signal.SIGKILL)
    watched.wait("online", "offline")
    assert watched.last["since"] is None  # the broker doesn't know when
    start(config)
    watched.wait("online", "offline", "online")


def test_while_it_drains_it_says_so_and_its_results_come_before_the_end(
    configure: Callable[..., Path],
    start: Callable[[Path], Running],
    watched: Watched,
    plant: Plant,
    topic: str,
) -> None:
    worker = start(configure("slow", pre_qos=1, post_qos=1))
    worker.wait_log("subscribed to")
    plant.subscribe(f"{topic}/out")
    plant.publish(f"{topic}/in", {"n": 1}, 1)
    until(lambda: watched.states == ["online"], "online")
    assert worker.stop() == 0
    watched.wait("online", "draining", "offline")
    names = [name for name, _ in plant.received]
    if f"{topic}/out" in names:  # or its input is still the broker's
        assert names.index(f"{topic}/out") < len(names) - 1


def test_a_broker_that_comes_back_is_told_again(
    tmp_path: Path,
    configure: Callable[..., Path],
    start: Callable[[Path], Running],
    topic: str,
) -> None:
    own = Broker(tmp_path / "own").start()
    try:
        start(configure(pre_port=own.port, post_port=own.port))
        until(lambda: kept(own, f"{topic}/status/m-1"), "online", 30)
        own.stop()
        own.start()  # it has forgotten all of it
        until(lambda: kept(own, f"{topic}/status/m-1"), "online again", 60)
    finally:
        own.stop()


def test_of_one_that_is_no_longer_configured_nothing_is_left(
    tmp_path: Path,
    configure: Callable[..., Path],
    track: Callable[[Running], Running],
    plant: Plant,
    watched: Watched,
    broker: Broker,
    topic: str,
) -> None:
    name = f"m{topic[-12:]}"
    status = {"topic": f"{topic}/status/{{instance}}", "home_assistant": True}
    config = configure(name=name, status=status)
    [instance] = load_config(config).instances()
    write_compiled(instance, tmp_path / "run")
    folders = ["--run-dir", str(tmp_path / "run"), "--state-dir", str(tmp_path / "state")]
    worker = track(Running(tmp_path, "worker", f"{name}-1", *folders))
    worker.wait_log("subscribed to")
    discovery = f"homeassistant/sensor/pyboot_{name}/mean/config"
    plant.subscribe(discovery)
    plant.publish(f"{topic}/in", {"mean": 1.5})
    until(lambda: plant.payloads(discovery), "the sensor is told", 30)
    told = plant.payloads(discovery)[-1]
    assert told["state_topic"] == f"{topic}/out"
    assert told["availability"][0]["topic"] == f"{topic}/status/{name}-1"
    assert kept(broker, discovery)
    retired_file(compiled_file(tmp_path / "run", instance.identity)).touch()
    assert worker.stop() == 0
    assert kept(broker, f"{topic}/status/{name}-1") is None
    assert kept(broker, discovery) is None


def test_a_result_that_is_too_deep_for_a_look_at_it_is_published_all_the_same(
    configure: Callable[..., Path], start: Callable[[Path], Running], plant: Plant, topic: str
) -> None:
    """The model's thread has more room for recursion than the one that looks at results."""
    status = {"topic": f"{topic}/status/{{instance}}", "home_assistant": True}
    worker = start(configure(status=status, pre_qos=1, post_qos=1))
    worker.wait_log("subscribed to")
    plant.subscribe(f"{topic}/out")
    for depth in range(985, 970, -1):
        plant.publish(f"{topic}/in", b"[" * depth + b"]" * depth, 1)
    plant.publish(f"{topic}/in", {"mean": 1.5}, 1)
    until(lambda: any(b"mean" in data for _, data in plant.received), "the last", 30)
    assert worker.stop() == 0


def test_a_broker_that_refuses_the_will_is_named_with_the_key(
    tmp_path: Path, configure: Callable[..., Path], start: Callable[[Path], Running], topic: str
) -> None:
    lines = "listener {port} 127.0.0.1\nallow_anonymous true\nretain_available false\n"
    own = Broker(tmp_path / "own", lines).start()
    try:
        worker = start(configure(post_port=own.port))
        worker.wait_log(f"doesn't it take a retained will at {topic}/status/m-1 (`status`)?", 30)
    finally:
        own.stop()
