"""Subscriptions that a broker grants in part, not at all, or answers with old messages."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.broker import Broker
from support.client import Plant
from support.poll import until
from support.proxy import Proxy
from support.stub import SUBSCRIBE, Answer, Packet, StubBroker, suback
from support.workers import Workers

MODELS = """
def same(payload):
    return payload

def counted(payload, context):
    context.state["count"] = context.state.get("count", 0) + 1
    return [payload, context.state["count"]]
"""
CONNACKS = {"5": b"\x20\x03\x00\x00\x00", "3.1.1": b"\x20\x02\x00\x00"}


def reasons(app: Workers) -> str:
    return " ".join(app.reasons)


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
@pytest.mark.parametrize("qos", [1, 2])
def test_a_lower_qos_than_was_asked_for_is_told(
    qos: int, protocol: str, run: Callable[..., Workers]
) -> None:
    def grant(packet: object) -> bytes:
        return suback(packet.mid, 0, v5=protocol == "5")  # type: ignore[attr-defined]

    with StubBroker(CONNACKS[protocol], subscribe=grant) as stub:
        app = run(stub.port, protocol, pre_qos=qos)
        (notice,) = app.instance("m-1")["notices"]
        assert "granted QoS 0 for t/in, not QoS 1" in notice
        assert app.notices == [f"m-1: {notice}"]
        app.wait_log("subscribed to t/in at QoS 0")
        for connection in {packet.connection for packet in stub.of_kind(SUBSCRIBE)}:
            stub.hang_up(connection)
        until(lambda: len(stub.of_kind(SUBSCRIBE)) == 2, "it is connected again")
        app.wait_ready()
        assert app.log.count("granted QoS 0") == 1


def test_the_log_names_the_granted_qos(
    run: Callable[..., Workers], broker: Broker, topic: str
) -> None:
    app = run(broker.port, pre_qos=2, pre_topic=topic)
    app.wait_log(f"subscribed to {topic} at QoS 1")
    assert app.instance("m-1")["notices"] == []
    assert app.notices == []


def test_a_broker_without_shared_subscriptions_is_told_apart(run: Callable[..., Workers]) -> None:
    with StubBroker(bytes.fromhex("200500000 22a00".replace(" ", ""))) as stub:
        app = run(stub.port, instance=2, ready=False)
        until(lambda: "share: false" in reasons(app), "the reason is known")
        assert "no shared subscriptions" in reasons(app)
        assert stub.of_kind(SUBSCRIBE) == []


@pytest.mark.parametrize(("protocol", "code"), [("5", 0x9E), ("5", 0x87), ("3.1.1", 0x80)])
def test_a_refused_shared_subscription_names_the_way_out(
    protocol: str, code: int, run: Callable[..., Workers]
) -> None:
    def refuse(packet: object) -> bytes:
        return suback(packet.mid, code, v5=protocol == "5")  # type: ignore[attr-defined]

    with StubBroker(CONNACKS[protocol], subscribe=refuse) as stub:
        app = run(stub.port, protocol, instance=2, ready=False)
        until(lambda: "share: false" in reasons(app), "the reason is known")
        assert "$share/pyboot-m/t/in was refused" in reasons(app)


def test_a_subscription_that_is_refused_again_and_again_is_told_once(
    run: Callable[..., Workers],
) -> None:
    """Others, and this one once, filled the log with it: every few seconds, two lines."""
    codes = iter([0x87] * 4)
    with StubBroker(subscribe=lambda packet: suback(packet.mid, next(codes, 1))) as stub:
        app = run(stub.port)
        app.wait_log("subscribed to t/in at QoS 1")
        assert len(stub.of_kind(SUBSCRIBE)) == 5
        assert app.log.count("the subscription to t/in was refused") == 1
        assert app.log.count("pre broker 127.0.0.1:") == 2, "connected, and refused"


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_of_several_topics_the_one_that_is_refused_is_named(
    protocol: str, run: Callable[..., Workers]
) -> None:
    """Whichever the broker answers first."""
    held: list[int] = []

    def refuse_the_second(packet: Packet) -> bytes | None:
        held.append(packet.mid)
        if len(held) % 2:
            return None
        v5 = protocol == "5"
        return suback(packet.mid, 0x87 if v5 else 0x80, v5=v5) + suback(held[-2], v5=v5)

    with StubBroker(CONNACKS[protocol], subscribe=refuse_the_second) as stub:
        app = run(stub.port, protocol, pre_topic="[t/good, t/bad]", ready=False)
        until(lambda: "was refused" in reasons(app), "the reason is known")
        assert "the subscription to t/bad was refused" in reasons(app)
        assert "t/good" not in reasons(app)
        until(lambda: len(stub.of_kind(SUBSCRIBE)) >= 6, "it is tried again and again")
        assert "subscribed to t/good" not in app.log, "it is of no use alone"


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_a_subscription_that_is_answered_by_hanging_up_is_named(
    protocol: str, run: Callable[..., Workers]
) -> None:
    """Another client of this id was looked for."""
    hang_up = Answer(hang_up=True)
    with StubBroker(CONNACKS[protocol], subscribe=lambda packet: hang_up) as stub:
        app = run(stub.port, protocol, ready=False)
        lost = "connection lost before an answer to SUBSCRIBE t/in"
        until(lambda: lost in reasons(app), "the reason is known")
        until(lambda: "may the client pyboot-m-1 subscribe" in reasons(app), "its cause", 60)
        app.wait_log("may the client pyboot-m-1 subscribe to that?")
        assert "running twice" not in app.log


def test_a_subscription_that_is_answered_by_disconnect_is_named(
    run: Callable[..., Workers],
) -> None:
    farewell = Answer(b"\xe0\x01\x87", hang_up=True)
    with StubBroker(subscribe=lambda packet: farewell) as stub:
        app = run(stub.port, ready=False)
        said = "ended the session: Not authorized, instead of an answer to SUBSCRIBE t/in"
        until(lambda: said in reasons(app), "the reason is known")


def test_one_instance_needs_no_shared_subscriptions(run: Callable[..., Workers]) -> None:
    with StubBroker(bytes.fromhex("20050000022a00")) as stub:
        run(stub.port)
        assert len(stub.of_kind(SUBSCRIBE)) == 1


@pytest.fixture
def talkative_broker(tmp_path: Path) -> Iterator[Broker]:
    """Its log tells each packet."""
    lines = "listener {port} 127.0.0.1\nallow_anonymous true\nlog_type all\n"
    running = Broker(tmp_path / "own-broker", lines).start()
    yield running
    running.stop()


def acknowledged(broker: Broker) -> int:
    """How many acknowledgements of inputs have arrived there: what is on its way when a connection
    is cut has to come again."""
    return broker.log.read_text().count("Received PUBACK from pyboot-m-1 ")


def uncut(broker: Broker) -> dict[str, object]:
    """Keys of an edge that publishes past the proxy: a result whose acknowledgement is cut off
    comes twice. Its input's says only that the result is safe, which it may be on disk."""
    return {"post_broker": "127.0.0.1", "post_port": broker.port}


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
@pytest.mark.parametrize("live", [True, False], ids=["live", "before"])
def test_a_retained_message_is_processed_once_however_often_the_connection_is_cut(
    live: bool, protocol: str, run: Callable[..., Workers], talkative_broker: Broker
) -> None:
    broker = talkative_broker
    keys = {"pre_topic": "t/+/in", "edge_mode": "my_models.counted"} | uncut(broker)
    with Plant(broker.port).subscribe("t/out") as plant, Proxy(broker.port) as proxy:
        if not live:
            plant.publish("t/a/in", "kept", qos=1, retain=True)
        app = run(proxy.port, protocol, **keys)
        if live:
            plant.publish("t/a/in", "kept", qos=1, retain=True)
        for cuts in range(1, 4):
            # By 3.1.1 it comes again, and is acknowledged without being processed.
            copies = 1 if protocol == "5" else cuts
            until(lambda copies=copies: acknowledged(broker) == copies, "it is acknowledged", 60)  # type: ignore[misc]
            proxy.cut()
            until(
                lambda: app.instance("m-1")["brokers"]["pre"]["state"] != "connected",
                "it is cut off",
                60,
            )
            proxy.resume()
            app.wait_ready(60)
        # What comes after a retained message shows that none is on its way any more.
        plant.publish("t/b/in", "last", qos=1)
        until(lambda: "last" in [value for value, _ in plant.payloads()], "the last one")
        assert plant.payloads() == [["kept", 1], ["last", 2]]
        copies = 1 if protocol == "5" else 4
        until(lambda: acknowledged(broker) == copies + 1, "the last one is acknowledged", 60)
        # Another that takes its place while the worker is away is a new one.
        proxy.cut()
        plant.publish("t/a/in", "new", qos=1, retain=True)
        proxy.resume()
        assert plant.wait_for(3, 60) == [["kept", 1], ["last", 2], ["new", 3]]


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_a_retained_message_comes_no_more_behind_newer_ones_of_its_topic(
    protocol: str, run: Callable[..., Workers], talkative_broker: Broker
) -> None:
    """By 3.1.1 it was processed at each connection that a live one had come before."""
    broker = talkative_broker
    with Plant(broker.port).subscribe("t/out") as plant, Proxy(broker.port) as proxy:
        plant.publish("t/in", "kept", qos=1, retain=True)
        app = run(proxy.port, protocol, **uncut(broker))
        done = 1
        for number in range(3):
            plant.publish("t/in", number, qos=1)
            done += 1
            until(lambda count=done: acknowledged(broker) == count, "all are acknowledged", 60)  # type: ignore[misc]
            proxy.cut()
            proxy.resume()
            # By 3.1.1 it comes again, and is acknowledged without being processed.
            done += protocol == "3.1.1"
            until(lambda count=number + 2: connections(app) == count, "another connection", 60)  # type: ignore[misc]
        until(lambda: acknowledged(broker) == done, "the last copy is acknowledged", 60)
        assert plant.wait_for(4, 60) == ["kept", 0, 1, 2]
        # What takes its place meanwhile, which no session keeps, is a new one.
        proxy.cut()
        plant.publish("t/in", "new", qos=0, retain=True)
        proxy.resume()
        if protocol == "3.1.1":
            assert plant.wait_for(5, 60) == ["kept", 0, 1, 2, "new"]


def connections(app: Workers) -> int:
    count: int = app.instance("m-1")["brokers"]["pre"]["connects"]
    return count
