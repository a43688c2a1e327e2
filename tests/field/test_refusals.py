"""What brokers refuse, in words or by hanging up: named and kept, and nothing waits behind it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from support.app import Up, run_pyboot
from support.broker import Broker, free_port
from support.client import Plant
from support.poll import until
from support.store import rows
from support.stub import CONNECT, PUBLISH, Answer, Packet, StubBroker, puback
from support.workers import Workers

MODELS = """
def same(payload):
    return payload
"""
CONNACK_311 = b"\x20\x02\x00\x00"
LARGE = "x" * 3000
# Several losses of the connection, one after another, on a busy machine.
LONG = 90.0


def dead(tmp_path: Path) -> list[tuple[Any, ...]]:
    folder = tmp_path / "state" / "m-1"
    return rows(folder, "SELECT kind, topic, payload, error, attempts FROM dead ORDER BY id")


def start(
    workers: Callable[..., Workers], config: Path, tmp_path: Path, *, ready: bool = True
) -> Workers:
    return workers(config, "--state-dir", str(tmp_path / "state"), ready=ready)


def numbers(stub: StubBroker, topic: str) -> list[int]:
    """Of the results that came, in order."""
    return [number_of(packet) for packet in stub.of_kind(PUBLISH) if packet.topic == topic]


def number_of(packet: Packet, *, v5: bool = True) -> int:
    payload = packet.rest[1 + packet.rest[0] :] if v5 else packet.rest
    return int(json.loads(payload)["n"])


def counters(app: Workers) -> dict[str, Any]:
    found: dict[str, Any] = app.instance("m-1")["counters"]
    return found


@contextmanager
def subscribed(broker: Broker, *topics: str) -> Iterator[Plant]:
    with Plant(broker.port) as plant:
        for topic in topics:
            plant.subscribe(topic, 1)
        yield plant


@pytest.mark.parametrize(
    ("protocol", "qos", "spooled"),
    [("3.1.1", 1, False), ("3.1.1", 1, True), ("3.1.1", 2, True), ("5", 1, False)],
)
def test_a_result_that_the_broker_answers_by_hanging_up_is_given_up(
    protocol: str,
    qos: int,
    spooled: bool,
    post_broker: Callable[[str], Broker],
    config: Callable[..., Path],
    workers: Callable[..., Workers],
    plant: Plant,
    topic: str,
    tmp_path: Path,
) -> None:
    post = post_broker("max_packet_size 2000\n")
    if spooled:
        post.stop()
    app = start(workers, config(post.port, protocol, qos), tmp_path, ready=not spooled)
    app.wait_log("subscribed to")
    messages = [{"n": n, "text": LARGE if n == 2 else ""} for n in range(1, 21)]
    if spooled:
        plant.publish_all(topic, messages, 1)
        until(lambda: counters(app)["spooled"] == 20, "all are spooled", LONG)
        post.start()
    with subscribed(post, f"{topic}/out") as reader:
        if not spooled:
            plant.publish_all(topic, messages, 1)
        until(lambda: len(set(received(reader))) == 19, "the others", LONG)
    assert received(reader)[-18:] == list(range(3, 21))
    [(kind, _, payload, error, _)] = until(lambda: dead(tmp_path), "it is kept", LONG)
    assert (kind, json.loads(payload)["n"]) == ("refused", 2)
    if protocol == "3.1.1":
        assert "closes the connection whenever it is sent (30" in error
        assert "QoS that it doesn't support" in error
    app.wait_log(f"a result for {topic}/out is given up")
    assert "twice?" not in app.log
    until(lambda: not app.reasons, "ready again", LONG)
    assert app.instance("m-1")["errors"] == {"refused": 1}
    # No more than one of its own: what tells of it is as large as itself.
    until(lambda: app.instance("m-1")["dead_letters_waiting"] == 0, "nothing waits", LONG)


def test_a_result_at_qos_0_that_the_broker_does_not_read_to_its_end_is_given_up(
    post_broker: Callable[[str], Broker],
    config: Callable[..., Path],
    workers: Callable[..., Workers],
    plant: Plant,
    topic: str,
    tmp_path: Path,
) -> None:
    """What is larger than the network takes at once is in flight until all is written."""
    models = """
