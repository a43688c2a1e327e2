"""A session of other days that was subscribed at QoS 2: what it holds comes at QoS 2."""

from __future__ import annotations

import signal
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from paho.mqtt.client import MQTT_CLEAN_START_FIRST_ONLY, Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from support.app import Running, data_plane
from support.broker import Broker
from support.client import Plant
from support.poll import until
from support.stub import PUBACK, StubBroker, publish, suback

PUBREC, PUBREL, PUBCOMP = 5, 6, 7
MODELS = """
import time
from pathlib import Path

def same(payload):
    return payload

def gated(payload, context):
    '''Waits for a file to appear.'''
    while not Path(context.options["gate"]).exists():
        time.sleep(0.01)
    return payload
"""


@pytest.fixture
def worker(tmp_path: Path, track: Callable[[Running], Running]) -> Callable[[Path], Running]:
    """Runs `pyboot worker m-1`, without any master; again with what it left behind."""

    def start(config: Path) -> Running:
        folders = ("--run-dir", str(tmp_path / "run"), "--state-dir", str(tmp_path / "state"))
        return track(
            Running(tmp_path / "worker", "worker", "m-1", "--config", str(config), *folders)
        )

    return start


@pytest.fixture
def own_broker(tmp_path: Path) -> Iterator[Broker]:
    running = Broker(tmp_path / "own-broker").start()
    yield running
    running.stop()


def write_config(
    tmp_path: Path, port: int, protocol: str = "5", model: str = "same", options: str = ""
) -> Path:
    (tmp_path / "my_models.py").write_text(MODELS)
    file = tmp_path / "config.yaml"
    file.write_text(f"""
model_path: .
brokers:
  plant: {{host: 127.0.0.1, port: {port}, protocol: "{protocol}"}}
edge:
- name: m
  edge_mode: my_models.{model}
  data_plane: {data_plane()}
  pre_broker: plant
  pre_topic: t/in
  pre_qos: 1
  post_broker: plant
  post_topic: t/out
  post_qos: 1
  options: {{{options}}}
""")
    return file


def leave_session(port: int, protocol: str) -> None:
    """Another client had the worker's session before, and subscribed at QoS 2."""
    v5 = protocol == "5"
    client = Client(
        CallbackAPIVersion.VERSION2,
        client_id="pyboot-m-1",
        clean_session=None if v5 else False,
        protocol=MQTTProtocolVersion.MQTTv5 if v5 else MQTTProtocolVersion.MQTTv311,
    )
    granted: list[int] = []
    client.on_subscribe = lambda *found: granted.append(found[2])
    properties = None
    if v5:
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.SessionExpiryInterval = 3600
    client.connect(
        "127.0.0.1",
        port,
        clean_start=False if v5 else MQTT_CLEAN_START_FIRST_ONLY,
        properties=properties,
    )
    client.loop_start()
    client.subscribe("t/in", 2)
    until(lambda: granted, "the other client is subscribed")
    client.disconnect()
    client.loop_stop()


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_what_a_session_holds_at_qos_2_is_processed(
    protocol: str, own_broker: Broker, tmp_path: Path, worker: Callable[[Path], Running]
) -> None:
    leave_session(own_broker.port, protocol)
    with Plant(own_broker.port).subscribe("t/out") as plant:
        # More than mosquitto has in flight at once by 3.1.1: they have to be let go to the end.
        plant.publish_all("t/in", list(range(60)), qos=2)
        process = worker(write_config(tmp_path, own_broker.port, protocol))
        # All, and each once. Not in order: what waits for mosquitto's window is at times overtaken
        # by what is published later (seen in its log: 2.0.11, at the 21st).
        assert sorted(plant.wait_for(60)) == list(range(60))
        plant.publish_all("t/in", list(range(60, 100)), qos=2)
        assert sorted(plant.wait_for(100)) == list(range(100))
        assert process.stop(signal.SIGTERM) == 0
        worker(write_config(tmp_path, own_broker.port, protocol))
        plant.publish_all("t/in", ["end"], qos=1)
        assert plant.wait_for(101)[100:] == ["end"], "nothing comes again"


