"""The master's end of the metrics socket, with real connections and every kind of nonsense."""

from __future__ import annotations

import hashlib
import json
import os
import select
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from support.poll import until

from pyboot_svc.identity import InstanceId
from pyboot_svc.master.admission import NO_TOKEN, UNKNOWN, WRONG_TOKEN, Admission
from pyboot_svc.master.hub import Hub
from pyboot_svc.master.peer import Reading
from pyboot_svc.metrics.reporter import Reporter
from pyboot_svc.sockets.unix import open_listener


class Peer:
    """The worker's end of a connection to the hub, in the test's hands."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(20)
        self._socket.connect(str(path))
        self._lines = self._socket.makefile("rb")

    def send(self, data: bytes) -> None:
        try:
            self._socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            pass  # dropped before all of it was sent

    def say(self, document: dict[str, Any]) -> None:
        self.send(json.dumps(document).encode() + b"\n")

    def answer(self, pre: int = 0) -> None:
        self.say({"pre_queue": pre, "post_queue": 0})

    def has_something(self) -> bool:
        return bool(select.select([self._socket], [], [], 0)[0])

    def wait_asked(self, question: str = "?") -> None:
        assert self._lines.readline() == question.encode() + b"\n"

    def wait_all_asked(self, count: int) -> None:
        for _ in range(count):
            assert self._lines.readline().startswith(b"dead ")

    def wait_dropped(self) -> None:
        try:
            assert self._lines.readline() == b""
        except ConnectionResetError:
            pass  # dropped with something of ours unread

    def stop_listening(self) -> None:
        self._socket.shutdown(socket.SHUT_RD)

    def close(self) -> None:
        self._lines.close()
        self._socket.close()


StartHub = Callable[..., Hub]
Connect = Callable[..., Peer]
Ask = Callable[[Hub, Peer], Future[dict[str, Reading]]]

ABSENT = Reading(None, "absent: not connected")
# As a-1, in a process of its own.
SAYS_HELLO = """
import json, os, socket, sys
connection = socket.socket(socket.AF_UNIX)
connection.connect(sys.argv[1])
connection.send(json.dumps({"instance": "a-1", "pid": os.getpid()}).encode() + b"\\n")
connection.recv(1)
"""
STALLED = Reading(None, "stalled: no answer within 1 s")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "metrics.sock"


@pytest.fixture
def start_hub(path: Path) -> Iterator[StartHub]:
    """Starts a hub with these instances configured; more may come of `models`."""
    with ExitStack() as stack:

        def start(
            *configured: str, models: Sequence[str] = (), hashes: Mapping[str, str] | None = None
        ) -> Hub:
            listener = stack.enter_context(open_listener(path))
            instances = [InstanceId.parse(name) for name in configured]
            hub = Hub([listener], instances)
            admission = Admission(frozenset(configured), frozenset(models), hashes)
            hub.configure(instances, admission=admission)
            hub.start()
            stack.callback(hub.stop)
            return hub

        yield start


@pytest.fixture
def connect(path: Path) -> Iterator[Connect]:
    """Makes connections, which say hello when an instance is given."""
    with ExitStack() as stack:

        def make(instance: str | None = None, **more: Any) -> Peer:
            peer = Peer(path)
            stack.callback(peer.close)
            if instance is not None:
                peer.send(hello(instance=instance, **more))
            return peer

        yield make


@pytest.fixture
def report(path: Path) -> Iterator[Callable[..., None]]:
    """Starts real reporters."""
    with ExitStack() as stack:

        def start(instance: str, snapshot: Callable[[], dict[str, Any]]) -> None:
            reporter = Reporter(path, instance, snapshot)
            reporter.start()
            stack.callback(reporter.stop)

        yield start


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(16) as executor:
        yield executor


@pytest.fixture
def ask(pool: ThreadPoolExecutor) -> Ask:
    """Scrapes in another thread, and comes back when the question has reached the peer."""

    def start(hub: Hub, peer: Peer) -> Future[dict[str, Reading]]:
        scrape = pool.submit(hub.scrape)

        def asked() -> bool:
            nonlocal scrape
            if peer.has_something():
                return True
            if scrape.done():  # it was quicker than the peer's hello
                scrape = pool.submit(hub.scrape)
            return False

        until(asked, "the peer is asked")
        peer.wait_asked()
        return scrape

    return start


def digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def hello(**changes: Any) -> bytes:
    return json.dumps({"instance": "a-1", "pid": os.getpid(), **changes}).encode() + b"\n"


def connected(hub: Hub, *instances: str) -> None:
    def said_hello() -> bool:
        found = hub.scrape()
        return all(found.get(name, ABSENT) != ABSENT for name in instances)

    until(said_hello, "all have said hello")


def depth(reading: Reading) -> int:
    assert reading.error is None
    assert reading.snapshot is not None
    return reading.snapshot["pre_queue"]  # type: ignore[no-any-return]


def test_a_scrape_gives_the_figures_of_that_moment(
    start_hub: StartHub, report: Callable[..., None]
) -> None:
    hub = start_hub("a-1", "a-2", "b-1")
    figures = {"a-1": 1, "a-2": 20, "b-1": 300}

    def snapshot_of(name: str) -> Callable[[], dict[str, Any]]:
        return lambda: {"pre_queue": figures[name], "post_queue": 7, "state": "ready"}

    for name in figures:
        report(name, snapshot_of(name))
    connected(hub, *figures)
    for step in (0, 1, 1000):
        figures.update({name: value + step for name, value in figures.items()})
        readings = hub.scrape()
        assert {name: depth(reading) for name, reading in readings.items()} == figures
    assert readings["b-1"].snapshot == {"pre_queue": 1301, "post_queue": 7, "state": "ready"}


def test_configured_instances_come_first_and_in_their_order(
    start_hub: StartHub, report: Callable[..., None]
) -> None:
    hub = start_hub("z-1", "a-1", models=["b"])
    for name in ("b-1", "a-1"):
        report(name, lambda: {"pre_queue": 0, "post_queue": 0})
    connected(hub, "b-1", "a-1")
    assert list(hub.scrape()) == ["z-1", "a-1", "b-1"]


def test_who_is_not_connected_is_absent(start_hub: StartHub) -> None:
    assert start_hub("a-1", "a-2").scrape() == {"a-1": ABSENT, "a-2": ABSENT}


def test_who_has_gone_is_absent(start_hub: StartHub, connect: Connect, ask: Ask) -> None:
    hub = start_hub("a-1")
    peer = connect("a-1")
    scrape = ask(hub, peer)
    peer.close()
    assert scrape.result(20) == {"a-1": ABSENT}
    assert hub.scrape() == {"a-1": ABSENT}


def test_a_process_in_the_place_of_another_is_a_restart(
    start_hub: StartHub, connect: Connect, path: Path
) -> None:
    hub = start_hub("a-1", "a-2")
    first = connect("a-1")
    until(lambda: hub.restarts("a-1") == 0, "it is there")
    assert hub.restarts("a-2") is None
    first.close()
    for times in (1, 2):
        until(lambda: hub.scrape()["a-1"] == ABSENT, "the former one has gone")
        with subprocess.Popen([sys.executable, "-c", SAYS_HELLO, str(path)]) as another:
            try:
                until(lambda: hub.restarts("a-1") == times, "another process")  # noqa: B023
            finally:
                another.kill()


def test_who_comes_back_was_not_restarted(start_hub: StartHub, connect: Connect) -> None:
    hub = start_hub("a-1", models=["stranger"])
    for _ in range(3):
        peer = connect("a-1")
        until(lambda: hub.scrape()["a-1"] != ABSENT, "it is there")
        peer.close()
        until(lambda: hub.scrape()["a-1"] == ABSENT, "it has gone")
    connect("a-1")
    connect("stranger-1")
    until(lambda: "stranger-1" in hub.scrape(), "all have said hello")
    assert hub.restarts("a-1") == 0
    assert hub.restarts("stranger-1") is None


def test_who_does_not_answer_is_stalled_and_holds_nobody_up(
    start_hub: StartHub, connect: Connect, ask: Ask, report: Callable[..., None]
) -> None:
    hub = start_hub("a-1", "mute-1", "b-1", "gone-1")
    report("a-1", lambda: {"pre_queue": 1, "post_queue": 0})
    report("b-1", lambda: {"pre_queue": 2, "post_queue": 0})
    connected(hub, "a-1", "b-1")
    readings = ask(hub, connect("mute-1")).result(20)
    assert (depth(readings["a-1"]), depth(readings["b-1"])) == (1, 2)
    assert (readings["mute-1"], readings["gone-1"]) == (STALLED, ABSENT)


def test_a_late_answer_is_not_taken_for_the_current_one(
    start_hub: StartHub, connect: Connect, ask: Ask
) -> None:
    hub = start_hub("a-1")
    peer = connect("a-1")
    first = ask(hub, peer)
    assert first.result(20) == {"a-1": STALLED}
    second = ask(hub, peer)
    peer.answer(pre=1)  # to the first question
    peer.answer(pre=2)
    assert depth(second.result(20)["a-1"]) == 2


def test_one_that_is_behind_is_not_asked_on_and_on_and_recovers(
    start_hub: StartHub, connect: Connect, ask: Ask, pool: ThreadPoolExecutor
) -> None:
    hub = start_hub("a-1")
    peer = connect("a-1")
    scrapes = [ask(hub, peer), *[pool.submit(hub.scrape) for _ in range(11)]]
    assert all(scrape.result(20) == {"a-1": STALLED} for scrape in scrapes)
    for _ in range(7):
        peer.wait_asked()
    assert not peer.has_something()
    for number in range(8):
        peer.answer(pre=number)
    fresh = ask(hub, peer)
    peer.answer(pre=99)
    assert depth(fresh.result(20)["a-1"]) == 99
    assert hub.refused == {}


def test_lines_may_arrive_in_pieces(start_hub: StartHub, connect: Connect, ask: Ask) -> None:
    hub = start_hub("a-1")
    peer = connect()
    for letter in hello():
        peer.send(bytes([letter]))
    connected_scrape = ask(hub, peer)
    for letter in b'{"pre_queue": 5, "post_queue": 6}\n':
        peer.send(bytes([letter]))
    assert depth(connected_scrape.result(20)["a-1"]) == 5


NO_OBJECT = "a line that is not a JSON object"
MALFORMED = "a hello with a malformed instance"
SOMEBODY_ELSE = "a hello with another process's id"
TOO_LONG = "a line of more than 65536 bytes"
NO_HELLO = "a line of more than 4096 bytes"
BAD_HELLOS = {
    "no JSON": (b"hello\n", NO_OBJECT),
    "HTTP": (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", NO_OBJECT),
    "not UTF-8": (b"\xff\xfe\xfd\n", NO_OBJECT),
    "a list": (b"[1]\n", NO_OBJECT),
    "deeply nested": (b"[" * 4000 + b"\n", NO_OBJECT),
    "empty line": (b"\n", NO_OBJECT),
    "no instance": (b"{}\n", "a hello without an instance"),
    "instance is a number": (hello(instance=1), "a hello without an instance"),
    "no instance number": (hello(instance="a"), MALFORMED),
    "instance 0": (hello(instance="a-0"), MALFORMED),
    "a path": (hello(instance="../../etc/passwd-1"), MALFORMED),
    "markup": (hello(instance="<b>-1"), MALFORMED),
    "a number of 4000 digits": (hello(instance="a-" + "9" * 4000), MALFORMED),
    "no pid": (b'{"instance": "a-1"}\n', SOMEBODY_ELSE),
    "wrong pid": (hello(pid=os.getpid() + 1), SOMEBODY_ELSE),
    "pid is text": (hello(pid=str(os.getpid())), SOMEBODY_ELSE),
    "a long line": (b"x" * 5000 + b"\n", NO_HELLO),
    "a line without end": (b"x" * 200_000, NO_HELLO),
}


@pytest.mark.parametrize(("data", "reason"), BAD_HELLOS.values(), ids=BAD_HELLOS)
def test_a_bad_hello_is_dropped_and_counted(
    start_hub: StartHub,
    connect: Connect,
    caplog: pytest.LogCaptureFixture,
    data: bytes,
    reason: str,
) -> None:
    hub = start_hub("a-1")
    for count in (1, 2):
        peer = connect()
        peer.send(data)
        peer.wait_dropped()
        assert hub.refused == {reason: count}
    assert hub.scrape() == {"a-1": ABSENT}
    [said] = [record.getMessage() for record in caplog.records]
    assert said == f"metrics socket: dropped a connection (process {os.getpid()}): {reason}"


BAD_ANSWERS = {
    "no JSON": (b"what?\n", NO_OBJECT),
    "no queue sizes": (b"{}\n", "an answer without queue sizes"),
    "one queue size": (b'{"pre_queue": 1}\n', "an answer without queue sizes"),
    "a text": (b'{"pre_queue": "1", "post_queue": 0}\n', "an answer without queue sizes"),
    "a truth value": (b'{"pre_queue": true, "post_queue": 0}\n', "an answer without queue sizes"),
    "a fraction": (b'{"pre_queue": 1.5, "post_queue": 0}\n', "an answer without queue sizes"),
    "a long line": (b" " * 70_000 + b"\n", TOO_LONG),
}


@pytest.mark.parametrize(("data", "reason"), BAD_ANSWERS.values(), ids=BAD_ANSWERS)
def test_a_bad_answer_is_dropped_and_counted(
    start_hub: StartHub, connect: Connect, ask: Ask, data: bytes, reason: str
) -> None:
    hub = start_hub("a-1")
    peer = connect("a-1")
    scrape = ask(hub, peer)
    peer.send(data)
    peer.wait_dropped()
    assert scrape.result(20) == {"a-1": ABSENT}
    assert hub.refused == {reason: 1}


def test_an_answer_that_nobody_asked_for_is_dropped(start_hub: StartHub, connect: Connect) -> None:
    hub = start_hub("a-1")
    peer = connect("a-1")
    peer.answer()
    peer.wait_dropped()
    assert hub.refused == {"an answer without a question": 1}


def test_two_answers_to_one_question_are_one_too_many(
    start_hub: StartHub, connect: Connect, ask: Ask
) -> None:
    hub = start_hub("a-1")
    peer = connect("a-1")
    scrape = ask(hub, peer)
    peer.answer(pre=1)
    peer.answer(pre=2)
    assert depth(scrape.result(20)["a-1"]) == 1
    peer.wait_dropped()
    assert hub.refused == {"an answer without a question": 1}


def test_nonsense_from_one_does_not_disturb_the_others(
    start_hub: StartHub, connect: Connect, report: Callable[..., None]
) -> None:
    hub = start_hub("a-1")
    report("a-1", lambda: {"pre_queue": 4, "post_queue": 0})
    connected(hub, "a-1")
    for data, _ in BAD_HELLOS.values():
        peer = connect()
        peer.send(data)
        peer.wait_dropped()
        assert depth(hub.scrape()["a-1"]) == 4


def test_who_says_no_hello_is_dropped(
    start_hub: StartHub, connect: Connect, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pyboot_svc.master.peer.HELLO_SECONDS", 1.0)
    hub = start_hub("a-1", "b-1")
    good = connect("b-1")
    connect().wait_dropped()
    half = connect()
    half.send(b'{"instance": ')
    half.wait_dropped()
    assert hub.refused == {"no hello": 2}
    scrape = ask(hub, good)  # it has said its hello, and may take its time
    good.answer(pre=1)
    assert depth(scrape.result(20)["b-1"]) == 1


def test_instances_are_limited(start_hub: StartHub, connect: Connect, ask: Ask) -> None:
    """But for those that are missed when they are gone: others can't keep them out."""
    hub = start_hub("a-1", models=["b", "x"])
    peers = [connect(f"x-{number}") for number in range(1, 32 + 1)]
    connected(hub, *(f"x-{number}" for number in range(1, 32 + 1)))
    connect("b-1").wait_dropped()
    assert hub.refused == {"too many instances": 1}
    connect("a-1")
    connected(hub, "a-1")
    peers[1].close()
    newcomer = connect("b-1")  # there is room again
    until(lambda: "b-1" in hub.scrape(), "it is connected")
    assert newcomer.has_something()


