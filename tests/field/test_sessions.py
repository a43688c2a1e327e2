"""Sessions that a broker has lost, or keeps for a shorter time than it was asked to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.app import Up
from support.broker import Broker
from support.client import Plant
from support.poll import until
from support.stub import StubBroker

MODELS = """
def same(payload):
    return payload
"""
LOST = "has lost the session"
PERSISTENT = """listener {{port}} 127.0.0.1
allow_anonymous true
persistence true
persistence_location {folder}/
"""


@pytest.fixture
def make_broker(tmp_path: Path) -> Iterator[Callable[..., Broker]]:
    running: list[Broker] = []

    def make(lines: str = "") -> Broker:
        running.append(Broker(tmp_path / "own-broker", lines))
        return running[-1].start()

    yield make
    for broker in running:
        broker.stop()


def counters(master: Up, instance: str = "m-1") -> dict[str, int]:
    found: dict[str, int] = master.instance(instance)["counters"]
    return found


def restart(broker: Broker, master: Up, *instances: str) -> None:
    before = {name: master.instance(name)["brokers"]["pre"]["connects"] for name in instances}
    broker.stop()
    broker.start()
    for name in instances:
        until(
            lambda name=name: master.instance(name)["brokers"]["pre"]["connects"] > before[name],  # type: ignore[misc]
            f"{name} is connected again",
            60,
        )
    master.wait_ready(60)


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_a_session_that_the_broker_has_lost_is_told_and_counted(
    protocol: str, make_broker: Callable[..., Broker], run: Callable[..., Up]
) -> None:
    broker = make_broker()
    master = run(broker.port, protocol)
    assert counters(master)["sessions_lost"] == 0
    assert LOST not in master.log
    restart(broker, master, "m-1")
    assert counters(master)["sessions_lost"] == 1
    master.wait_log(LOST)  # by way of `up`
    (line,) = [line for line in master.log.splitlines() if LOST in line]
    assert "WARNING" in line
    assert "pyboot-m-1" in line
    assert "t/in" in line
    assert "pyboot_sessions_lost_total" in master.get("/metrics")[1]
    with Plant(broker.port).subscribe("t/out") as plant:
        plant.publish("t/in", 1, qos=1)
        assert plant.wait_for(1) == [1]


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_it_is_told_also_when_the_worker_was_away_meanwhile(
    protocol: str, make_broker: Callable[..., Broker], run: Callable[..., Up]
) -> None:
    broker = make_broker()
    run(broker.port, protocol).close()
    again = run(broker.port, protocol)
    assert counters(again)["sessions_lost"] == 0, "the session is there"
    again.close()
    broker.stop()
    broker.start()
    master = run(broker.port, protocol)
    assert counters(master)["sessions_lost"] == 1


def test_a_session_that_was_given_up_on_purpose_is_not_lost(
    make_broker: Callable[..., Broker], run: Callable[..., Up]
) -> None:
    broker = make_broker()
    run(broker.port).close()
    run(broker.port, pre_qos=0).close()
    master = run(broker.port)
    assert counters(master)["sessions_lost"] == 0
    assert LOST not in master.log


def test_a_session_of_another_client_id_is_not_lost(
    make_broker: Callable[..., Broker], run: Callable[..., Up]
) -> None:
    broker = make_broker()
    run(broker.port).close()
    master = run(broker.port, of_broker=", client_id_prefix: plant7-")
    assert counters(master)["sessions_lost"] == 0
    assert LOST not in master.log
    restart(broker, master, "m-1")
    assert counters(master)["sessions_lost"] == 1, "its own one"


def test_a_broker_that_keeps_its_sessions_loses_none(
    make_broker: Callable[..., Broker], run: Callable[..., Up], tmp_path: Path
) -> None:
    broker = make_broker(PERSISTENT.format(folder=tmp_path / "own-broker"))
    master = run(broker.port)
    restart(broker, master, "m-1")
    assert counters(master)["sessions_lost"] == counters(master)["sessions_unsure"] == 0
    assert LOST not in master.log


def test_instances_that_share_are_subscribed_again_and_say_what_may_be_missing(
    make_broker: Callable[..., Broker], run: Callable[..., Up], tmp_path: Path
) -> None:
    """A mosquitto 2.0 that is restarted keeps the sessions, and forgets what they share."""
    broker = make_broker(PERSISTENT.format(folder=tmp_path / "own-broker"))
    master = run(broker.port, instance=2)
    assert "shared subscription" not in master.log
    restart(broker, master, "m-1", "m-2")
    with Plant(broker.port).subscribe("t/out") as plant:
        plant.publish_all("t/in", list(range(100)), qos=1)
        assert sorted(plant.wait_for(100)) == list(range(100))
    for instance in ("m-1", "m-2"):
        found = counters(master, instance)
        assert (found["sessions_lost"], found["sessions_unsure"]) == (0, 1)
        assert found["received"] == 50
    until(lambda: master.log.count("shared subscription") == 2, "both have said so")
    said = [line for line in master.log.splitlines() if "shared subscription" in line]
    assert all("WARNING" in line and "$share/pyboot-m/t/in" in line for line in said)


def test_a_session_that_the_broker_keeps_for_a_shorter_time_is_told_once(
    run: Callable[..., Up],
) -> None:
    with StubBroker(bytes.fromhex("2008000005 1100015180")) as stub:
        master = run(stub.port)
        (notice,) = master.instance("m-1")["notices"]
        assert "86400 s only, not the 604800 s" in notice
        assert master.get("/readyz") == (
            200,
            {"ready": True, "reasons": [], "notices": [f"m-1: {notice}"]},
        )
        for connection in {packet.connection for packet in stub.of_kind(8)}:
            stub.hang_up(connection)
        until(lambda: len(stub.of_kind(8)) == 2, "it is connected again")
        master.wait_ready()
        assert master.log.count("86400 s only") == 1
