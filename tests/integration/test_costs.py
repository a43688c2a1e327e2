"""How many calls a message costs: counted, since times differ from machine to machine.

A backlog is worked off, so that no machine's speed decides how many messages a read brings, and not
before the post broker is there, or results would go by the disk; what starting and stopping takes
is counted before, and taken off.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.app import Running, data_plane
from support.broker import Broker
from support.calls import write_counter
from support.client import Plant
from support.poll import until
from support.syscalls import Traced, need_strace

MESSAGES = 20_000
# Messages are far more than calls while batches are moved. One call a message more, be it to read,
# to write or to hand over, is beyond this; packet by packet it is six and more.
MOST_CALLS_A_MESSAGE = 0.5
# Of Python functions, for a message that comes alone, by QoS: one hop more is several calls.
MOST_FUNCTION_CALLS = {0: 40, 1: 72}
ALONE = 100
BROKER = """
listener {port} 127.0.0.1
allow_anonymous true
queue_qos0_messages true
max_inflight_messages 0
"""
MODELS = """
import time
from pathlib import Path

gate = Path(__file__).with_name("gate")
opened = False

def same(payload):
    global opened
    while not opened:
        time.sleep(0.01)
        opened = gate.exists()
    return payload
"""


@pytest.fixture
def patient_broker(tmp_path: Path) -> Iterator[Broker]:
    """One that keeps messages of QoS 0, too, for who is away."""
    running = Broker(tmp_path / "broker", BROKER).start()
    yield running
    running.stop()


@pytest.mark.parametrize("qos", [0, 1])
@pytest.mark.timeout(300)
def test_many_messages_share_a_system_call(
    qos: int, patient_broker: Broker, tmp_path: Path, track: Callable[[Running], Running]
) -> None:
    need_strace()
    config = write_config(tmp_path, patient_broker.port, qos)

    def start() -> Traced:
        worker = Traced(tmp_path, "worker", "same-1", "--config", str(config), *folders(tmp_path))
        track(worker)
        worker.wait_log("subscribed to", 60)
        worker.wait_log(f"post broker 127.0.0.1:{patient_broker.port}: connected", 60)
        return worker

    worker = start()
    idle = Counter(worker.finish())
    worker.log_file.unlink()
    with Plant(patient_broker.port) as plant:
        plant.subscribe("costs/out", 0)
        plant.publish_all("costs/in", list(range(MESSAGES)), qos)
        worker = start()
        (tmp_path / "gate").touch()
        until(lambda: len(plant.received) >= MESSAGES, "all results are there", 120)
        spent = Counter(worker.finish()) - idle
        assert plant.payloads() == list(range(MESSAGES))
    calls = spent.total() / MESSAGES
    print(f"{calls:.3f} system calls a message: {spent.most_common(6)}")
    assert calls <= MOST_CALLS_A_MESSAGE, spent.most_common(10)


@pytest.mark.parametrize("qos", [0, 1])
@pytest.mark.skipif(data_plane() != "bulk", reason="paho's calls are its own")
def test_a_message_that_comes_alone_costs_few_calls(
    qos: int, patient_broker: Broker, tmp_path: Path, track: Callable[[Running], Running]
) -> None:
    """Of a few rounds the best counts: a busy host has the reads linger."""
    config = write_config(tmp_path, patient_broker.port, qos, qos)
    environment = write_counter(tmp_path)
    command = ("worker", "same-1", "--config", str(config), *folders(tmp_path))
    worker = track(Running(tmp_path, *command, env=environment))
    worker.wait_log("subscribed to", 60)
    with Plant(patient_broker.port) as plant:
        plant.subscribe("costs/out", 0)
        sent = 0

        def ask(payload: object) -> object:
            nonlocal sent
            sent += 1
            plant.publish("costs/in", payload, qos)
            until(lambda: len(plant.received) == sent, "its result")
            return plant.payloads()[-1]

        def cost() -> float:
            ask("begin")
            for number in range(ALONE):
                ask(number)
            calls = ask("end")
            assert isinstance(calls, int)
            return calls / ALONE

        ask("first")
        found: list[float] = []
        while len(found) < 5 and min(found, default=1000) > MOST_FUNCTION_CALLS[qos]:
            found.append(cost())
    print(f"{min(found):.1f} calls of Python functions a message")
    assert min(found) <= MOST_FUNCTION_CALLS[qos], found


def folders(tmp_path: Path) -> tuple[str, ...]:
    return ("--run-dir", str(tmp_path / "run"), "--state-dir", str(tmp_path / "state"))


def write_config(tmp_path: Path, port: int, qos: int, pre_qos: int = 1) -> Path:
    (tmp_path / "my_models.py").write_text(MODELS)
    file = tmp_path / "config.yaml"
    file.write_text(f"""
model_path: .
edge:
- name: same
  edge_mode: my_models.same
  pre_broker: 127.0.0.1
  pre_port: {port}
  pre_topic: costs/in
  pre_qos: {pre_qos}  # at 1 the broker keeps the session, and the messages with it
  post_broker: 127.0.0.1
  post_port: {port}
  post_topic: costs/out
  post_qos: {qos}
  queue: {{pre: {2 * MESSAGES}, post: {2 * MESSAGES}}}
""")
    return file