def test_of_those_without_a_hello_the_longest_waiting_makes_way(
    start_hub: StartHub, connect: Connect, ask: Ask
) -> None:
    hub = start_hub("a-1")
    silent = [connect() for _ in range(257)]
    silent[0].wait_dropped()
    assert hub.refused == {"no hello, while others wait": 1}
    peer = connect("a-1")
    scrape = ask(hub, peer)
    peer.answer(pre=1)
    assert depth(scrape.result(20)["a-1"]) == 1


SECOND = "a second hello while the first connection lives"


def test_a_second_one_is_refused_while_the_first_answers(
    start_hub: StartHub, connect: Connect, ask: Ask
) -> None:
    hub = start_hub("a-1")
    first = connect("a-1")
    until(lambda: hub.restarts("a-1") is not None, "it is there")
    connect("a-1").wait_dropped()
    first.wait_asked()  # the second one's coming had it looked after
    first.answer()
    scrape = ask(hub, first)
    first.answer(pre=2)
    assert depth(scrape.result(20)["a-1"]) == 2
    assert hub.refused == {SECOND: 1}


def test_a_restarted_worker_takes_the_place_of_one_that_does_not_answer(
    start_hub: StartHub, connect: Connect, report: Callable[..., None]
) -> None:
    """As one whose host is gone; nobody else has to ask."""
    hub = start_hub("a-1")
    former = connect("a-1")
    until(lambda: hub.restarts("a-1") is not None, "it is there")
    report("a-1", lambda: {"pre_queue": 3, "post_queue": 0})
    former.wait_asked()
    former.wait_dropped()
    until(lambda: hub.scrape()["a-1"].error is None, "the new one answers")
    assert set(hub.refused) == {SECOND}


