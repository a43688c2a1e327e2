"""The control plane by itself: what it writes, and how it tells what the broker says."""

from __future__ import annotations

import select
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from support.poll import until
from support.stub import (
    CONNACK,
    CONNECT,
    DISCONNECT,
    PINGREQ,
    PINGRESP,
    SUBSCRIBE,
    UNSUBSCRIBE,
    StubBroker,
)

from pyboot_svc.config import Broker
from pyboot_svc.errors import ConfigError
from pyboot_svc.worker.mqtt.interfaces import BrokerLimits, Session
from pyboot_svc.worker.mqtt.link.lean_paho import client as paho
from pyboot_svc.worker.mqtt.link.opening import Deadline, Resolver
from pyboot_svc.worker.mqtt.link.paho_client import LIFELESS, ControlClient, loss, refusal
from pyboot_svc.worker.mqtt.wire.errors import Broken

SESSION = Session("pyboot-m-1", persistent=True, window=10, max_message=1000)


class Events:
    def __init__(self) -> None:
        self.told: list[Any] = []

    def on_connected(self, session_present: bool, limits: BrokerLimits) -> None:
        self.told.append((session_present, limits))

    def on_subscribed(self, topic_filter: str, code: int, reason: str) -> None:
        self.told.append((topic_filter, code, reason))

    def on_unsubscribed(self) -> None:
        self.told.append("unsubscribed")

    def on_ended(self, reason: str, *, taken_over: bool = False, refused: bool = False) -> None:
        self.told.append((reason, taken_over, refused))


class Talk:
    """A client and its broker, one packet at a time."""

    def __init__(self, broker: StubBroker, session: Session, **about: Any) -> None:
        self.broker = broker
        self.events = Events()
        there = Broker("127.0.0.1", broker.port, **about)
        self.client = ControlClient("pre", there, session, self.events)
        self.sock = self.client.connect(Deadline(), Resolver())
        self.write()

    def write(self) -> None:
        while self.client.wants_write:
            select.select([], [self.sock], [], 20)
            self.client.write()

    def hear(self) -> Any:
        """What one more packet of the broker's has it tell."""
        known = len(self.events.told)
        while len(self.events.told) == known:
            assert select.select([self.sock], [], [], 20)[0], "nothing came"
            self.client.read()
        return self.events.told[known]

    def received(self, kind: int) -> bytes:
        until(lambda: self.broker.of_kind(kind), "it arrives")
        return self.broker.of_kind(kind)[-1].body


@pytest.fixture
def talk() -> Iterator[Callable[..., Talk]]:
    with ExitStack() as stack:

        def start(connack: bytes = CONNACK, session: Session = SESSION, **about: Any) -> Talk:
            talk = Talk(stack.enter_context(StubBroker(connack)), session, **about)
            stack.callback(talk.sock.close)
            return talk

        yield start


def test_connect_of_mqtt_5(talk: Callable[..., Talk]) -> None:
    body = talk(keepalive=30).received(CONNECT)
    assert body.startswith(b"\x00\x04MQTT\x05\x00\x00\x1e")  # no clean start, 30 s
    assert b"\x21\x00\x0a" in body  # Receive Maximum
    assert b"\x11\x00\x09\x3a\x80" in body  # a week of session
    assert b"\x27" in body  # Maximum Packet Size
    assert body.endswith(b"\x00\x0apyboot-m-1")


def test_a_session_that_is_not_kept(talk: Callable[..., Talk]) -> None:
    body = talk(session=SESSION._replace(persistent=False)).received(CONNECT)
    assert body[7] == 0x02  # clean start
    assert b"\x11\x00\x09\x3a\x80" not in body


@pytest.mark.parametrize("persistent", [True, False])
def test_connect_of_mqtt_3(persistent: bool, talk: Callable[..., Talk]) -> None:
    session = SESSION._replace(persistent=persistent)
    body = talk(b"\x20\x02\x00\x00", session, protocol="3.1.1").received(CONNECT)
    assert body.startswith(b"\x00\x04MQTT\x04")
    assert body[7] == (0x00 if persistent else 0x02)


