"""What pyboot promises, with each broker that docs/brokers.md calls tried here."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from support.app import Up
from support.client import Plant
from support.poll import until

from brokers.makers import Launched, Maker

MESSAGES = 600
MODELS = """
import time

def same(payload):
    return payload

def slow(payload):
    time.sleep(0.002)
    return payload
"""


@pytest.fixture
def plant(broker: Launched, protocol: str, topic: str) -> Iterator[Plant]:
    """With a session that outlives the broker, as far as that keeps any."""
    with Plant(broker.port, protocol, session=topic.replace("/", "-")) as client:
        yield client


@pytest.fixture
def configure(
    write_config: Callable[..., Path], broker: Launched, protocol: str
) -> Callable[..., Path]:
    """Writes a configuration whose brokers are all this one, with an edge for each of `topics`.

    The first is named `m`. Sessions are this test's own: what the broker keeps for the instances of
    an earlier one would come to these as well.
    """

    def write(*topics: str, model: str = "same", more: str = "") -> Path:
        head = (
            f"brokers: {{it: {{host: 127.0.0.1, port: {broker.port}, protocol: '{protocol}', "
            f"client_id_prefix: '{topics[0][-8:]}-'}}}}"
        )
        edges = [
            f"{{name: m{number or ''}, edge_mode: my_models.{model}, pre_broker: it, pre_qos: 1, "
            f"pre_topic: '{topic}/in', post_broker: it, post_topic: '{topic}/out', post_qos: 1"
            f"{more}}}"
            for number, topic in enumerate(topics)
        ]
        return write_config(*edges, models=MODELS, head=head)

    return write


def numbers(plant: Plant) -> list[int]:
    """What came, each once, in the order in which it came first."""
    return list(dict.fromkeys(plant.payloads()))


def pid_of_worker(master: Up) -> int:
    """0 while there is none: it is about to be started again."""
    return int(master.instance("m-1").get("pid") or 0)


def has_been_killed(master: Up, times: int) -> bool:
    return master.log.count("killed by SIGKILL") == times


def has_more(plant: Plant, some: int) -> bool:
    return len(numbers(plant)) > some


def test_messages_go_through_in_order_whatever_the_topic_is_called(
    maker: Maker, topic: str, configure: Callable[..., Path], up: Callable[..., Up], plant: Plant
) -> None:
    places = [f"{topic}/{name}" for name in ("plain", "with blank", "grösse.°C", "a.b.c")]
    for place in places:
        plant.subscribe(f"{place}/out", 1)
    up(configure(*places))
    for place in places:
        plant.publish_all(f"{place}/in", list(range(100)), qos=1)
    plant.wait_for(400)
    for place in places:
        heard = f"{place}/out".replace(".", maker.dot)
        assert plant.payloads(heard) == list(range(100))


def test_a_killed_worker_loses_nothing(
    topic: str, configure: Callable[..., Path], up: Callable[..., Up], plant: Plant
) -> None:
    plant.subscribe(f"{topic}/out", 1)
    master = up(configure(topic, model="slow"))
    plant.publish_all(f"{topic}/in", list(range(MESSAGES)), qos=1)
    for kills, some in enumerate((MESSAGES // 4, MESSAGES // 2), 1):
        until(partial(has_more, plant, some), "some results")
        os.kill(until(partial(pid_of_worker, master), "it runs"), signal.SIGKILL)
        until(partial(has_been_killed, master, kills), "it was killed")
    until(lambda: len(numbers(plant)) == MESSAGES, "all results", 60)
    # By MQTT 3.1.1 mosquitto delivers out of order what waits for its window.
    assert sorted(numbers(plant)) == list(range(MESSAGES))


def test_a_broker_that_restarts_loses_nothing(
    maker: Maker,
    topic: str,
    broker: Launched,
    configure: Callable[..., Path],
    up: Callable[..., Up],
    plant: Plant,
) -> None:
    if not maker.durable:
        pytest.skip(f"{maker.name} keeps nothing over its own restart")
    plant.subscribe(f"{topic}/out", 1)
    up(configure(topic, model="slow"))
    plant.publish_all(f"{topic}/in", list(range(MESSAGES)), qos=1)
    until(lambda: len(numbers(plant)) > MESSAGES // 4, "some results")
    broker.stop()
    broker.start()
    until(lambda: len(numbers(plant)) == MESSAGES, "all results", 90)
    assert sorted(numbers(plant)) == list(range(MESSAGES))


def test_instances_share_the_input_where_the_broker_can_share(
    maker: Maker,
    topic: str,
    configure: Callable[..., Path],
    up: Callable[..., Up],
    plant: Plant,
) -> None:
    if not maker.shared:
        pytest.skip(f"{maker.name} has no shared subscriptions")
    plant.subscribe(f"{topic}/out", 1)
    master = up(configure(topic, more=", instance: 2"))
    plant.publish_all(f"{topic}/in", list(range(200)), qos=1)
    assert sorted(plant.wait_for(200)) == list(range(200))
    counts = [master.instance(f"m-{n}")["counters"]["received"] for n in (1, 2)]
    assert sum(counts) == 200
    assert min(counts) > 0


def test_without_shared_subscriptions_instances_are_not_ready_and_say_what_to_do(
    maker: Maker, protocol: str, topic: str, configure: Callable[..., Path], up: Callable[..., Up]
) -> None:
    if maker.shared or protocol != "5":
        pytest.skip("it has them, or can't say that it doesn't")
    master = up(configure(topic, more=", instance: 2"), ready=False)
    until(lambda: "share: false" in str(master.get("/readyz")[1]), "what to do")
    assert master.get("/readyz")[0] == 503