def test_a_worker_that_is_killed_before_its_results_were_safe_gets_them_again(
    own_broker: Broker, tmp_path: Path, worker: Callable[[Path], Running]
) -> None:
    leave_session(own_broker.port, "5")
    gate = tmp_path / "gate"
    with Plant(own_broker.port).subscribe("t/out") as plant:
        plant.publish_all("t/in", list(range(30)), qos=2)
        config = write_config(tmp_path, own_broker.port, model="gated", options=f"gate: {gate}")
        process = worker(config)
        in_hand = tmp_path / "state" / "m-1" / "in-hand"
        process.wait_log("subscribed to", 60)
        until(lambda: in_hand.exists() and any(in_hand.read_bytes()), "one is in hand")
        process.stop(signal.SIGKILL)
        gate.touch()
        worker(config)
        assert plant.wait_for(30) == list(range(30))


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_it_is_taken_over_from_the_broker_when_its_result_is_safe(
    protocol: str, tmp_path: Path, worker: Callable[[Path], Running]
) -> None:
    v5 = protocol == "5"
    connack = b"\x20\x03\x00\x00\x00" if v5 else b"\x20\x02\x00\x00"
    gate = tmp_path / "gate"
    with StubBroker(connack, subscribe=lambda packet: suback(packet.mid, v5=v5)) as stub:
        worker(write_config(tmp_path, stub.port, protocol, "gated", f"gate: {gate}"))
        until(lambda: stub.of_kind(8), "a subscription")
        pre = stub.of_kind(8)[0].connection
        stub.send(publish("t/in", b"1", 2, 7, v5=v5), pre)
        stub.send(publish("t/in", b"2", 1, 8, v5=v5), pre)
        stub.send(publish("t/in", b"3", 2, 9, v5=v5), pre)
        in_hand = tmp_path / "state" / "m-1" / "in-hand"
        until(lambda: in_hand.exists() and any(in_hand.read_bytes()), "one is in hand")
        # Of another process's time: the broker has its PUBREC, and waits.
        stub.send(struct.pack(">BBH", 0x62, 2, 99), pre)
        until(lambda: stub.of_kind(PUBCOMP), "it is let go")
        assert stub.of_kind(PUBREC) == []
        gate.touch()
        until(lambda: len(stub.of_kind(PUBREC)) == 2, "both are taken over")
        assert [packet.mid for packet in stub.of_kind(PUBREC)] == [7, 9]
        until(lambda: stub.of_kind(PUBACK), "that of QoS 1 is acknowledged")
        assert [packet.mid for packet in stub.of_kind(PUBACK)] == [8]
        stub.send(struct.pack(">BBHBBH", PUBREL << 4 | 2, 2, 7, PUBREL << 4 | 2, 2, 9), pre)
        until(lambda: len(stub.of_kind(PUBCOMP)) == 3, "they are let go")
        assert [packet.mid for packet in stub.of_kind(PUBCOMP)] == [99, 7, 9]


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
@pytest.mark.parametrize("most", [20, 10])
def test_many_results_of_qos_2_are_no_more_at_once_than_the_broker_takes(
    most: int, protocol: str, tmp_path: Path, worker: Callable[[Path], Running]
) -> None:
    """By 3.1.1 it can't say how many it takes, and mosquitto hangs up on who sends more."""
    lines = f"listener {{port}} 127.0.0.1\nallow_anonymous true\nmax_inflight_messages {most}\n"
    broker = Broker(tmp_path / "short", lines).start()
    try:
        config = write_config(tmp_path, broker.port, protocol)
        config.write_text(config.read_text().replace("post_qos: 1", "post_qos: 2"))
        process = worker(config)
        process.wait_log("subscribed to", 60)
        with Plant(broker.port).subscribe("t/out") as plant:
            plant.publish_all("t/in", list(range(300)), qos=1)
            until(lambda: set(plant.payloads()) == set(range(300)), "all have come", 60)
        assert process.stop(signal.SIGTERM) == 0
    finally:
        broker.stop()
