"""MQTT over WebSockets, with the mosquitto of Debian 13, which speaks it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from machine import Machine

pytestmark = pytest.mark.systemd

CONFIG = """
brokers:
  plant: {host: 127.0.0.1, port: 9001, transport: websockets}
defaults: {pre_broker: plant, post_broker: plant, pre_qos: 1, post_qos: 1}
edge:
  - {name: echo, edge_mode: test_models.echo, pre_topic: ws/in, post_topic: ws/out}
"""
LISTENERS = """
listener 1883 127.0.0.1
allow_anonymous true
listener 9001 127.0.0.1
protocol websockets
allow_anonymous true
"""


def test_a_worker_reads_and_publishes_over_websockets(
    machine: Machine, configure: Callable[..., None]
) -> None:
    machine.write("/etc/mosquitto/conf.d/websockets.conf", LISTENERS)
    machine.run("systemctl", "restart", "mosquitto")
    configure(CONFIG, "def echo(payload):\n    return payload\n")
    machine.wait_active("edge-model@echo-1.service")
    # The tests' own client speaks plain MQTT to the same broker.
    assert machine.ask("ws/in", "ws/out", '{"a": 1}') == '{"a":1}'