def same(payload):
    return {**payload, "text": "x" * 12_000_000} if payload["n"] == 2 else payload
"""
    post = post_broker("max_packet_size 2000\n")
    start(workers, config(post.port, "3.1.1", 0, models=models), tmp_path)
    with subscribed(post, f"{topic}/out") as reader:
        plant.publish_all(topic, [{"n": n} for n in range(1, 21)], 1)
        until(lambda: dead(tmp_path), "it is kept", LONG)
        plant.publish(topic, {"n": 21}, 1)
        until(lambda: 21 in received(reader), "the last", LONG)
    [(kind, _, payload, error, _)] = dead(tmp_path)
    assert kind == "refused"
    assert b'"n"' in payload
    assert "1200" in error


def test_at_qos_0_what_is_too_large_is_named_and_refused_after_some_times(
    post_broker: Callable[[str], Broker],
    config: Callable[..., Path],
    workers: Callable[..., Workers],
    plant: Plant,
    topic: str,
    tmp_path: Path,
) -> None:
    post = post_broker("max_packet_size 2000\n")
    app = start(workers, config(post.port, "3.1.1", 0), tmp_path)
    with subscribed(post, f"{topic}/out") as reader:
        for n in range(1, 40):
            before = connects(app)
            plant.publish(topic, {"n": n, "text": LARGE if n % 4 == 0 else ""}, 1)
            if n % 4:
                until(partial(arrived, reader, n), f"{n} came through", LONG)
            elif not dead(tmp_path):
                until(partial(lost_since, app, before, tmp_path), "a new connection", LONG)
            if len(dead(tmp_path)) > 2:
                break
    app.wait_log("right after a result of 30")
    assert [kind for kind, *_ in dead(tmp_path)] == ["refused"] * 3


def test_a_broker_that_hangs_up_with_and_without_the_message_costs_none(
    config: Callable[..., Path],
    workers: Callable[..., Workers],
    plant: Plant,
    topic: str,
    tmp_path: Path,
) -> None:
    """It hangs up on the message twice, and then without it."""
    losses = 4

    def answer(packet: Packet) -> bytes | None:
        return puback(packet.mid) if packet.connection > losses else None

    with StubBroker(publish=answer) as stub:
        app = start(workers, config(stub.port), tmp_path)
        plant.publish(topic, {"n": 1}, 1)
        for number in range(1, losses + 1):
            if number <= 2:
                sent = partial(came, stub, number, PUBLISH)
            else:
                sent = partial(came, stub, number, CONNECT)
            until(sent, f"a packet on connection {number}", LONG)
            stub.hang_up(number)
        until(lambda: counters(app)["published"] == 1, "published", LONG)
        assert dead(tmp_path) == []


def test_a_broker_that_hangs_up_and_says_why_is_quoted(
    config: Callable[..., Path],
    workers: Callable[..., Workers],
    plant: Plant,
    topic: str,
    tmp_path: Path,
) -> None:
    """Nothing is guessed beside a reason that is known."""

    def answer(packet: Packet) -> bytes | Answer:
        if packet.topic == f"{topic}/out" and number_of(packet) == 2:
            return Answer(b"\xe0\x01\x81", hang_up=True)
        return puback(packet.mid)

    with StubBroker(publish=answer) as stub:
        app = start(workers, config(stub.port), tmp_path)
        plant.publish_all(topic, [{"n": n} for n in range(1, 4)], 1)
        until(lambda: numbers(stub, f"{topic}/out")[-1:] == [3], "the one behind it", LONG)
        [(_, _, _, error, _)] = until(lambda: dead(tmp_path), "it is kept", LONG)
        assert "closes the connection whenever it is sent" in error
        assert "Malformed packet" in error
        said = [line for line in app.log.splitlines() if "post broker" in line]
        assert not any("larger than the broker takes" in line for line in [error, *said])


def test_a_topic_that_is_not_allowed_teaches_nothing_of_sizes(
    config: Callable[..., Path],
    workers: Callable[..., Workers],
    plant: Plant,
    topic: str,
    tmp_path: Path,
) -> None:
    """By MQTT 3.1.1, where a broker can only hang up."""
    forbidden, large = f"{topic}/forbidden", {"text": LARGE}

    def answer(packet: Packet) -> bytes | Answer:
        return Answer(hang_up=True) if packet.topic == forbidden else puback(packet.mid)

    models = """