def test_who_is_not_configured_is_refused(start_hub: StartHub, connect: Connect) -> None:
    hub = start_hub("a-1")
    for name in ("a-2", "b-1"):
        connect(name).wait_dropped()
    assert hub.refused == {UNKNOWN: 2}
    assert hub.scrape() == {"a-1": ABSENT}


@pytest.mark.parametrize(
    ("token", "reason"),
    [
        ({}, NO_TOKEN),
        ({"token": ""}, NO_TOKEN),
        ({"token": 7}, NO_TOKEN),
        ({"token": "of b-1"}, WRONG_TOKEN),
        ({"token": "\ud800"}, WRONG_TOKEN),
    ],
    ids=["none", "empty", "number", "of-another", "surrogate"],
)
def test_who_has_not_the_instances_token_is_refused(
    start_hub: StartHub, connect: Connect, token: dict[str, Any], reason: str
) -> None:
    hub = start_hub("a-1", "b-1", hashes={"a-1": digest("of a-1"), "b-1": digest("of b-1")})
    connect("a-1", **token).wait_dropped()
    assert hub.refused == {reason: 1}
    connect("a-1", token="of a-1")
    connected(hub, "a-1")


def test_a_token_that_a_model_shares_is_good_for_its_instances_alone(
    start_hub: StartHub, connect: Connect
) -> None:
    hub = start_hub(models=["a", "b"], hashes={"a-any": digest("of a")})
    for name in ("a-7", "a-8"):
        connect(name, token="of a")
    connected(hub, "a-7", "a-8")
    connect("b-1", token="of a").wait_dropped()
    assert hub.refused == {WRONG_TOKEN: 1}


