"""A connection against a broker that does what it is told: its life over all attempts."""

from __future__ import annotations

import os
import re
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest
from support.broker import free_port
from support.owner import Owner
from support.poll import until
from support.stub import CONNACK, DISCONNECT, SUBSCRIBE, Answer, StubBroker, publish

from pyboot_svc.config import Broker
from pyboot_svc.worker.mqtt.interfaces import Link, Session
from pyboot_svc.worker.mqtt.link.connection import Connection
from pyboot_svc.worker.mqtt.link.life import Terms, TransportOptions

Connect = Callable[..., tuple[Connection, Owner]]


@pytest.fixture
def crashes() -> list[str]:
    return []


@pytest.fixture(params=["bulk", "plain"])
def connect(request: pytest.FixtureRequest, crashes: list[str]) -> Iterator[Connect]:
    made: list[Connection] = []

    def start(
        port: int, owner: Owner | None = None, protocol: str = "5"
    ) -> tuple[Connection, Owner]:
        owner = owner or Owner()
        options = TransportOptions(request.param == "bulk", 0)
        session = Session("pyboot-m-1", persistent=True, window=10)
        terms = Terms("pre", Broker("127.0.0.1", port, protocol=protocol), session, options)
        made.append(Connection(terms, owner))
        made[-1].start(lambda: crashes.append("crash"))
        return made[-1], owner

    yield start
    for connection in made:
        connection.stop(20)


def open_sockets() -> set[str]:
    """Of this process, by their numbers in the kernel."""
    found = set()
    for descriptor in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):  # it was closed meanwhile
            found.add(os.readlink(f"/proc/self/fd/{descriptor}"))
    return {name for name in found if name.startswith("socket:")}


def test_it_is_up_when_the_broker_says_so_and_says_goodbye(connect: Connect) -> None:
    with StubBroker() as broker:
        connection, owner = connect(broker.port)
        until(lambda: owner.told, "connected")
        assert owner.told == [("connected", False)]
        assert connection.status.state == "connected"
        assert connection.status.connects == 1
        assert connection.overdue < 0
        connection.stop(20)
        until(lambda: broker.of_kind(DISCONNECT), "its goodbye")
        assert owner.told == [("connected", False), ("lost", 0)]
        assert broker.connections == 1


def test_what_it_has_not_read_is_no_reason_to_cut_its_goodbye_off(connect: Connect) -> None:
    """A socket that is closed with something unread is reset: what was just sent may be lost."""
    with StubBroker() as broker:
        connection, owner = connect(broker.port)
        until(lambda: owner.told, "connected")
        owner.full = True
        until(lambda: owner.turns, "it has noticed")
        broker.send(publish("in/a", bytes(1000), 1, 1) * 1000, 1)
        connection.stop(20)
        until(lambda: broker.endings, "the end of the connection")
        assert broker.endings == ["closed"]
        assert broker.of_kind(DISCONNECT)


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
@pytest.mark.parametrize("end", [True, False])
def test_a_session_is_ended_by_the_goodbye(end: bool, protocol: str, connect: Connect) -> None:
    with StubBroker(CONNACK if protocol == "5" else b"\x20\x02\x00\x00") as broker:
        connection, owner = connect(broker.port, protocol=protocol)
        until(lambda: owner.told, "connected")
        connection.stop(20, end_session=end)
        until(lambda: broker.of_kind(DISCONNECT), "its goodbye")
        [packet] = broker.of_kind(DISCONNECT)
        expiry = b"\x05\x11" + struct.pack(">I", 0)
        assert (expiry in packet.body) == (end and protocol == "5")


def test_what_the_broker_allows_is_told(connect: Connect) -> None:
    """Receive Maximum 7, Maximum QoS 1, Maximum Packet Size 1000, no shared subscriptions."""
    properties = b"\x21\x00\x07\x24\x01\x27\x00\x00\x03\xe8\x2a\x00"
    connack = bytes([0x20, 3 + len(properties), 1, 0, len(properties)]) + properties
    with StubBroker(connack) as broker:
        _, owner = connect(broker.port)
        until(lambda: owner.told, "connected")
        assert owner.told == [("connected", True)]
        [limits] = owner.limits
        assert (limits.in_flight, limits.qos, limits.packet_bytes) == (7, 1, 1000)
        assert not limits.shares
        assert limits.session_seconds is None


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (Answer(b"\x20\x03\x00\x87\x00", hang_up=True), "the broker refused: Not authorized"),
        (
            Answer(b"\x20\x03\x00\x84\x00", hang_up=True),
            "the broker refused: Unsupported protocol version .*; set `protocol: 3.1.1`",
        ),
        (Answer(b"\x20\x02\x00\x00"), "the broker's answer to CONNECT is not MQTT 5; set "),
        (Answer(b"", hang_up=True), "closed before it answered CONNECT"),
        (
            Answer(b"\x20\xff\xff\xff\xff\xff"),
            "what arrived is not MQTT|closed before it answered CONNECT",
        ),
    ],
    ids=["not authorized", "version", "version of the answer", "hangs up", "not MQTT"],
)
def test_why_it_does_not_come_up_is_said(answer: Answer, reason: str, connect: Connect) -> None:
    with StubBroker(connect=lambda packet: answer) as broker:
        connection, owner = connect(broker.port)
        until(lambda: connection.status.state == "unreachable", "it gives up for now")
        assert re.match(reason, connection.status.reason)
        assert owner.told == []