def same(payload, context):
    context.publish(payload, f"{context.topic}/{payload['to']}")
"""
    with StubBroker(connect=lambda packet: CONNACK_311, publish=answer) as stub:
        app = start(workers, config(stub.port, "3.1.1", models=models), tmp_path)
        plant.publish(topic, {"to": "forbidden", "n": 0, **large}, 1)
        until(lambda: dead(tmp_path), "it is given up", LONG)
        for number, more in enumerate(({}, large, {}), 1):
            plant.publish(topic, {"to": "out", "n": number, **more}, 1)
            until(partial(published, app, number), f"{number} is published", LONG)
        assert [json.loads(payload)["n"] for _, _, payload, *_ in dead(tmp_path)] == [0]


def published(app: Workers, count: int) -> bool:
    return bool(counters(app)["published"] == count)


def arrived(reader: Plant, number: int) -> bool:
    return number in received(reader)


def connects(app: Workers) -> int:
    found: int = app.instance("m-1")["brokers"]["post"]["connects"]
    return found


def post_reason(app: Workers) -> str:
    found: str = app.instance("m-1")["brokers"]["post"]["reason"]
    return found


def lost_since(app: Workers, before: int, tmp_path: Path) -> bool:
    """Whether there was another connection since, or the message was refused without a loss."""
    return bool(dead(tmp_path)) or connects(app) > before


def came(stub: StubBroker, connection: int, kind: int) -> bool:
    return any(packet.connection == connection for packet in stub.of_kind(kind))


def received(plant: Plant) -> list[int]:
    return [message["n"] for message in plant.payloads()]


@pytest.mark.parametrize("size", [140_000])
def test_a_broker_that_takes_less_than_it_says(
    size: int,
    config: Callable[..., Path],
    workers: Callable[..., Workers],
    plant: Plant,
    topic: str,
    tmp_path: Path,
) -> None:
    def answer(packet: Packet) -> Answer | bytes | None:
        if len(packet.body) > 131_072:
            return Answer(b"\xe0\x01\x95", hang_up=True)
        return puback(packet.mid) if packet.qos else None

    connack = bytes.fromhex("20 08 00 00 05 27 00 02 48 00")
    with StubBroker(connack, publish=answer) as stub:
        app = start(workers, config(stub.port), tmp_path)
        for n in range(1, 6):
            plant.publish(topic, {"n": n, "text": "x" * size if n in (2, 4) else ""}, 1)
        until(lambda: numbers(stub, f"{topic}/out")[-1:] == [5], "what is behind it", LONG)
        until(lambda: counters(app)["published"] == 3, "safe")
        until(lambda: len(dead(tmp_path)) == 2, "what the broker refuses is kept")
        assert [json.loads(payload)["n"] for _, _, payload, _, _ in dead(tmp_path)] == [2, 4]
        # The second is as large: the first told what becomes of it.
        assert numbers(stub, f"{topic}/out").count(4) <= 1


def test_a_broker_that_comes_and_goes_costs_no_message(
    config: Callable[..., Path],
    workers: Callable[..., Workers],
    plant: Plant,
    topic: str,
    tmp_path: Path,
) -> None:
    """It hangs up on what is in flight, and also without."""
    losses = 5

    def answer(packet: Packet) -> Answer | bytes | None:
        if packet.connection <= losses:
            return None
        return puback(packet.mid)

    with StubBroker(publish=answer) as stub:
        app = start(workers, config(stub.port), tmp_path)
        for n in range(10):
            plant.publish(topic, {"n": n}, 1)
        for number in range(1, losses + 1):
            until(partial(came, stub, number, CONNECT), f"connection {number}", LONG)
            stub.hang_up(number)
        until(lambda: counters(app)["published"] == 10, "all are published", LONG)
        assert numbers(stub, f"{topic}/out")[-10:] == list(range(10))
        assert dead(tmp_path) == []


def test_a_broker_that_is_killed_whenever_it_has_the_same_message_costs_none(
    config: Callable[..., Path],
    workers: Callable[..., Workers],
    plant: Plant,
    topic: str,
    tmp_path: Path,
) -> None:
    """It is away after that, as one that is restarted; what hangs up on a message stays."""
    port = free_port()
    app = start(workers, config(port), tmp_path, ready=False)
    app.wait_log("subscribed to")
    plant.publish_all(topic, [{"n": n} for n in range(5)], 1)
    until(lambda: counters(app)["spooled"] == 5, "all are spooled", LONG)
    for _ in range(5):
        with StubBroker(publish=lambda packet: None, port=port) as stub:
            until(partial(came, stub, 1, PUBLISH), "it comes", LONG)
        until(lambda: "connection refused" in post_reason(app), "it is seen to be away", LONG)
    with StubBroker(port=port) as stub:
        until(lambda: counters(app)["published"] == 5, "all are published", LONG)
        assert numbers(stub, f"{topic}/out") == list(range(5))
    assert dead(tmp_path) == []


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_a_topic_of_which_nothing_can_be_told_as_it_is(
    protocol: str,
    config: Callable[..., Path],
    workers: Callable[..., Workers],
    broker: Broker,
    plant: Plant,
    topic: str,
    tmp_path: Path,
) -> None:
    app = start(workers, config(broker.port, protocol, pre_topic=f"{topic}/in/+"), tmp_path)
    plant.subscribe(f"{topic}/dead").subscribe(f"{topic}/out")
    names = ["\u00a0" * 16_500, "\u6e29" * 10_000]
    for name in names:
        plant.publish(f"{topic}/in/{name}", b"x", 1)
    plant.publish(f"{topic}/in/good", {"n": 1}, 1)
    until(lambda: len(plant.received) == 3, "two dead letters, one result", LONG)
    assert [row[1] for row in dead(tmp_path)] == [f"{topic}/in/{name}" for name in names]
    assert app.alive
    listed = run_pyboot("dead", "list", "--state-dir", str(tmp_path / "state"), "--json")
    assert len(json.loads(listed.stdout)) == 2


def test_a_topic_that_is_not_allowed_holds_others_up_for_some_messages_only(
    config: Callable[..., Path],
    workers: Callable[..., Workers],
    plant: Plant,
    topic: str,
    tmp_path: Path,
) -> None:
    """Each that the broker hangs up on takes several connections: those after are not tried, and
    their dead letters, which the broker takes, are published."""
    forbidden = f"{topic}/forbidden"

    def answer(packet: Packet) -> bytes | Answer:
        return Answer(hang_up=True) if packet.topic == forbidden else puback(packet.mid)

    models = """