def test_one_whose_hash_is_unknown_is_refused(start_hub: StartHub, connect: Connect) -> None:
    hub = start_hub("a-1", hashes={})
    connect("a-1", token="of a-1").wait_dropped()
    hub.trust({"a-1": digest("of a-1")})
    connect("a-1", token="of a-1")
    connected(hub, "a-1")
    assert hub.refused == {WRONG_TOKEN: 1}


def test_many_scrapes_at_once_all_get_their_answers(
    start_hub: StartHub, report: Callable[..., None]
) -> None:
    names = [f"a-{number}" for number in range(1, 6)]
    hub = start_hub(*names)
    for number, name in enumerate(names):
        report(name, lambda number=number: {"pre_queue": number, "post_queue": 0})
    connected(hub, *names)
    expected = {name: number for number, name in enumerate(names)}
    with ThreadPoolExecutor(4) as pool:
        for readings in pool.map(lambda _: hub.scrape(), range(200)):
            assert {name: depth(reading) for name, reading in readings.items()} == expected
    assert hub.refused == {}


def test_stop_closes_all_connections(start_hub: StartHub, connect: Connect, ask: Ask) -> None:
    hub = start_hub("a-1")
    peer, silent = connect("a-1"), connect()
    scrape = ask(hub, peer)
    hub.stop()
    peer.wait_dropped()
    silent.wait_dropped()
    assert scrape.result(20) == {"a-1": ABSENT}