def test_a_port_where_nobody_listens(connect: Connect) -> None:
    connection, _ = connect(free_port())
    until(lambda: connection.status.state == "unreachable", "it gives up for now")
    assert connection.status.reason.startswith("connection refused")


def test_after_a_loss_there_is_another_connection(connect: Connect) -> None:
    with StubBroker() as broker:
        connection, owner = connect(broker.port)
        until(lambda: owner.told, "connected")
        broker.hang_up(1)
        until(lambda: len(owner.links) == 2, "connected again")
        assert owner.told == [("connected", False), ("lost", 0), ("connected", False)]
        assert owner.links[0] is not owner.links[1]
        assert connection.status.connects == 2


def test_one_that_was_taken_over_does_not_come_back_at_once(connect: Connect) -> None:
    with StubBroker() as broker:
        connection, owner = connect(broker.port)
        until(lambda: owner.told, "connected")
        broker.send(b"\xe0\x01\x8e", 1)
        until(lambda: connection.status.state == "unreachable", "it is thrown out")
        assert "another client took over the session pyboot-m-1" in connection.status.reason
        assert broker.connections == 1


def test_what_its_owner_gives_up_is_over(connect: Connect) -> None:
    with StubBroker() as broker:
        owner = Owner(lambda link: link.drop("it has no shared subscriptions", refused=True))
        connection, _ = connect(broker.port, owner)
        until(lambda: connection.status.state == "unreachable", "it is given up")
        assert connection.status.reason == "it has no shared subscriptions"
        assert owner.told == [("connected", False), ("lost", 0)]


def test_messages_and_answers_come_in(connect: Connect) -> None:
    def subscribe(link: Link) -> None:
        link.subscribe("in/#", 1)

    with StubBroker() as broker:
        _, owner = connect(broker.port, Owner(subscribe))
        until(
            lambda: ("subscribed", "in/#", 1, "Granted QoS 1") in owner.told, "the broker's answer"
        )
        [packet] = broker.of_kind(SUBSCRIBE)
        assert b"in/#" in packet.body
        broker.send(publish("in/a", b"1", 1, 5) + publish("in/b", b"2", 1, 6), 1)
        until(lambda: sum(map(len, owner.batches)) == 2, "two messages")
        topics = [topic for batch in owner.batches for topic in batch.topics]
        assert topics == ["in/a", "in/b"]
        assert {batch.session for batch in owner.batches} == {1}


def test_an_owner_that_is_full_is_sent_nothing(connect: Connect) -> None:
    with StubBroker() as broker:
        owner = Owner()
        connection, _ = connect(broker.port, owner)
        until(lambda: owner.told, "connected")
        owner.full = True
        connection.wake()
        turns = owner.turns
        until(lambda: owner.turns > turns, "it has seen that")
        broker.send(publish("in", b"1", 1, 5), 1)
        turns = owner.turns
        until(lambda: owner.turns > turns + 3, "it is asked again and again")
        assert owner.batches == []
        owner.full = False
        until(lambda: owner.batches, "what waited in the network")


def test_whoever_has_something_to_send_tries_it_himself_or_has_it_done(connect: Connect) -> None:
    with StubBroker() as broker:
        connection, owner = connect(broker.port)
        until(lambda: owner.told, "connected")
        tries, turns = owner.tries, owner.turns
        connection.try_send()
        until(lambda: owner.tries > tries or owner.turns > turns, "it is tried")


def test_without_a_connection_nothing_is_tried(connect: Connect) -> None:
    connection, owner = connect(free_port())
    connection.try_send()
    connection.wake()
    assert owner.tries == 0


@pytest.mark.parametrize("where", ["on_connected", "on_subscribed", "on_turn"])
def test_an_error_of_its_owner_ends_the_process(
    where: str,
    connect: Connect,
    crashes: list[str],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is no fault of the broker's, which would be tried again for ever."""

    class Failing(Owner):
        def fail(self, *told: object) -> None:
            raise AssertionError("a fault of ours")

    owner = Failing(lambda link: link.subscribe("in", 1))
    monkeypatch.setattr(owner, where, owner.fail)
    with StubBroker() as broker:
        connection, _ = connect(broker.port, owner)
        until(lambda: crashes, "it is told")
        assert "not MQTT" not in connection.status.reason
    assert "a fault of ours" in caplog.text


def test_one_that_ends_after_its_stop_leaves_nothing_open(connect: Connect) -> None:
    before = open_sockets()
    free = threading.Event()
    with StubBroker() as broker:
        connection, owner = connect(broker.port, Owner(lambda link: free.wait(20)))
        until(lambda: owner.told, "connected")
        connection.stop(0)  # too soon for a thread that is held up
        assert open_sockets() - before
        free.set()
    until(lambda: open_sockets() <= before, "all is closed")


def test_a_stop_does_not_wait_for_a_broker_that_does_not_answer(connect: Connect) -> None:
    asked = threading.Event()

    def silent(packet: object) -> None:
        asked.set()

    with StubBroker(connect=silent) as broker:
        connection, owner = connect(broker.port)
        assert asked.wait(20)
        connection.stop(600)
        assert owner.told == []