def same(payload, context):
    context.publish(payload, f"{context.topic}/{payload['to']}")
"""
    with StubBroker(connect=lambda packet: CONNACK_311, publish=answer) as stub:
        start(workers, config(stub.port, "3.1.1", models=models), tmp_path)
        messages = [{"n": n, "to": to} for n in range(8) for to in ("allowed", "forbidden")]
        plant.publish_all(topic, messages, 1)
        allowed = f"{topic}/allowed"
        until(lambda: distinct(stub, allowed) == set(range(8)), "all that may", LONG)
        until(lambda: len(dead(tmp_path)) == 8, "all others are kept", LONG)
        until(lambda: len(sent_to(stub, f"{topic}/dead")) >= 5, "dead letters come", LONG)
        errors = [error for _, _, _, error, _ in dead(tmp_path)]
        assert all("closes the connection whenever it is sent" in error for error in errors[:3])
        assert all("for each one to this topic" in error for error in errors[3:])


def sent_to(stub: StubBroker, topic: str) -> list[Packet]:
    return [packet for packet in stub.of_kind(PUBLISH) if packet.topic == topic]


def distinct(stub: StubBroker, topic: str) -> set[int]:
    """By MQTT 3.1.1."""
    return {number_of(packet, v5=False) for packet in sent_to(stub, topic)}


def test_an_error_of_characters_that_grow_when_they_are_escaped(
    config: Callable[..., Path],
    workers: Callable[..., Workers],
    broker: Broker,
    plant: Plant,
    topic: str,
    tmp_path: Path,
) -> None:
    models = """
def same(payload):
    if payload == 0:
        raise ValueError(chr(0xE0001) * 8000)
    return payload
