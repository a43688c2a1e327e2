"""Sessions that a broker has lost, or keeps for a shorter time than it was asked to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.broker import Broker
from support.client import Plant
from support.poll import until
from support.stub import StubBroker
from support.workers import Workers

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


def counters(app: Workers, instance: str = "m-1") -> dict[str, int]:
    found: dict[str, int] = app.instance(instance)["counters"]
    return found


def restart(broker: Broker, app: Workers, *instances: str) -> None:
    before = {name: app.instance(name)["brokers"]["pre"]["connects"] for name in instances}
    broker.stop()
    broker.start()
    for name in instances:
        until(
            lambda name=name: app.instance(name)["brokers"]["pre"]["connects"] > before[name],  # type: ignore[misc]
            f"{name} is connected again",
            60,
        )
    app.wait_ready(60)


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_a_session_that_the_broker_has_lost_is_told_and_counted(
    protocol: str, make_broker: Callable[..., Broker], run: Callable[..., Workers]
) -> None:
    broker = make_broker()
    app = run(broker.port, protocol)
    assert counters(app)["sessions_lost"] == 0
    assert LOST not in app.log
    restart(broker, app, "m-1")
    assert counters(app)["sessions_lost"] == 1
    app.wait_log(LOST)
    (line,) = [line for line in app.log.splitlines() if LOST in line]
    assert "WARNING" in line
    assert "pyboot-m-1" in line
    assert "t/in" in line
    with Plant(broker.port).subscribe("t/out") as plant:
        plant.publish("t/in", 1, qos=1)
        assert plant.wait_for(1) == [1]


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_it_is_told_also_when_the_worker_was_away_meanwhile(
    protocol: str, make_broker: Callable[..., Broker], run: Callable[..., Workers]
) -> None:
    broker = make_broker()
    run(broker.port, protocol).close()
    again = run(broker.port, protocol)
    assert counters(again)["sessions_lost"] == 0, "the session is there"
    again.close()
    broker.stop()
    broker.start()
    app = run(broker.port, protocol)
    assert counters(app)["sessions_lost"] == 1


def test_a_session_that_was_given_up_on_purpose_is_not_lost(
    make_broker: Callable[..., Broker], run: Callable[..., Workers]
) -> None:
    broker = make_broker()
    run(broker.port).close()
    run(broker.port, pre_qos=0).close()
    app = run(broker.port)
    assert counters(app)["sessions_lost"] == 0
    assert LOST not in app.log


def test_a_session_of_another_client_id_is_not_lost(
    make_broker: Callable[..., Broker], run: Callable[..., Workers]
) -> None:
    broker = make_broker()
    run(broker.port).close()
    app = run(broker.port, of_broker=", client_id_prefix: plant7-")
    assert counters(app)["sessions_lost"] == 0
    assert LOST not in app.log
    restart(broker, app, "m-1")
    assert counters(app)["sessions_lost"] == 1, "its own one"


def test_a_broker_that_keeps_its_sessions_loses_none(
    make_broker: Callable[..., Broker], run: Callable[..., Workers], tmp_path: Path
) -> None:
    broker = make_broker(PERSISTENT.format(folder=tmp_path / "own-broker"))
    app = run(broker.port)
    restart(broker, app, "m-1")
    assert counters(app)["sessions_lost"] == counters(app)["sessions_unsure"] == 0
    assert LOST not in app.log


def test_instances_that_share_are_subscribed_again_and_say_what_may_be_missing(
    make_broker: Callable[..., Broker], run: Callable[..., Workers], tmp_path: Path
) -> None:
    """A mosquitto 2.0 that is restarted keeps the sessions, and forgets what they share."""
    broker = make_broker(PERSISTENT.format(folder=tmp_path / "own-broker"))
    app = run(broker.port, instance=2)
    assert "shared subscription" not in app.log
    restart(broker, app, "m-1", "m-2")
    with Plant(broker.port).subscribe("t/out") as plant:
        plant.publish_all("t/in", list(range(100)), qos=1)
        assert sorted(plant.wait_for(100)) == list(range(100))
    for instance in ("m-1", "m-2"):
        found = counters(app, instance)
        assert (found["sessions_lost"], found["sessions_unsure"]) == (0, 1)
        assert found["received"] == 50
    until(lambda: app.log.count("shared subscription") == 2, "both have said so")
    said = [line for line in app.log.splitlines() if "shared subscription" in line]
    assert all("WARNING" in line and "$share/pyboot-m/t/in" in line for line in said)


def test_a_session_that_the_broker_keeps_for_a_shorter_time_is_told_once(
    run: Callable[..., Workers],
) -> None:
    with StubBroker(bytes.fromhex("2008000005 1100015180")) as stub:
        app = run(stub.port)
        (notice,) = app.instance("m-1")["notices"]
        assert "86400 s only, not the 604800 s" in notice
        assert (app.reasons, app.notices) == ([], [f"m-1: {notice}"])
        for connection in {packet.connection for packet in stub.of_kind(8)}:
            stub.hang_up(connection)
        until(lambda: len(stub.of_kind(8)) == 2, "it is connected again")
        app.wait_ready()
        assert app.log.count("86400 s only") == 1
