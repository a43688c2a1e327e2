"""Why a broker ends a session or refuses one is said as it says it, on every version of paho.

paho 2.1 drops the reason of a DISCONNECT that has no properties: a takeover went unrecognised, and
two clients of one id threw each other out for ever.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.poll import until
from support.stub import CONNECT, SUBSCRIBE, Answer, Packet, StubBroker, suback
from support.workers import Workers

MODELS = """
def same(payload):
    return payload
"""
TWICE = "twice"


def reason_string(text: bytes) -> bytes:
    """A packet's properties, with their length."""
    properties = b"\x1f" + len(text).to_bytes(2, "big") + text
    return bytes([len(properties)]) + properties


def packet(first: int, body: bytes) -> bytes:
    return bytes([first, len(body)]) + body


ENDS = {
    "e0 00": "the broker ended the session: Normal disconnection",
    "e0 01 8b": "the broker ended the session: Server shutting down",
    "e0 02 8b 00": "the broker ended the session: Server shutting down",
    "e0 01 93": "the broker ended the session: Receive maximum exceeded",
    "e0 01 77": "the broker ended the session: reason code 119",
    packet(0xE0, b"\x98" + reason_string(b"upgrade until noon")).hex(" "): (
        "the broker ended the session: Administrative action (upgrade until noon)"
    ),
    packet(0xE0, b"\x98" + reason_string(b"a\x1b[2J\nb")).hex(" "): (
        "the broker ended the session: Administrative action (a\\x1b[2J\\nb)"
    ),
    # Another server, which it names.
    "e0 08 9d 06 1c 00 03 62 3a 31": "the broker ended the session: Server moved (b:1)",
    # Properties that end before they should take nothing from the reason.
    "e0 04 8b 7f 1f 00": "the broker ended the session: Server shutting down",
}


@pytest.fixture
def start(
    write_config: Callable[..., Path], workers: Callable[..., Workers]
) -> Callable[..., Workers]:
    """Runs a worker with the stub for its pre broker, or for another role."""

    def begin(port: int, role: str = "pre") -> Workers:
        edge = (
            f"{{name: m, edge_mode: my_models.same, {role}_port: {port}, pre_topic: t/in, "
            f"post_topic: t/out}}"
        )
        return workers(write_config(edge, models=MODELS), ready=False)

    return begin


def link(app: Workers, role: str) -> dict[str, Any]:
    found: dict[str, Any] = app.instance("m-1").get("brokers", {}).get(role, {})
    return found


@pytest.mark.parametrize("data", ENDS)
def test_the_reason_of_an_end_is_said_and_stands_alone(
    data: str, start: Callable[..., Workers]
) -> None:
    def end(packet: Packet) -> Answer:
        return Answer(suback(packet.mid) + bytes.fromhex(data), hang_up=True)

    with StubBroker(subscribe=end) as stub:
        app = start(stub.port)
        until(lambda: len(stub.of_kind(CONNECT)) >= 4, "it is tried again, three times", 60)
        until(lambda: link(app, "pre").get("reason") == ENDS[data], ENDS[data])
        app.wait_log(f": {ENDS[data]}; retrying")
        assert TWICE not in app.log


@pytest.mark.parametrize("role", ["pre", "post"])
@pytest.mark.parametrize("data", ["e0 01 8e", "e0 02 8e 00", "e0 07 8e 05 1f 00 02 6d 65"])
def test_a_takeover_is_recognised(data: str, role: str, start: Callable[..., Workers]) -> None:
    def take_over(packet: Packet) -> Answer:
        return Answer(bytes.fromhex("20 03 00 00 00") + bytes.fromhex(data), hang_up=True)

    client_id = "pyboot-m-1" if role == "pre" else "pyboot-m-1-post"
    words = f"another client took over the session {client_id}"
    words += (" (me)" if "1f" in data else "") + ": is it running twice?"
    with StubBroker(connect=take_over) as stub:
        app = start(stub.port, role)
        until(lambda: link(app, role).get("reason") == words, words)


def test_an_end_without_a_reason_asks_whether_it_runs_twice(start: Callable[..., Workers]) -> None:
    with StubBroker(subscribe=lambda packet: Answer(suback(packet.mid), hang_up=True)) as stub:
        start(stub.port).wait_log("does another client use the id pyboot-m-1, is it running twice?")


def test_a_refused_connection_is_told_in_the_brokers_words(start: Callable[..., Workers]) -> None:
    refusal = packet(0x20, b"\x00\x87" + reason_string(b"licence for 10 clients\n"))
    with StubBroker(refusal) as stub:
        start(stub.port).wait_log(
            "the broker refused: Not authorized (licence for 10 clients\\n; client id pyboot-m-1); "
            "retrying"
        )


def test_a_refused_subscription_is_told_in_the_brokers_words(start: Callable[..., Workers]) -> None:
    def refuse(told: Packet) -> bytes:
        return packet(0x90, told.body[:2] + reason_string(b"no rights on t") + b"\x87")

    with StubBroker(subscribe=refuse) as stub:
        start(stub.port).wait_log("Not authorized (no rights on t)")
        assert stub.of_kind(SUBSCRIBE)