"""
    start(workers, config(broker.port, models=models), tmp_path)
    plant.subscribe(f"{topic}/dead").subscribe(f"{topic}/out")
    plant.publish(topic, 0, 1)
    plant.publish(topic, 1, 1)
    until(lambda: len(plant.received) == 2, "a dead letter and a result", LONG)


def test_a_dead_letter_that_is_too_large_is_only_kept(
    config: Callable[..., Path],
    workers: Callable[..., Workers],
    plant: Plant,
    topic: str,
    tmp_path: Path,
) -> None:
    """Reckoned in bytes, as the broker does."""

    def answer(packet: Packet) -> Answer | bytes | None:
        if len(packet.body) > 9000:
            return Answer(hang_up=True)
        return puback(packet.mid)

    with StubBroker(b"\x20\x08\x00\x00\x05\x27" + (9000).to_bytes(4), publish=answer) as stub:
        app = start(workers, config(stub.port), tmp_path)
        plant.publish(topic, ("\u6e29" * 2_900).encode() + b"\xff", 1)
        plant.publish(topic, {"n": 1}, 1)
        until(lambda: counters(app)["published"] == 1, "the result")
        until(lambda: app.instance("m-1")["dead_letters_waiting"] == 0, "nothing waits")
        assert (len(dead(tmp_path)), stub.connections) == (1, 1)


@pytest.mark.parametrize(("qos", "code"), [(1, 0x87), (2, 0x87), (1, 0xA7), (2, 0x95)])
def test_what_is_refused_after_the_spool_is_kept_as_what_is_refused_before(
    qos: int,
    code: int,
    config: Callable[..., Path],
    workers: Callable[..., Workers],
    plant: Plant,
    topic: str,
    tmp_path: Path,
) -> None:
    refusing = [True]

    def answer(packet: Packet) -> bytes | None:
        if packet.topic.endswith("/dead"):
            return puback(packet.mid)
        refused = refusing[0] and number_of(packet) in (2, 3, 4)
        if qos == 1:
            return puback(packet.mid, code if refused else None)
        return b"\x50\x03" + packet.mid.to_bytes(2) + bytes([code if refused else 0])

    port = free_port()
    app = start(workers, config(port, post_qos=qos), tmp_path, ready=False)
    app.wait_log("subscribed to")
    plant.publish_all(topic, [{"n": n} for n in range(10)], 1)
    until(lambda: counters(app)["spooled"] == 10, "all are spooled", LONG)
    with StubBroker(publish=answer, pubrel=pubcomp, port=port) as stub:
        until(lambda: counters(app)["published"] == 7, "the others", LONG)
        until(lambda: len(dead(tmp_path)) == 3, "three are kept")
        kept = dead(tmp_path)
        assert [(kind, name, json.loads(result)["n"]) for kind, name, result, _, _ in kept] == [
            ("refused", f"{topic}/out", n) for n in (2, 3, 4)
        ]
        words = {0x87: "Not authorized", 0x95: "Packet too large", 0xA7: "reason code 167"}[code]
        assert all(f"the post broker: {words}" in error for _, _, _, error, _ in kept)
        assert app.instance("m-1")["errors"] == {"refused": 3}
        assert counters(app)["dropped"] == 0
        # They are results, and are published as such when somebody wants that.
        refusing[0] = False
        asked = run_pyboot("dead", "retry", "m-1", "--all", "--state-dir", str(tmp_path / "state"))
        assert asked.returncode == 0
        until(lambda: counters(app)["published"] == 10, "all are published", LONG)
        until(lambda: dead(tmp_path) == [], "none is kept any more")
        assert numbers(stub, f"{topic}/out")[-3:] == [2, 3, 4]
        assert counters(app)["processed"] == 10


TWO_AND_TICKS = """
class Model:
    def __init__(self, config):
        self.ticks = 0

    def __call__(self, payload, context):
        context.publish({"n": payload["n"]})
        context.publish({"n": payload["n"] + 1})

    def tick(self, context):
        self.ticks += 1
        return {"n": 100} if self.ticks == 1 else None
