"""Messages in megabytes: however many come, memory stays small, and small messages come through."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.app import data_plane
from support.broker import Broker
from support.client import Plant
from support.poll import until
from support.stub import CONNECT, PUBACK, PUBLISH, SUBSCRIBE, StubBroker, publish
from support.workers import Workers

from pyboot_svc.worker.invalid_messages import HEADROOM_BYTES

MIB = 1024**2
MODELS = """
import time
from pathlib import Path

def gated(payload, context):
    while not Path(context.options["gate"]).exists():
        time.sleep(0.01)
    return payload[0]

def same(payload, context):
    return payload

def wide(payload, context):
    context.publish(payload, properties={"k": str(payload) + "v" * 60_000})

def refuse(payload, context):
    raise ValueError("too much of a good thing")
"""
PLAIN = data_plane() == "plain"
# Of a worker that has done little, and what its queues may hold in these tests.
USUAL_MIB = 60
QUEUE_MIB = 16
# What is being read, and copies of what is being written.
MARGIN_MIB = 24


class Rig:
    """One worker between two topics, whose model waits for `gate`."""

    def __init__(self, app: Workers, gate: Path, topic: str) -> None:
        self.app = app
        self.gate = gate
        self.topic = topic

    @property
    def row(self) -> dict[str, object]:
        return self.app.instance("m-1")

    def counter(self, name: str) -> int:
        counters = self.row["counters"]
        assert isinstance(counters, dict)
        return int(counters[name])

    @property
    def highest_mib(self) -> float:
        """The most memory that the worker ever had."""
        status = Path(f"/proc/{self.row['pid']}/status").read_text()
        found = re.search(r"VmHWM:\s+([0-9]+) kB", status)
        assert found is not None
        return int(found[1]) / 1024


@pytest.fixture
def start(
    write_config: Callable[..., Path], workers: Callable[..., Workers], topic: str, tmp_path: Path
) -> Callable[..., Rig]:
    def make(port: int, protocol: str, qos: int, more: str = "", model: str = "gated") -> Rig:
        gate = tmp_path / "gate"
        brokers = f'brokers: {{b: {{host: 127.0.0.1, port: {port}, protocol: "{protocol}"}}}}'
        edge = (
            f"{{name: m, edge_mode: my_models.{model}, options: {{gate: {gate}}}, pre_broker: b, "
            f"pre_port: {port}, pre_topic: {topic}/in, pre_qos: {qos}, post_broker: b, "
            f"post_port: {port}, post_topic: {topic}/out, post_qos: 1, "
            f"queue: {{bytes: {QUEUE_MIB}M}}{more}}}"
        )
        return Rig(workers(write_config(edge, models=MODELS, head=brokers)), gate, topic)

    return make


def large(number: int) -> bytes:
    return b'[%d,"' % number + b"x" * MIB + b'"]'


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_200_megabytes_at_qos_1_wait_at_the_broker(
    protocol: str, start: Callable[..., Rig], plant: Plant, broker: Broker
) -> None:
    rig = start(broker.port, protocol, 1)
    plant.subscribe(f"{rig.topic}/out")
    plant.publish_all(f"{rig.topic}/in", [large(number) for number in range(200)], qos=1)
    plant.publish_all(f"{rig.topic}/in", [[number] for number in range(200, 210)], qos=1)
    until(lambda: int(str(rig.row["held_bytes"])) >= (QUEUE_MIB - 2) * MIB, "it has its fill", 60)
    rig.gate.touch()
    assert plant.wait_for(210, 60) == list(range(210))
    assert rig.counter("dropped") == 0
    assert rig.highest_mib < USUAL_MIB + QUEUE_MIB + MARGIN_MIB
    until(lambda: rig.row["held_bytes"] == 0, "nothing is held")


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_200_megabytes_at_qos_0_are_dropped_as_far_as_there_is_no_room(
    protocol: str, start: Callable[..., Rig], plant: Plant, broker: Broker
) -> None:
    rig = start(broker.port, protocol, 0)
    plant.subscribe(f"{rig.topic}/out")
    plant.publish_all(f"{rig.topic}/in", [large(number) for number in range(200)])
    until(lambda: rig.counter("received") == 200, "all have come", 60)
    assert int(str(rig.row["held_bytes"])) < (QUEUE_MIB + 2) * MIB
    rig.gate.touch()
    kept = 200 - rig.counter("dropped")
    assert 10 <= kept < 20
    plant.wait_for(kept)
    plant.publish_all(f"{rig.topic}/in", [[number] for number in range(200, 210)])
    came = plant.wait_for(kept + 10)
    # The newest are kept; one more is in the model's hands when the queue is full.
    assert came[-kept - 9 :] == [*range(200 - kept + 1, 210)]
    assert rig.highest_mib < USUAL_MIB + QUEUE_MIB + MARGIN_MIB
    assert "dropped" in rig.app.log


@pytest.mark.timeout(240)  # each of them is written to the disk
@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_200_megabytes_that_the_model_refuses(
    protocol: str, start: Callable[..., Rig], plant: Plant, broker: Broker
) -> None:
    rig = start(broker.port, protocol, 1, ", dead_letter: {keep: 10}", "refuse")
    plant.publish_all(f"{rig.topic}/in", [large(number) for number in range(200)], qos=1)
    until(lambda: rig.row["errors"] == {"model": 200}, "all are refused", 180)
    until(lambda: rig.row["unacknowledged"] == 0, "all are acknowledged", 60)
    until(lambda: rig.row["dead_letters_waiting"] == 0, "all dead letters are out", 60)
    assert rig.highest_mib < USUAL_MIB + 3 * QUEUE_MIB + MARGIN_MIB


def test_200_megabytes_while_the_post_broker_is_away(
    write_config: Callable[..., Path],
    workers: Callable[..., Workers],
    plant: Plant,
    topic: str,
    tmp_path: Path,
) -> None:
    edge = (
        f"{{name: m, edge_mode: my_models.same, pre_topic: {topic}/in, pre_qos: 1, post_port: 1, "
        f"post_topic: {topic}/out, post_qos: 1, queue: {{bytes: {QUEUE_MIB}M}}}}"
    )
    rig = Rig(workers(write_config(edge, models=MODELS), ready=False), tmp_path, topic)
    rig.app.wait_log("subscribed to")
    plant.publish_all(f"{topic}/in", [large(number) for number in range(200)], qos=1)
    until(lambda: rig.row["spooled"] == 200, "all are spooled", 60)
    until(lambda: rig.row["held_bytes"] == 0, "nothing is held")
    assert rig.highest_mib < USUAL_MIB + 2 * QUEUE_MIB + MARGIN_MIB


def test_properties_of_120_megabytes_while_the_post_broker_answers_nothing(
    write_config: Callable[..., Path],
    workers: Callable[..., Workers],
    plant: Plant,
    topic: str,
    tmp_path: Path,
) -> None:
    with StubBroker(b"\x20\x06\0\0\3\x21\0\x0a", publish=lambda packet: None) as stub:
        edge = (
            f"{{name: m, edge_mode: my_models.wide, pre_topic: {topic}/in, pre_qos: 1, "
            f"post_port: {stub.port}, post_topic: {topic}/out, post_qos: 1, "
            f"queue: {{bytes: {QUEUE_MIB}M}}}}"
        )
        rig = Rig(workers(write_config(edge, models=MODELS)), tmp_path, topic)
        plant.publish_all(f"{topic}/in", list(range(2000)), qos=1)
        until(lambda: int(str(rig.row["held_bytes"])) >= (QUEUE_MIB - 2) * MIB, "it has its fill")
        assert rig.highest_mib < USUAL_MIB + QUEUE_MIB + MARGIN_MIB


@pytest.mark.skipif(PLAIN, reason="paho collects a packet before it tells of it")
@pytest.mark.parametrize("qos", [0, 1])
def test_a_message_of_200_megabytes_passes_by(
    qos: int, start: Callable[..., Rig], broker: Broker, plant: Plant
) -> None:
    """By MQTT 3.1.1 a client can't tell the broker what it takes."""
    rig = start(broker.port, "3.1.1", qos)
    rig.gate.touch()
    plant.subscribe(f"{rig.topic}/out").subscribe("pyboot/dead/m")
    plant.publish(f"{rig.topic}/in", [1], qos)
    plant.publish(f"{rig.topic}/in", b"[" * 200_000_000, qos)
    plant.publish(f"{rig.topic}/in", [2], qos)
    plant.wait_for(3, 60)
    assert plant.payloads(f"{rig.topic}/out") == [1, 2]
    (letter,) = plant.payloads("pyboot/dead/m")
    assert (letter["topic"], letter["kind"]) == (f"{rig.topic}/in", "too_large")
    assert "200000000 bytes" in letter["error"]
    assert rig.row["errors"] == {"too_large": 1}
    assert rig.row["unacknowledged"] == 0
    assert rig.highest_mib < USUAL_MIB