LETTERS = {"kept": 0, "letters": []}


def test_a_worker_is_asked_for_more_than_figures(
    start_hub: StartHub, connect: Connect, ask: Ask, pool: ThreadPoolExecutor
) -> None:
    hub = start_hub("a-1")
    peer = connect("a-1")
    scrape = ask(hub, peer)
    inquiries = [pool.submit(hub.inquire, "a-1", "dead") for _ in range(3)]
    peer.wait_asked("dead")
    peer.say({"asked": "dead", **LETTERS})
    peer.answer(3)
    assert depth(scrape.result()["a-1"]) == 3
    answers = [inquiry.result() for inquiry in inquiries]
    assert LETTERS in answers  # who came later has asked again, and waited in vain
    assert all(answer == LETTERS or "no answer" in answer["error"] for answer in answers)
    assert hub.refused == {}


def test_who_does_not_know_the_question_is_well_all_the_same(
    start_hub: StartHub, connect: Connect, ask: Ask, pool: ThreadPoolExecutor
) -> None:
    hub = start_hub("a-1")
    peer = connect("a-1")
    ask(hub, peer)
    peer.answer()
    waiting = [pool.submit(hub.inquire, "a-1", f"dead {number}") for number in range(9)]
    errors = sorted(one.result()["error"][:20] for one in waiting)
    assert errors == ["it is behind with its"[:20]] + ["no answer within 1 s"] * 8
    peer.wait_all_asked(8)
    scrape = ask(hub, peer)
    peer.answer(5)
    assert depth(scrape.result()["a-1"]) == 5