"""


def test_a_refused_result_that_is_not_its_inputs_only_one_is_published_by_a_retry(
    config: Callable[..., Path],
    workers: Callable[..., Workers],
    plant: Plant,
    topic: str,
    tmp_path: Path,
) -> None:
    """One of several, and a tick's: it is kept with the topic that it went to."""
    refusing = [True]

    def answer(packet: Packet) -> bytes:
        refused = refusing[0] and packet.topic == f"{topic}/out" and number_of(packet) in (1, 100)
        return puback(packet.mid, 0x87 if refused else None)

    with StubBroker(publish=answer) as stub:
        file = config(stub.port, models=TWO_AND_TICKS, more="every: 1s")
        file.write_text(file.read_text().replace("my_models.same", "my_models.Model"))
        app = start(workers, file, tmp_path)
        plant.publish(topic, {"n": 1}, 1)
        until(lambda: len(dead(tmp_path)) == 2, "both are kept", 30)
        assert {name for _, name, _, _, _ in dead(tmp_path)} == {f"{topic}/out"}
        refusing[0] = False
        asked = run_pyboot("dead", "retry", "m-1", "--all", "--state-dir", str(tmp_path / "state"))
        assert asked.returncode == 0
        until(lambda: dead(tmp_path) == [], "none is kept any more", 30)
        all_came = [1, 1, 2, 100, 100]
        until(lambda: sorted(numbers(stub, f"{topic}/out")) == all_came, "both came again", 30)
        until(lambda: counters(app)["published"] == 3, "and are published", 30)


@pytest.mark.parametrize("qos", [1, 2])
def test_a_refused_result_has_the_brokers_own_words(
    qos: int,
    config: Callable[..., Path],
    workers: Callable[..., Workers],
    plant: Plant,
    topic: str,
    tmp_path: Path,
) -> None:
    def answer(packet: Packet) -> bytes:
        words = b"\x1f\x00\x19no rights on\x1b[2J that one"
        body = packet.mid.to_bytes(2) + b"\x87" + bytes([len(words)]) + words
        return bytes([0x40 if packet.qos == 1 else 0x50, len(body)]) + body

    with StubBroker(publish=answer) as stub:
        app = start(workers, config(stub.port, post_qos=qos), tmp_path)
        plant.publish_all(topic, [{"n": 1}], 1)
        until(lambda: dead(tmp_path), "it is kept", LONG)
        [(_, _, _, error, _)] = dead(tmp_path)
        assert error == "the post broker: Not authorized (no rights on\\x1b[2J that one)"
        app.wait_log("Not authorized (no rights on")


def pubcomp(packet: Packet) -> bytes:
    return b"\x70\x02" + packet.mid.to_bytes(2)


@pytest.mark.parametrize(("code", "spooled"), [(0x97, False), (0x97, True), (0x80, False)])
def test_what_is_refused_for_now_is_tried_again_in_order(
    code: int,
    spooled: bool,
    config: Callable[..., Path],
    workers: Callable[..., Workers],
    plant: Plant,
    topic: str,
    tmp_path: Path,
) -> None:
    times = [3]

    def answer(packet: Packet) -> bytes | None:
        if number_of(packet) == 5 and times[0]:
            times[0] -= 1
            return puback(packet.mid, code)
        return puback(packet.mid)

    port = free_port()
    app = start(workers, config(port), tmp_path, ready=False)
    app.wait_log("subscribed to")
    if spooled:
        plant.publish_all(topic, [{"n": n} for n in range(20)], 1)
        until(lambda: counters(app)["spooled"] == 20, "all are spooled", LONG)
    with StubBroker(publish=answer, port=port) as stub:
        until(lambda: stub.connections, "connected", LONG)
        if not spooled:
            plant.publish_all(topic, [{"n": n} for n in range(20)], 1)
        until(lambda: app.instance("m-1")["unacknowledged"] == 0, "acknowledged", LONG)
        until(lambda: counters(app)["published"] == 20, "all are published", LONG)
        until(lambda: not app.reasons, "ready")
        assert numbers(stub, f"{topic}/out")[-15:] == list(range(5, 20))
        assert dead(tmp_path) == []
        assert stub.connections == 1


