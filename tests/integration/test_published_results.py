"""Models that publish by themselves, and ask what came with a message."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from support.broker import Broker
from support.poll import until
from support.workers import Workers

from pyboot_svc.worker.properties import PublishProperties, decode_properties

MODELS = """
def three(payload, context):
    n, base = payload["n"], context.options["base"]
    context.publish({"n": n, "of": 1}, f"{base}/one", retain=True, qos=0)
    context.publish({"n": n, "of": 2}, f"{base}/two", properties={"unit": "C"}, expiry=60)
    if payload.get("bad"):
        raise ValueError("not this one")
    return {"n": n, "of": 3}

def alone(payload, context):
    context.publish(payload)
    context.publish(payload)

def all_of_them(payloads, context):
    context.publish({"count": len(payloads)}, f"{context.options['base']}/count")
    return payloads

async def meanwhile(payload, context):
    context.publish({"n": payload["n"], "of": 1})
    return {"n": payload["n"], "of": 2}

def about(payload, context):
    found = context.message
    return {
        "topic": found.topic, "qos": found.qos, "retain": found.retain, "arrived": found.arrived,
        "type": found.content_type, "response": found.response_topic, "expiry": found.expiry,
        "correlation": (found.correlation_data or b"").decode(), "user": found.user_properties,
    }

def add(payload):
    return payload["a"] + payload["b"]

def later(payload, context):
    import threading, time
    def publish():
        time.sleep(0.5)
        try:
            context.publish("too late")
        except RuntimeError as error:
            print("refused:", error)
    threading.Thread(target=publish).start()

def wrong(payload, context):
    kinds = {
        "wildcard": dict(topic="a/+"), "empty": dict(topic=""), "system": dict(topic="$SYS/x"),
        "qos": dict(qos=2), "expiry": dict(expiry=-1), "property": dict(properties={"a": 1}),
        "id": dict(properties={"pyboot-id": "x"}), "truth": dict(expiry=True),
        "control": dict(topic="a/\\x01"), "no-character": dict(topic="a/\\ufffe"),
        "line": dict(properties={"a": "b\\nc"}), "pairs": dict(properties=[("a", "b")]),
        "text": dict(retain="no"), "fraction": dict(qos=1.0), "qos-truth": dict(qos=True),
    }
    context.publish({"n": 1}, **kinds[payload])