def test_name_and_password(talk: Callable[..., Talk], tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("secret\n")
    body = talk(username="plant", password_file=str(file)).received(CONNECT)
    assert body.endswith(b"\x00\x05plant\x00\x06secret")
    file.write_text("changed\n")
    body = talk(username="plant", password_file=str(file)).received(CONNECT)
    assert body.endswith(b"\x00\x07changed")


def test_a_password_that_is_not_there(talk: Callable[..., Talk], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="password"):
        talk(username="plant", password_file=str(tmp_path / "password"))


def test_the_first_answer_tells_the_limits(talk: Callable[..., Talk]) -> None:
    properties = b"\x11\x00\x01\x51\x80\x13\x00\x04\x21\x00\x07\x24\x00"
    connack = bytes([0x20, 3 + len(properties), 1, 0, len(properties)]) + properties
    line = talk(connack)
    present, limits = line.hear()
    assert present
    assert (limits.in_flight, limits.session_seconds, limits.qos) == (7, 86_400, 0)
    assert line.client.keepalive == 4


@pytest.mark.parametrize("seconds", [0, 60, 300])
def test_a_keepalive_of_the_brokers_that_is_no_shorter_changes_nothing(
    seconds: int, talk: Callable[..., Talk]
) -> None:
    connack = b"\x20\x06\x00\x00\x03\x13" + seconds.to_bytes(2)
    line = talk(connack, keepalive=60)
    line.hear()
    assert line.client.keepalive == 60


@pytest.mark.parametrize(
    ("connack", "reason", "lasting"),
    [
        (
            b"\x20\x03\x00\x87\x00",
            "the broker refused: Not authorized (client id pyboot-m-1)",
            True,
        ),
        (b"\x20\x03\x00\x89\x00", "the broker refused: Server busy (client id pyboot-m-1)", False),
        (
            b"\x20\x08\x00\x87\x05\x1f\x00\x02no",
            "the broker refused: Not authorized (no; client id pyboot-m-1)",
            True,
        ),
        (
            b"\x20\x03\x00\x84\x00",
            "the broker refused: Unsupported protocol version (client id pyboot-m-1); "
            "set `protocol: 3.1.1`",
            True,
        ),
        (
            b"\x20\x02\x00\x01",
            "the broker refused: Unsupported protocol version (client id pyboot-m-1); "
            "set `protocol: 3.1.1`",
            True,
        ),
        *(
            (
                connack_of_3,
                "the broker's answer to CONNECT is not MQTT 5; set `protocol: 3.1.1`",
                True,
            )
            for connack_of_3 in (b"\x20\x02\x00\x00", b"\x20\x02\x01\x00", b"\x20\x02\x00\x05")
        ),
    ],
)
def test_a_refusal_in_words(
    connack: bytes, reason: str, lasting: bool, talk: Callable[..., Talk]
) -> None:
    assert talk(connack).hear() == (reason, False, lasting)


@pytest.mark.parametrize(
    ("packet", "reason", "taken_over"),
    [
        (b"\xe0\x00", "the broker ended the session: Normal disconnection", False),
        (b"\xe0\x01\x8b", "the broker ended the session: Server shutting down", False),
        (b"\xe0\x01\xff", "the broker ended the session: reason code 255", False),
        (
            b"\xe0\x0a\x98\x08\x1f\x00\x05rules",
            "the broker ended the session: Administrative action (rules)",
            False,
        ),
        (
            b"\xe0\x01\x8e",
            "another client took over the session pyboot-m-1: is it running twice?",
            True,
        ),
    ],
)
def test_why_the_broker_ends_it(
    packet: bytes, reason: str, taken_over: bool, talk: Callable[..., Talk]
) -> None:
    line = talk()
    line.hear()
    line.broker.send(packet, 1)
    assert line.hear() == (reason, taken_over, False)


@pytest.mark.parametrize(
    ("packet", "trouble"),
    [
        (CONNACK, "a second CONNACK packet"),
        (b"\x90\xff\xff\xff\x7f", "a packet of 268435455 bytes that is no message"),
    ],
    ids=["another CONNACK", "a huge SUBACK"],
)
def test_what_breaks_the_protocol_ends_the_connection(
    packet: bytes, trouble: str, talk: Callable[..., Talk]
) -> None:
    line = talk()
    line.hear()
    line.broker.send(packet, 1)
    with pytest.raises(Broken) as caught:
        line.hear()
    assert str(caught.value.__cause__) == trouble


def test_subscriptions(talk: Callable[..., Talk]) -> None:
    line = talk()
    line.hear()
    line.client.subscribe("in/+", 1)
    line.write()
    assert line.hear() == ("in/+", 1, "Granted QoS 1")
    # Retain Handling 1: retained messages come with a new subscription only.
    assert line.received(SUBSCRIBE).endswith(b"\x00\x04in/+\x11")
    line.client.unsubscribe("in/+")
    line.write()
    assert line.received(UNSUBSCRIBE).endswith(b"\x00\x04in/+")


@pytest.mark.parametrize("end", [True, False])
def test_the_goodbye(end: bool, talk: Callable[..., Talk]) -> None:
    line = talk()
    line.hear()
    line.client.disconnect(end_session=end)
    line.write()
    assert line.received(DISCONNECT) == (b"\x00\x05\x11\x00\x00\x00\x00" if end else b"")


def test_refusals_have_words() -> None:
    assert refusal(0x97).text == "Quota exceeded"
    assert refusal(0x97).code == 0x97
    assert refusal(0xEE).text == "reason code 238"


def test_a_refusal_has_the_brokers_own_words_as_well() -> None:
    def told(words: bytes) -> str:
        reason_string = b"\x1f" + len(words).to_bytes(2) + words
        return refusal(0x87, bytes((len(reason_string),)) + reason_string).text

    assert told(b"no rights on that one") == "Not authorized (no rights on that one)"
    assert told(b"a\x1b[2J\nb") == "Not authorized (a\\x1b[2J\\nb)"
    assert refusal(0x87, b"\x09\x1f\x00").text == "Not authorized", "it is cut off"
    long = refusal(0x87, b"\xeb\x07\x1f\x03\xe8" + b"x" * 1000)
    assert len(long.text) < 250


def test_losses_have_words() -> None:
    assert loss(up=True) == "connection lost"
    assert loss(up=False).startswith("closed before it answered CONNECT")


class Silence:
    """A client whose broker answers no ping, and whose time passes when the test says so."""

    def __init__(self, talk: Talk, monkeypatch: pytest.MonkeyPatch) -> None:
        self.talk = talk
        self._now = time.monotonic()
        monkeypatch.setattr(paho, "time_func", lambda: self._now)

    def passes(self, seconds: int, *, excused: bool = False) -> int:
        """How many seconds pass until the connection ends, so many at most."""
        known = len(self.talk.events.told)
        for second in range(1, seconds + 1):
            self._now += 1
            if excused:
                self.talk.client.excuse()
            self.talk.client.keep_alive()
            if len(self.talk.events.told) > known:
                return second
            self.talk.write()
        return seconds


@pytest.fixture
def silence(monkeypatch: pytest.MonkeyPatch) -> Iterator[Silence]:
    with StubBroker(pingreq=lambda packet: None) as stub:
        talk = Talk(stub, SESSION, keepalive=10)
        talk.hear()
        yield Silence(talk, monkeypatch)
        talk.sock.close()


def test_no_answer_to_a_ping_ends_the_connection_in_two_intervals(silence: Silence) -> None:
    assert silence.passes(100) == 20
    assert silence.talk.events.told[-1] == (LIFELESS, False, False)


def test_an_excused_ping_is_followed_by_others_and_by_the_same_end(silence: Silence) -> None:
    assert silence.passes(100, excused=True) == 100
    until(lambda: len(silence.talk.broker.of_kind(PINGREQ)) == 10, "a ping an interval")
    assert 10 <= silence.passes(100) <= 20
    assert silence.talk.events.told[-1] == (LIFELESS, False, False)


def test_a_ping_waits_for_its_answer(silence: Silence) -> None:
    talk, broker = silence.talk, silence.talk.broker
    assert not talk.client.pinged
    silence.passes(10)
    assert talk.client.pinged
    talk.client.excuse()
    assert talk.client.pinged, "it has none, though nobody insists on it"
    broker.send(PINGRESP, broker.connections)
    assert select.select([talk.sock], [], [], 20)[0], "nothing came"
    talk.client.read()
    assert not talk.client.pinged
