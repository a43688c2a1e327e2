"""Other formats than JSON, through a worker."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import msgpack
import pytest
from support.client import Plant
from support.poll import until
from support.workers import Workers

MODELS = (
    "def rows(payload): return [[sum(row)] for row in payload]\ndef same(payload): return payload"
)


@pytest.mark.parametrize(
    ("model", "more", "payload", "result"),
    [
        ("rows", "codec: csv", b"1,2\n3,4.5", b"3\n7.5"),
        ("same", "codec: {in: msgpack, out: json}", msgpack.packb({"a": 1}), b'{"a":1}'),
        ("same", "compression: {in: gzip}", gzip.compress(b'{"a":1}'), b'{"a":1}'),
    ],
    ids=["csv", "msgpack", "gzip"],
)
def test_both_ways(
    write_config: Callable[..., Path],
    workers: Callable[..., Workers],
    plant: Plant,
    topic: str,
    model: str,
    more: str,
    payload: bytes,
    result: bytes,
) -> None:
    edge = (
        f"{{name: edge, edge_mode: my_models.{model}, pre_topic: {topic}/in, "
        f"post_topic: {topic}/out, pre_qos: 1, {more}}}"
    )
    started = workers(write_config(edge, models=MODELS))
    plant.subscribe(f"{topic}/out")
    plant.publish(f"{topic}/in", b"\xc1", 1)
    plant.publish(f"{topic}/in", payload, 1)
    until(lambda: plant.received, "the result")
    assert plant.received == [(f"{topic}/out", result)]
    [(kind, count)] = started.instance("edge-1")["errors"].items()
    assert (kind in ("not_decodable", "not_utf8"), count) == (True, 1)