"""
MESSAGES = 300
# A broker takes off what it has had a message for: a second, as soon as a clock steps to the next.
LEFT_OF_60 = range(30, 61)


class Listener:
    """All that comes below a topic, whole."""

    def __init__(self, port: int, topic: str) -> None:
        self.heard: list[paho.MQTTMessage] = []
        self._client = paho.Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
        self._client.on_message = lambda _client, _data, message: self.heard.append(message)
        ready: list[bool] = []
        self._client.on_subscribe = lambda *_: ready.append(True)
        self._client.connect("127.0.0.1", port)
        self._client.subscribe(f"{topic}/#", 2)
        self._client.loop_start()
        until(lambda: ready, "it is subscribed")

    def publish(self, topic: str, payload: Any, retain: bool = False, **properties: Any) -> None:
        about = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        for name, value in properties.items():
            setattr(about, name, value)
        sent = self._client.publish(topic, json.dumps(payload), 1, retain, about)
        sent.wait_for_publish(20)

    def on(self, topic: str) -> list[paho.MQTTMessage]:
        return [message for message in list(self.heard) if message.topic == topic]

    def values(self, topic: str) -> list[Any]:
        return [json.loads(message.payload) for message in self.on(topic)]

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


def shows(listener: Listener, topic: str, values: list[Any]) -> bool:
    return listener.values(topic) == values


def properties_of(message: paho.MQTTMessage) -> PublishProperties:
    assert message.properties is not None
    packed: bytes = message.properties.pack()  # type: ignore[no-untyped-call]
    return decode_properties(packed[1 if packed[0] < 0x80 else 2 :])


@pytest.fixture
def listener(broker: Broker, topic: str) -> Iterator[Listener]:
    made = Listener(broker.port, topic)
    yield made
    made.close()


@pytest.fixture
def run(
    write_config: Callable[..., Path], workers: Callable[..., Workers], topic: str
) -> Callable[..., Workers]:
    def start(model: str, more: str = "", post: str = "", ready: bool = True) -> Workers:
        edge = (
            f"{{name: edge, edge_mode: my_models.{model}, pre_topic: {topic}/in, "
            f"post_topic: '{post or topic + '/out'}', pre_qos: 1, options: {{base: {topic}}}, "
            f"{more or 'post_qos: 1'}}}"
        )
        return workers(write_config(edge, models=MODELS), ready=ready)

    return start


@pytest.mark.parametrize("more", ["post_qos: 1", "post_qos: 0", "post_qos: 2", "threads: 3"])
def test_several_results_in_order_each_on_its_topic(
    run: Callable[..., Workers], listener: Listener, topic: str, more: str
) -> None:
    started = run("three", more)
    for number in range(MESSAGES):
        listener.publish(f"{topic}/in", {"n": number})
    until(lambda: len(listener.on(f"{topic}/out")) == MESSAGES, "all results", 60.0)
    numbers = list(range(MESSAGES))
    for name, part in (("one", 1), ("two", 2), ("out", 3)):
        assert listener.values(f"{topic}/{name}") == [{"n": n, "of": part} for n in numbers]
    # Of one QoS, a broker keeps their order over all topics.
    others = [m.topic for m in listener.heard if m.topic in (f"{topic}/two", f"{topic}/out")]
    assert others == [f"{topic}/two", f"{topic}/out"] * MESSAGES
    two = properties_of(listener.on(f"{topic}/two")[0])
    assert two.expiry in LEFT_OF_60
    assert dict(two.user)["unit"] == "C"
    found = [m for m in listener.heard if m.topic != f"{topic}/in"]
    assert (
        len({dict(properties_of(message).user)["pyboot-id"] for message in found}) == 3 * MESSAGES
    )
    until(lambda: started.instance("edge-1")["unacknowledged"] == 0, "all acknowledged")
    figures = started.instance("edge-1")
    assert (figures["errors"], figures["counters"]["published"]) == ({}, 3 * MESSAGES)


def test_one_is_kept_by_the_broker(
    run: Callable[..., Workers], listener: Listener, broker: Broker, topic: str
) -> None:
    run("three")
    listener.publish(f"{topic}/in", {"n": 1})
    until(lambda: listener.on(f"{topic}/out"), "its results")
    late = Listener(broker.port, topic)
    try:
        until(lambda: late.on(f"{topic}/one"), "the one that is retained")
        assert late.on(f"{topic}/one")[0].retain
        assert not late.on(f"{topic}/two")
    finally:
        late.close()
        listener.publish(f"{topic}/one", None, retain=True)


def test_a_call_that_raises_publishes_nothing(
    run: Callable[..., Workers], listener: Listener, topic: str
) -> None:
    started = run("three")
    listener.publish(f"{topic}/in", {"n": 1, "bad": True})
    listener.publish(f"{topic}/in", {"n": 2})
    until(lambda: listener.on(f"{topic}/out"), "the good one's results")
    assert listener.values(f"{topic}/one") == [{"n": 2, "of": 1}]
    assert started.instance("edge-1")["errors"] == {"model": 1}


@pytest.mark.parametrize(
    ("model", "more", "wanted"),
    [
        ("alone", "post_qos: 1", {"out": [{"n": 7}, {"n": 7}]}),
        ("meanwhile", "concurrency: 8", {"out": [{"n": 7, "of": 1}, {"n": 7, "of": 2}]}),
        ("all_of_them", "batch: {}", {"count": [{"count": 1}], "out": [{"n": 7}]}),
    ],
)
def test_whatever_the_model_is(
    run: Callable[..., Workers],
    listener: Listener,
    topic: str,
    model: str,
    more: str,
    wanted: dict[str, list[Any]],
) -> None:
    run(model, more)
    listener.publish(f"{topic}/in", {"n": 7})
    for name, values in wanted.items():
        until(partial(shows, listener, f"{topic}/{name}", values), f"what is on {name}")


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("wildcard", "'a/+' is no topic to publish to"),
        ("empty", "'' is no topic to publish to"),
        ("system", "'$SYS/x' is no topic to publish to"),
        ("qos", "qos must be 0 to 1, not 2; 2 needs `post_qos: 2`"),
        ("expiry", "expiry must be a whole number of seconds above 0, not -1"),
        ("property", "properties are texts, not int"),
        ("id", "the property pyboot-id is pyboot's own"),
        ("truth", "expiry must be a whole number of seconds above 0, not True"),
        ("control", "the topic 'a/\\x01' has '\\x01' in it, which MQTT doesn't allow"),
        ("no-character", "has '\\ufffe' in it, which MQTT doesn't allow"),
        ("line", "has '\\n' in it, which MQTT doesn't allow"),
        ("pairs", "properties are a dict of texts, not list"),
        ("text", "retain must be True or False, not 'no'"),
        ("fraction", "qos must be 0 to 1, not 1.0"),
        ("qos-truth", "qos must be 0 to 1, not True"),
    ],
)
def test_what_can_not_be_published_is_an_error_in_the_model(
    run: Callable[..., Workers], listener: Listener, topic: str, kind: str, said: str
) -> None:
    started = run("wrong")
    listener.publish(f"{topic}/in", kind)
    until(lambda: started.instance("edge-1")["errors"], "a dead letter")
    started.wait_log(said)
    assert not listener.on(f"{topic}/out")


def test_a_thread_that_outlives_its_call_publishes_nothing(
    run: Callable[..., Workers], listener: Listener, topic: str
) -> None:
    started = run("later")
    listener.publish(f"{topic}/in", 1)
    started.wait_log("refused: context.publish works during a call only")
    listener.publish(f"{topic}/in", 2)
    until(lambda: started.instance("edge-1")["counters"]["processed"] == 2, "the next call")
    assert not listener.on(f"{topic}/out")


def test_results_that_waited_on_disk_are_as_they_were_published(
    run: Callable[..., Workers], listener: Listener, tmp_path: Path, topic: str
) -> None:
    other = Broker(tmp_path / "other").start()
    port = other.port
    other.stop()
    started = run("three", f"post_qos: 1, post_port: {port}", ready=False)
    started.wait_log("subscribed to")
    for number in range(3):
        listener.publish(f"{topic}/in", {"n": number})
    until(lambda: started.instance("edge-1")["spooled"] == 9, "they are on disk")
    other.start()
    sink = Listener(port, topic)
    try:
        # What is retained comes in any case, the rest may have gone before anybody listened.
        until(lambda: sink.on(f"{topic}/one"), "the retained one", 40.0)
        until(lambda: started.instance("edge-1")["spooled"] == 0, "all are published", 40.0)
        listener.publish(f"{topic}/in", {"n": 3})
        until(lambda: {"n": 3, "of": 3} in sink.values(f"{topic}/out"), "the next one")
        [message] = [m for m in sink.on(f"{topic}/two") if b'"n":3' in m.payload.replace(b" ", b"")]
        about = properties_of(message)
        assert about.expiry in LEFT_OF_60
        assert dict(about.user)["unit"] == "C"
    finally:
        sink.close()
        other.stop()


def test_what_came_with_a_message(
    run: Callable[..., Workers], listener: Listener, topic: str
) -> None:
    run("about")
    listener.publish(
        f"{topic}/in",
        1,
        ContentType="application/json",
        ResponseTopic="answers/here",
        CorrelationData=b"seven",
        MessageExpiryInterval=60,
        UserProperty=[("a", "1"), ("a", "2")],
    )
    listener.publish(f"{topic}/in", 2)
    until(lambda: len(listener.on(f"{topic}/out")) == 2, "both results")
    first, second = listener.values(f"{topic}/out")
    assert first.pop("arrived") <= second.pop("arrived")
    assert first.pop("expiry") in LEFT_OF_60
    assert first == {
        "topic": f"{topic}/in",
        "qos": 1,
        "retain": False,
        "type": "application/json",
        "response": "answers/here",
        "correlation": "seven",
        "user": [["a", "1"], ["a", "2"]],
    }
    assert (second["type"], second["response"], second["user"]) == (None, None, [])


def test_a_retained_message_is_told_as_such(
    run: Callable[..., Workers], listener: Listener, topic: str
) -> None:
    listener.publish(f"{topic}/in", 1, retain=True)
    try:
        run("about")
        until(lambda: listener.on(f"{topic}/out"), "its result")
        assert listener.values(f"{topic}/out")[0]["retain"]
    finally:
        listener.publish(f"{topic}/in", None, retain=True)


def test_a_request_is_answered_where_it_asks_for_it(
    run: Callable[..., Workers], listener: Listener, topic: str
) -> None:
    started = run("add", post="{response}")
    for number in range(3):
        listener.publish(
            f"{topic}/in",
            {"a": number, "b": 1},
            ResponseTopic=f"{topic}/answers/{number % 2}",
            CorrelationData=b"%d" % number,
        )
    listener.publish(f"{topic}/in", {"a": 1, "b": 2})
    listener.publish(f"{topic}/in", {"a": 1, "b": 2}, ResponseTopic="$SYS/mine")
    until(lambda: len(listener.on(f"{topic}/answers/0")) == 2, "the answers")
    until(lambda: listener.on(f"{topic}/answers/1"), "the other answer")
    assert listener.values(f"{topic}/answers/0") == [1, 3]
    answers = listener.on(f"{topic}/answers/0")
    assert [properties_of(message).correlation for message in answers] == [b"0", b"2"]
    until(lambda: started.instance("edge-1")["errors"] == {"not_encodable": 2}, "dead letters")
    started.wait_log("the message has no response topic (MQTT 5)")
    started.wait_log("the message's response topic can't be used")