def test_who_is_not_there_is_not_asked(
    start_hub: StartHub, connect: Connect, ask: Ask, pool: ThreadPoolExecutor
) -> None:
    hub = start_hub("a-1")
    assert hub.inquire("a-1", "dead") == {"error": "it is not connected"}
    peer = connect("a-1")
    ask(hub, peer)
    inquiry = pool.submit(hub.inquire, "a-1", "dead")
    peer.wait_asked("dead")
    peer.close()
    assert inquiry.result() == {"error": "its connection ended"}


def test_who_does_not_listen_keeps_nobody_waiting(
    start_hub: StartHub, connect: Connect, ask: Ask
) -> None:
    hub = start_hub("a-1")
    peer = connect("a-1")
    ask(hub, peer)
    peer.stop_listening()
    assert hub.inquire("a-1", "dead") == {"error": "it can't be asked now"}


@pytest.mark.parametrize("asked", ["dead 8", 7, None, ["dead"]], ids=str)
def test_an_answer_that_nobody_asked_for_is_refused(
    start_hub: StartHub, connect: Connect, asked: Any
) -> None:
    hub = start_hub("a-1")
    peer = connect("a-1")
    peer.say({"asked": asked, **LETTERS})
    peer.wait_dropped()
    assert hub.refused == {"an answer without a question": 1}


def test_a_malformed_answer_is_said(
    start_hub: StartHub, connect: Connect, ask: Ask, pool: ThreadPoolExecutor
) -> None:
    hub = start_hub("a-1")
    peer = connect("a-1")
    ask(hub, peer)
    inquiry = pool.submit(hub.inquire, "a-1", "dead")
    peer.wait_asked("dead")
    peer.say({"asked": "dead", "letters": "all"})
    assert inquiry.result() == {"error": "malformed: letters is no list"}