def test_an_endless_refusal_for_now_is_said_and_holds_nothing_up(
    config: Callable[..., Path],
    workers: Callable[..., Workers],
    plant: Plant,
    topic: str,
    tmp_path: Path,
) -> None:
    taking = [False]

    def answer(packet: Packet) -> bytes | None:
        return puback(packet.mid, None if taking[0] else 0x97)

    with StubBroker(publish=answer) as stub:
        app = start(workers, config(stub.port, more="queue: {pre: 10}"), tmp_path)
        plant.publish_all(topic, [{"n": n} for n in range(200)], 1)
        until(lambda: app.instance("m-1")["unacknowledged"] == 0, "acknowledged", LONG)
        until(lambda: app.reasons, "not ready")
        assert "Quota exceeded" in json.dumps(app.instance("m-1")["reasons"])
        # Not in a circle: one is tried now and then.
        assert len(stub.of_kind(PUBLISH)) < 100
        taking[0] = True
        until(lambda: counters(app)["published"] == 200, "all are published", LONG)
        assert numbers(stub, f"{topic}/out")[-200:] == list(range(200))
        until(lambda: not app.reasons, "ready again")
        assert (dead(tmp_path), stub.connections) == ([], 1)


def test_what_never_becomes_clear_is_given_up(
    config: Callable[..., Path],
    workers: Callable[..., Workers],
    plant: Plant,
    topic: str,
    tmp_path: Path,
) -> None:
    def answer(packet: Packet) -> bytes | None:
        of_result = packet.topic.endswith("/out")
        return puback(packet.mid, 0x83 if of_result and number_of(packet) == 1 else None)

    with StubBroker(publish=answer) as stub:
        app = start(workers, config(stub.port), tmp_path)
        plant.publish_all(topic, [{"n": n} for n in range(5)], 1)
        until(lambda: counters(app)["published"] == 4, "the others", LONG)
        [(kind, _, payload, error, _)] = until(lambda: dead(tmp_path), "it is kept")
        assert (kind, json.loads(payload)["n"]) == ("refused", 1)
        assert "Implementation specific error" in error


def test_a_dead_letter_that_is_refused_for_now_holds_up_no_result(
    config: Callable[..., Path],
    workers: Callable[..., Workers],
    plant: Plant,
    topic: str,
    tmp_path: Path,
) -> None:
    taking = [False]

    def answer(packet: Packet) -> bytes | None:
        held = packet.topic.endswith("/dead") and not taking[0]
        return puback(packet.mid, 0x97 if held else None)

    with StubBroker(publish=answer) as stub:
        app = start(workers, config(stub.port), tmp_path)
        plant.publish(topic, b"oops", 1)
        until(lambda: stub.of_kind(PUBLISH), "the dead letter")
        plant.publish_all(topic, [{"n": n} for n in range(100)], 1)
        until(lambda: counters(app)["published"] == 100, "all are published", LONG)
        assert app.instance("m-1")["dead_letters_waiting"] == 1
        assert not app.reasons
        taking[0] = True
        until(lambda: app.instance("m-1")["dead_letters_waiting"] == 0, "it went out", LONG)


@pytest.mark.parametrize(
    ("most", "qos", "settings"), [(0, 0, ""), (0, 2, ""), (1, 2, ""), (0, 1, "")]
)
def test_no_qos_above_what_the_broker_takes(
    most: int,
    qos: int,
    settings: str,
    post_broker: Callable[[str], Broker],
    config: Callable[..., Path],
    workers: Callable[..., Workers],
    plant: Plant,
    topic: str,
    tmp_path: Path,
) -> None:
    post = post_broker(f"max_qos {most}\n")
    app = start(workers, config(post.port, post_qos=qos), tmp_path)
    with subscribed(post, f"{topic}/out", f"{topic}/dead") as reader:
        plant.publish(topic, b"oops", 1)
        plant.publish_all(topic, [{"n": n} for n in range(100)], 1)
        until(lambda: len(reader.received) == 101, "the dead letter and all results", LONG)
    assert sum(name == f"{topic}/dead" for name, _ in reader.received) == 1
    assert app.log.count("takes no QoS above") == 1
    assert app.log.count("connected") <= 3
    # The reader may have them before the broker's answers have come.
    until(lambda: counters(app)["published"] == 100, "all are published")


