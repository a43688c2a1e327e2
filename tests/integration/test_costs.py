"""How many system calls a message costs: counted, since times differ from machine to machine.

A backlog is worked off, so that no machine's speed decides how many messages a read brings, and not
before the post broker is there, or results would go by the disk; what starting and stopping takes
is counted before, and taken off.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.app import Running
from support.broker import Broker
from support.client import Plant
from support.poll import until
from support.syscalls import Traced, need_strace

MESSAGES = 20_000
# Messages are far more than calls while batches are moved. One call a message more, be it to read,
# to write or to hand over, is beyond this; packet by packet it is six and more.
MOST_CALLS_A_MESSAGE = 0.5
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


def folders(tmp_path: Path) -> tuple[str, ...]:
    return ("--run-dir", str(tmp_path / "run"), "--state-dir", str(tmp_path / "state"))


def write_config(tmp_path: Path, port: int, qos: int) -> Path:
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
  pre_qos: 1  # the broker keeps the session, and the messages with it
  post_broker: 127.0.0.1
  post_port: {port}
  post_topic: costs/out
  post_qos: {qos}
  queue: {{pre: {2 * MESSAGES}, post: {2 * MESSAGES}}}
""")
    return file
