"""A broker that sends more than it was told to: what is in hand is bounded, nothing is lost."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from support.app import data_plane
from support.client import Plant
from support.flood import Flood
from support.poll import until
from support.workers import Workers

from pyboot_svc.worker.mqtt.wire.encoder import PublishEncoder

MESSAGES = 5_000
WINDOW = 500
# A read brings some 64 messages of this size.
PAYLOAD = b'[%d,"' + b"x" * 1000 + b'"]'
MOST = WINDOW + 70
MODELS = """
import time
from pathlib import Path

def gated(payload, context):
    while not Path(context.options["gate"]).exists():
        time.sleep(0.01)
    return payload[0]
"""


def flood() -> bytes:
    payloads = [PAYLOAD % number for number in range(MESSAGES)]
    return b"".join(PublishEncoder("flood/in", 1, b"\0").encode(payloads, range(1, MESSAGES + 1)))


@pytest.mark.skipif(data_plane() == "plain", reason="paho's keep-alive wants its answer in time")
def test_a_broker_that_keeps_to_no_window_is_read_as_far_as_there_is_room(
    write_config: Callable[..., Path],
    workers: Callable[..., Workers],
    plant: Plant,
    topic: str,
    tmp_path: Path,
) -> None:
    plant.subscribe(f"{topic}/out")
    gate = tmp_path / "gate"
    with Flood(flood) as broker:
        brokers = f"brokers: {{flood: {{host: 127.0.0.1, port: {broker.port}, keepalive: 5}}}}"
        edge = (
            f"{{name: gated, edge_mode: my_models.gated, options: {{gate: {gate}}}, "
            f"pre_broker: flood, pre_port: {broker.port}, pre_topic: flood/in, pre_qos: 1, "
            f"post_broker: 127.0.0.1, post_topic: {topic}/out, "
            f"post_qos: 1, queue: {{pre: {WINDOW}}}}}"
        )
        app = workers(write_config(edge, models=MODELS, head=brokers))
        until(lambda: app.instance("gated-1")["unacknowledged"] > WINDOW, "it has its fill")
        # While it takes nothing in, it still tells the broker that it lives.
        until(lambda: broker.pings >= 3, "signs of life", 30)
        row = app.instance("gated-1")
        assert WINDOW < row["unacknowledged"] <= MOST
        assert row["pre_queue"] <= MOST
        gate.touch()
        assert plant.wait_for(MESSAGES) == list(range(MESSAGES))
        until(lambda: len(broker.acknowledged) == MESSAGES, "all are acknowledged")
        assert broker.acknowledged == list(range(1, MESSAGES + 1))
        assert broker.connections == 1
        assert app.instance("gated-1")["counters"]["dropped"] == 0