@pytest.mark.parametrize("spooled", [False, True], ids=["straight", "by the spool"])
def test_to_a_broker_that_keeps_nothing_results_go_without_retain(
    post_broker: Callable[[str], Broker],
    config: Callable[..., Path],
    workers: Callable[..., Workers],
    plant: Plant,
    topic: str,
    tmp_path: Path,
    spooled: bool,
) -> None:
    post = post_broker("retain_available false\n")
    if spooled:
        post.stop()
    models = (
        "def same(payload, context):\n"
        f"    context.publish(payload, '{topic}/own', retain=True)\n"
        "    return payload\n"
    )
    app = workers(config(post.port, more="post_retain: true", models=models), ready=not spooled)
    if spooled:
        app.wait_log("subscribed to")
        plant.publish_all(topic, [{"n": n} for n in range(3)], 1)
        until(lambda: app.instance("m-1")["spooled"] == 6, "they are on disk")
        post.start()
    until(lambda: not app.reasons, "connected", LONG)
    with subscribed(post, f"{topic}/out", f"{topic}/own") as reader:
        plant.publish_all(topic, [{"n": n} for n in range(3, 6)], 1)
        until(lambda: len({p for _, p in reader.received if b"5" in p}) == 1, "the last", LONG)
    until(lambda: counters(app)["published"] == (12 if spooled else 6), "all are published", LONG)
    assert app.log.count("keeps no messages: results are published without `retain`") == 1
    assert app.log.count("connected") <= 4


def test_by_mqtt_3_a_dead_letter_of_a_qos_that_the_broker_does_not_take_is_only_kept(
    post_broker: Callable[[str], Broker],
    config: Callable[..., Path],
    workers: Callable[..., Workers],
    plant: Plant,
    topic: str,
    tmp_path: Path,
) -> None:
    post = post_broker("max_qos 0\n")
    app = start(workers, config(post.port, "3.1.1", 0), tmp_path)
    with subscribed(post, f"{topic}/out") as reader:
        plant.publish(topic, b"oops", 1)
        until(lambda: "is only kept locally" in app.log, "it is given up", LONG)
        assert "QoS that it doesn't support" in app.log
        until(lambda: not app.reasons, "ready again", LONG)
        plant.publish_all(topic, [{"n": n} for n in range(100)], 1)
        until(lambda: len(reader.received) == 100, "all results", LONG)


def crashing(kind: str) -> str:
    """Models that have the process die when a packet of something deadly is to be made."""
    return f"""
import os
from pyboot_svc.worker.mqtt.link.paho_client import ControlClient
from pyboot_svc.worker.mqtt.wire.encoder import PublishEncoder

def deadly(make):
    def made(self, *arguments):
        if b"deadly" in repr(arguments).encode():
            os._exit(99)
        return make(self, *arguments)
    return made

PublishEncoder.encode = deadly(PublishEncoder.encode)
ControlClient.publish = deadly(ControlClient.publish)

def same(payload):
    {'raise ValueError("why")' if kind == "dead letter" else "return payload"}
"""


@pytest.mark.parametrize("kind", ["dead letter", "result"])
def test_a_row_that_kills_the_process_is_put_aside(
    kind: str,
    config: Callable[..., Path],
    up: Callable[..., Up],
    plant: Plant,
    topic: str,
    tmp_path: Path,
) -> None:
    port = free_port()
    state = ("--state-dir", str(tmp_path / "state"))
    app = up(config(port, models=crashing(kind)), *state, ready=False)
    app.wait_log("subscribed to")
    for n in range(5):
        plant.publish(topic, {"n": n, "text": "deadly" if n == 2 else ""}, 1)
    figure = "dead_letters_waiting" if kind == "dead letter" else "spooled"
    until(lambda: app.instance("m-1")[figure] == 5, "all wait")
    with StubBroker(port=port) as stub:
        until(lambda: "died 3 times when it was to be sent" in app.log, "put aside", LONG)
        until(lambda: app.instance("m-1").get(figure) == 0, "the others went out", LONG)
        name = f"{topic}/dead" if kind == "dead letter" else f"{topic}/out"
        assert set(numbers(stub, name) if kind == "result" else []) <= {0, 1, 3, 4}
    kept = dead(tmp_path)
    assert len(kept) == (5 if kind == "dead letter" else 1)
    assert any(b"deadly" in payload for _, _, payload, _, _ in kept)