def test_by_mqtt_5_the_broker_is_told_what_is_too_large(
    start: Callable[..., Rig], plant: Plant, broker: Broker
) -> None:
    """It then discards them, as the standard has it, and says nothing."""
    rig = start(broker.port, "5", 1)
    rig.gate.touch()
    plant.subscribe(f"{rig.topic}/out")
    plant.publish(f"{rig.topic}/in", b"[" * 200_000_000, 1)
    plant.publish(f"{rig.topic}/in", [2], 1)
    assert plant.wait_for(1, 60) == [2]
    assert rig.highest_mib < USUAL_MIB


@pytest.fixture
def stub() -> Iterator[StubBroker]:
    """One that keeps to no Maximum Packet Size."""
    with StubBroker() as running:
        yield running


@pytest.mark.skipif(PLAIN, reason="paho collects a packet before it tells of it")
@pytest.mark.parametrize("qos", [0, 1])
def test_a_broker_that_sends_what_it_was_told_not_to(
    qos: int, stub: StubBroker, start: Callable[..., Rig]
) -> None:
    rig = start(stub.port, "5", 1, ", max_message: 100K")
    rig.gate.touch()
    until(lambda: stub.of_kind(SUBSCRIBE), "a subscription")
    (subscriber,) = (packet.connection for packet in stub.of_kind(SUBSCRIBE))
    (connect,) = (p for p in stub.of_kind(CONNECT) if p.connection == subscriber)
    assert b"\x27" + (100 * 1024 + HEADROOM_BYTES).to_bytes(4) in connect.body
    stub.send(publish("t/in", b"[1]", qos, 1), subscriber)
    for mid in (2, 3):
        stub.send(publish("t/in", bytes(50 * MIB), qos, mid), subscriber)
    stub.send(publish("t/in", b"[4]", qos, 4), subscriber)

    def results() -> list[bytes]:
        sent = [packet for packet in stub.of_kind(PUBLISH) if packet.topic == f"{rig.topic}/out"]
        return [packet.rest[1 + packet.rest[0] :] for packet in sent]

    until(lambda: results() == [b"1", b"4"], "the others' results", 60)
    assert rig.row["errors"] == {"too_large": 2}
    until(lambda: [p.mid for p in stub.of_kind(PUBACK)] == [1, 2, 3, 4] * qos, "acknowledged")
    assert rig.highest_mib < USUAL_MIB
