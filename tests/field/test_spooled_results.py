"""The spool: empties as fast as the broker takes it, and beside live input."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.app import Up
from support.broker import Broker
from support.client import Plant
from support.poll import until

MODELS = """
def same(payload):
    return payload
"""
NARROW = "listener {port} 127.0.0.1\nallow_anonymous true\nmax_inflight_messages 20\n"


@pytest.fixture
def post(tmp_path: Path) -> Iterator[Broker]:
    """A post broker with 20 messages in flight; away until it is started."""
    running = Broker(tmp_path / "post", NARROW)
    yield running
    running.stop()


@pytest.fixture
def worker(
    write_config: Callable[..., Path], up: Callable[..., Up], topic: str, post: Broker
) -> Callable[..., Up]:
    def start(**more: Any) -> Up:
        """Its post broker is away; `more` are settings of the edge, as YAML has them."""
        settings = "".join(f", {key}: {value}" for key, value in more.items())
        edge = (
            f"{{name: m, edge_mode: my_models.same, pre_topic: {topic}/in, pre_qos: 1, "
            f"post_port: {post.port}, post_topic: {topic}/out, post_qos: 1{settings}}}"
        )
        started = up(write_config(edge, models=MODELS), ready=False)
        until(lambda: started.instance("m-1")["state"] in ("waiting", "ready"), "it runs")
        until(lambda: subscribed(started), "it is subscribed")
        return started

    return start


def subscribed(up: Up) -> bool:
    brokers: dict[str, Any] = up.instance("m-1").get("brokers", {})
    return bool(brokers) and brokers["pre"]["state"] == "connected" and "subscribed to" in up.log


def spool(up: Up, plant: Plant, topic: str, numbers: range) -> None:
    plant.publish_all(f"{topic}/in", list(numbers), 1)
    until(lambda: up.instance("m-1")["spooled"] == numbers.stop, "spooled", 60)


@pytest.mark.parametrize("threads", [1, 2])
def test_a_window_of_20_is_filled_again_at_each_answer(
    threads: int, worker: Callable[..., Up], plant: Plant, topic: str, post: Broker
) -> None:
    """Filled by the connection's clock alone, ten times a second, it would take 100 s."""
    up = worker(threads=threads)
    spool(up, plant, topic, range(20_000))
    post.start()
    until(lambda: up.instance("m-1")["spooled"] == 0, "all is sent", 60)


def test_the_spool_ends_beside_live_input(
    worker: Callable[..., Up], plant: Plant, topic: str, post: Broker
) -> None:
    up = worker(threads=1)
    spool(up, plant, topic, range(3000))
    post.start()
    until(lambda: up.instance("m-1")["brokers"]["post"]["state"] == "connected", "it is back")
    with Plant(post.port) as reader:
        reader.subscribe(f"{topic}/out", 1)
        number = 3000

        def emptied() -> bool:
            nonlocal number
            plant.publish_soon(f"{topic}/in", list(range(number, number + 60)), 1)
            number += 60
            return bool(up.instance("m-1")["spooled"] == 0)

        until(emptied, "the spool is empty though more comes all the time", 60)
        plant.publish_all(f"{topic}/in", [number], 1)
        until(lambda: reader.received and reader.payloads()[-1] == number, "the last one", 60)
        found = reader.payloads()
        assert found == list(range(found[0], number + 1)), "in order, none missing"
