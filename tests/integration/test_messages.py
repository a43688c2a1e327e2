"""Messages and models of every kind, good and bad: one's failure is never another's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support.client import Plant
from support.poll import until
from support.workers import Workers

from pyboot_svc.metrics.snapshot import Counters

MODELS = '''
import sys

def same(payload):
    return payload

def length(payload):
    return len(payload)

def moody(payload):
    """Returns or raises what the payload names."""
    if payload == "value":
        raise ValueError("no such reading")
    if payload == "exit":
        sys.exit(3)
    if payload == "interrupt":
        raise KeyboardInterrupt
    if payload == "recursion":
        return moody(payload)
    if payload == "unspeakable":
        raise Unspeakable
    return payload

class Unspeakable(Exception):
    def __str__(self):
        raise RuntimeError("an error that can't even be shown")

class Cycle(dict):
    def __init__(self):
        self["self"] = self

def nested(depth):
    value = []
    for _ in range(depth):
        value = [value]
    return value

RESULTS = {
    "object": object(),
    "set": {1, object()},
    "complex": 1j,
    "function": [len],
    "bytes": b"abc",
    "key": {(1, 2): 3},
    "cycle": Cycle(),
    "surrogate": "\\ud800",
    "nested": nested(100_000),
}

def unusual(payload):
    return RESULTS.get(payload, payload)

def even_only(payload):
    return payload if payload % 2 == 0 else None

def handler(event, context):
    return {
        "topic": context.topic,
        "event": event,
        "instance": context.instance,
        "options": dict(context.options),
    }

def backwards(payload):
    return payload[::-1]

def describe(payload):
    return {"type": type(payload).__name__, "size": len(payload)}
'''


@pytest.fixture
def run(
    write_config: Callable[..., Path], workers: Callable[..., Workers], plant: Plant, topic: str
) -> Callable[..., Workers]:
    """Runs the edge `edge-1` with one of the models; the plant listens to its results."""

    def start(model: str, more: str = "", pre_topic: str = "in") -> Workers:
        edge = (
            f"{{name: edge, edge_mode: my_models.{model}, "
            f"pre_topic: {topic}/{pre_topic}, post_topic: {topic}/out{more}}}"
        )
        app = workers(write_config(edge, models=MODELS))
        plant.subscribe(f"{topic}/out")
        return app

    return start


def wait_errors(app: Workers, expected: dict[str, int]) -> None:
    until(lambda: app.instance("edge-1")["errors"] == expected, f"errors are {expected}")


def wait_counters(app: Workers, **expected: int) -> None:
    named = ("received", "processed", "published", "nothing_to_publish")
    others = {name: 0 for name in Counters._fields if name not in named}
    expected = {**others, **expected}
    until(lambda: app.instance("edge-1")["counters"] == expected, f"counters are {expected}")


@dataclass(frozen=True)
class Bad:
    """A payload that is no message, the kind it counts as, and how the log shows it."""

    kind: str
    payload: bytes
    begins: str


BAD = [
    Bad("not_json", b"temperature: 21", "b'temperature: 21'"),
    Bad("not_json", b"[1, 2", "b'[1, 2'"),
    Bad("not_json", b"nano", "b'nano'"),
    Bad("not_json", b'{"celsius": nan!}', """b'{"celsius": nan!}'"""),
    Bad("not_utf8", b'"caf\xe9"', """b'"caf\\xe9"'"""),
    Bad("not_utf8", b"\x00\xff" * 100, "b'" + "\\x00\\xff" * 32 + "'"),
    Bad("empty", b"", "b''"),
    Bad("too_deep", b"[" * 100_000 + b"]" * 100_000, "b'" + "[" * 64 + "'"),
]


def test_payloads_that_are_no_messages_are_counted_logged_and_passed_over(
    run: Callable[..., Workers], plant: Plant, topic: str
) -> None:
    app = run("same")
    for number, bad in enumerate(BAD):
        plant.publish(f"{topic}/in", bad.payload)
        plant.publish(f"{topic}/in", number)
    assert plant.wait_for(len(BAD)) == list(range(len(BAD)))
    wait_errors(app, {"not_json": 4, "not_utf8": 2, "empty": 1, "too_deep": 1})
    for bad in BAD:
        size = len(bad.payload)
        line = f"({bad.kind}): topic {topic}/in, {size} bytes, begins {bad.begins}: "
        app.wait_log(line)
    wait_counters(
        app,
        received=2 * len(BAD),
        processed=2 * len(BAD),
        published=len(BAD),
        nothing_to_publish=0,
        dropped=0,
    )


def test_a_message_of_10_megabytes(run: Callable[..., Workers], plant: Plant, topic: str) -> None:
    app = run("length", ", max_message: 10M")
    plant.publish(f"{topic}/in", b'"' + b"x" * 10_000_000 + b'"')
    assert plant.wait_for(1) == [10_000_000]
    assert app.instance("edge-1")["errors"] == {}


@pytest.mark.parametrize(
    ("payload", "said"),
    [
        ("value", "the model raised ValueError: no such reading"),
        ("exit", "the model raised SystemExit: 3"),
        ("interrupt", "the model raised KeyboardInterrupt"),
        ("recursion", "the model raised RecursionError: maximum recursion depth exceeded"),
        ("unspeakable", "the model raised Unspeakable"),
    ],
)
def test_a_model_that_raises_loses_that_message_alone(
    payload: str, said: str, run: Callable[..., Workers], plant: Plant, topic: str
) -> None:
    app = run("moody", ", pre_qos: 1")
    pid = app.instance("edge-1")["pid"]
    plant.publish(f"{topic}/in", payload, qos=1)
    plant.publish(f"{topic}/in", "calm", qos=1)
    assert plant.wait_for(1) == ["calm"]
    wait_errors(app, {"model": 1})
    size = len(payload) + 2
    begins = f"topic {topic}/in, {size} bytes, begins b'\"{payload}\"': {said}"
    app.wait_log(f"message failed (model): {begins}")
    app.wait_log("my_models.py")  # where in the model it happened
    until(lambda: app.instance("edge-1")["unacknowledged"] == 0, "both are acknowledged")
    assert app.instance("edge-1")["pid"] == pid


def test_results_that_cant_be_encoded_are_counted_and_logged(
    run: Callable[..., Workers], plant: Plant, topic: str
) -> None:
    app = run("unusual")
    kinds = ["object", "set", "complex", "function", "bytes", "key", "cycle", "surrogate", "nested"]
    for kind in kinds:
        plant.publish(f"{topic}/in", kind)
        plant.publish(f"{topic}/in", f"after {kind}")
    assert plant.wait_for(len(kinds)) == [f"after {kind}" for kind in kinds]
    wait_errors(app, {"not_encodable": len(kinds)})
    app.wait_log("(not_encodable)")
    lines = [line for line in app.log.splitlines() if "(not_encodable)" in line]
    assert f"topic {topic}/in, 8 bytes, begins b'\"object\"': the result can't be" in lines[0]


def test_a_flood_of_failures_is_counted_in_full_and_logged_in_part(
    run: Callable[..., Workers], plant: Plant, topic: str
) -> None:
    app = run("moody")
    plant.publish_all(f"{topic}/in", ["value"] * 500)
    plant.publish(f"{topic}/in", "calm")
    plant.wait_for(1)
    wait_errors(app, {"model": 500})
    app.wait_log("message failed")
    assert 1 <= app.log.count("message failed") <= 20


def test_none_publishes_nothing(run: Callable[..., Workers], plant: Plant, topic: str) -> None:
    app = run("even_only", ", pre_qos: 1")
    plant.publish_all(f"{topic}/in", list(range(10)), qos=1)
    assert plant.wait_for(5) == [0, 2, 4, 6, 8]
    wait_counters(app, received=10, processed=10, published=5, nothing_to_publish=5, dropped=0)
    until(lambda: app.instance("edge-1")["unacknowledged"] == 0, "all are acknowledged")
    assert app.instance("edge-1")["errors"] == {}
    assert len(plant.received) == 5


def test_raw_bytes_go_in_and_out_as_they_are(
    run: Callable[..., Workers], plant: Plant, topic: str
) -> None:
    run("backwards", ", codec: raw")
    for payload in (b"\x00\x01\xfe\xff", b"[1, 2", b""):
        plant.publish(f"{topic}/in", payload)
    until(lambda: len(plant.received) == 3, "three results")
    assert [data for _, data in plant.received] == [b"\xff\xfe\x01\x00", b"2 ,1[", b""]


def test_raw_results_that_are_no_bytes_become_json(
    run: Callable[..., Workers], plant: Plant, topic: str
) -> None:
    run("describe", ", codec: raw")
    plant.publish(f"{topic}/in", b"\xff" * 7)
    assert plant.wait_for(1) == [{"type": "bytes", "size": 7}]


def test_a_handler_sees_the_topic_of_its_message_and_its_options(
    run: Callable[..., Workers], plant: Plant, topic: str
) -> None:
    options: dict[str, Any] = {"limit": 4.5, "names": ["a", "b"]}
    run("handler", f", options: {options}", pre_topic="+/in")
    for sensor in ("m1", "m2"):
        plant.publish(f"{topic}/{sensor}/in", {"celsius": 20})
    assert plant.wait_for(2) == [
        {
            "topic": f"{topic}/{sensor}/in",
            "event": {"celsius": 20},
            "instance": "edge-1",
            "options": options,
        }
        for sensor in ("m1", "m2")
    ]
