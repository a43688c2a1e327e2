"""An ordinary exchange with the stub itself: what the other tests here stand on."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from support.poll import until
from support.stub import PUBACK, PUBLISH, StubBroker, publish
from support.workers import Workers

MODELS = """
def same(payload):
    return payload
"""


def test_the_stub_is_a_broker_to_a_worker(
    write_config: Callable[..., Path], workers: Callable[..., Workers]
) -> None:
    with StubBroker() as stub:
        edge = (
            f"{{name: m, edge_mode: my_models.same, pre_port: {stub.port}, pre_topic: t/in, "
            f"pre_qos: 1, post_port: {stub.port}, post_topic: t/out, post_qos: 1}}"
        )
        workers(write_config(edge, models=MODELS))
        until(lambda: stub.of_kind(8), "a subscription")
        subscriber = stub.of_kind(8)[0].connection
        stub.send(publish("t/in", b"1", qos=1, mid=7), subscriber)
        until(lambda: stub.of_kind(PUBACK), "an acknowledgement")
        (result,) = stub.of_kind(PUBLISH)
        assert (result.topic, result.qos) == ("t/out", 1)
        assert json.loads(result.rest[1 + result.rest[0] :]) == 1
        assert [packet.mid for packet in stub.of_kind(PUBACK)] == [7]
