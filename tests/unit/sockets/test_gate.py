"""The gate before HTTP: who idles, drips, floods or doesn't read keeps nobody else out."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from support.poll import until

from pyboot_svc.sockets.gate import Bounds, Gate, Visit, is_local
from pyboot_svc.sockets.http import request_line, response
from pyboot_svc.sockets.unix import open_listener

ASK = b"GET /x?y HTTP/1.1\r\nHost: a\r\n\r\n"
PATIENT = Bounds(connections=8, peer=8, reserve=2, head_seconds=60, seconds=60)


@dataclass
class Served:
    """A gate, and the requests that came through it."""

    gate: Gate
    connect: Callable[[], socket.socket]
    visits: list[Visit] = field(default_factory=list)


Serve = Callable[..., Served]


@pytest.fixture
def serve() -> Iterator[Serve]:
    with ExitStack() as stack:

        def start(bounds: Bounds = PATIENT, answer: bytes | None = b"well") -> Served:
            listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))

            def connect() -> socket.socket:
                peer = socket.create_connection(listener.getsockname(), 20)
                return stack.enter_context(peer)

            def take(visit: Visit) -> None:
                served.visits.append(visit)
                if answer is not None:
                    visit.reply(answer)

            served = Served(Gate("gate", [listener], take, bounds), connect)
            stack.callback(served.gate.stop)
            served.gate.start()
            return served

        yield start


def rest(peer: socket.socket) -> bytes:
    """All that is still to come."""
    said = b""
    try:
        while data := peer.recv(65536):
            said += data
    except ConnectionResetError:
        pass
    return said


def ask(served: Served, data: bytes = ASK) -> bytes:
    peer = served.connect()
    peer.sendall(data)
    return rest(peer)


def test_a_request_is_answered_and_its_connection_ended(serve: Serve) -> None:
    served = serve()
    assert ask(served) == b"well"
    [visit] = served.visits
    assert (visit.head, visit.peer, visit.local) == (ASK, "127.0.0.1", True)
    assert request_line(visit.head) == (b"GET", "/x")


def test_a_request_may_come_in_pieces_and_with_a_body(serve: Serve) -> None:
    served = serve()
    peer = served.connect()
    for letter in ASK:
        peer.sendall(bytes([letter]))
    peer.sendall(b"x" * 100_000)
    assert rest(peer) == b"well"
    assert served.visits[0].head == ASK


def test_an_answer_may_come_later_from_another_thread(serve: Serve) -> None:
    served = serve(answer=None)
    peer = served.connect()
    peer.sendall(ASK)
    until(lambda: served.visits, "the request came through")
    large = b"x" * 5_000_000
    served.visits[0].reply(large)
    assert rest(peer) == large


def test_who_idles_or_drips_is_ended(serve: Serve) -> None:
    served = serve(Bounds(head_seconds=0.3))
    idle, drips = served.connect(), served.connect()
    drips.sendall(b"GET")
    assert (rest(idle), rest(drips)) == (b"", b"")
    assert served.visits == []


def test_who_does_not_take_the_answer_is_ended(serve: Serve) -> None:
    served = serve(Bounds(seconds=0.5), answer=b"x" * 50_000_000)
    peer = served.connect()
    peer.sendall(ASK)
    until(lambda: served.visits, "the request came through")
    visit = served.visits[0]
    until(lambda: visit.channel.fileno() == -1, "it was closed")
    assert len(rest(peer)) < 50_000_000


def test_who_is_not_answered_in_time_is_ended_and_a_late_answer_is_nobodys(serve: Serve) -> None:
    served = serve(Bounds(seconds=0.3), answer=None)
    peer = served.connect()
    peer.sendall(ASK)
    assert rest(peer) == b""
    served.visits[0].reply(b"late")
    assert served.gate.turned


def test_a_large_head_is_refused(serve: Serve) -> None:
    served = serve()
    assert ask(served, b"GET / HTTP/1.1\r\nA: " + b"x" * 20_000).startswith(b"HTTP/1.1 431 ")
    assert ask(served, b"GET / HTTP/1.1\r\nA: " + b"x" * 20_000 + b"\r\n\r\n").startswith(
        b"HTTP/1.1 431 "
    )
    assert served.visits == []


def test_an_endless_body_is_cut_off(serve: Serve) -> None:
    peer = serve().connect()
    peer.sendall(ASK)
    with pytest.raises(ConnectionError):
        peer.sendall(b"x" * 100_000_000)


@pytest.mark.parametrize("bounds", [PATIENT, Bounds(connections=99, peer=4, reserve=1)])
def test_in_a_full_house_the_longest_waiting_makes_way(serve: Serve, bounds: Bounds) -> None:
    served = serve(bounds)
    idle = [served.connect() for _ in range(20)]
    assert ask(served) == b"well"
    assert rest(idle[0]) == b""  # which has made way


def test_who_is_being_answered_does_not_make_way(serve: Serve) -> None:
    served = serve(Bounds(connections=4, peer=4, reserve=1), answer=None)
    asking = [served.connect() for _ in range(4)]
    for peer in asking:
        peer.sendall(ASK)
    until(lambda: len(served.visits) == 4, "all asked")
    assert rest(served.connect()) == b""
    for visit in served.visits:
        visit.reply(b"well")
    assert [rest(peer) for peer in asking] == [b"well"] * 4


def test_answers_that_nobody_takes_are_bounded(serve: Serve) -> None:
    served = serve(Bounds(answer_bytes=1_000_000), answer=b"x" * 20_000_000)
    hoarding = served.connect()
    hoarding.sendall(ASK)
    # Once what it is to get has been made.
    until(lambda: ask(served).startswith(b"HTTP/1.1 503 "), "the answer is held")
    assert len(rest(hoarding)) == 20_000_000
    assert len(ask(served)) == 20_000_000


def test_at_a_unix_socket_everybody_is_local(tmp_path: Path) -> None:
    path = tmp_path / "web.sock"
    visits: list[Visit] = []

    def serve(visit: Visit) -> None:
        visits.append(visit)
        visit.reply(b"well")

    with open_listener(path) as listener, socket.socket(socket.AF_UNIX) as peer:
        gate = Gate("gate", [listener], serve, PATIENT)
        gate.start()
        peer.connect(str(path))
        peer.sendall(ASK)
        assert rest(peer) == b"well"
        gate.stop()
    assert [(visit.peer, visit.local) for visit in visits] == [("", True)]


def test_one_that_never_started_stops() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        Gate("gate", [listener], lambda visit: None, PATIENT).stop()


def test_one_that_stands_still_is_noticed(serve: Serve) -> None:
    served = serve()
    assert served.gate.turned
    served.gate.stop()
    assert not served.gate.turned


@pytest.mark.parametrize(
    ("peer", "local"),
    [
        ("", True),
        ("127.0.0.1", True),
        ("127.8.9.1", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("10.0.0.1", False),
        ("::ffff:10.0.0.1", False),
        ("fe80::1%eth0", False),
    ],
)
def test_who_is_local(peer: str, local: bool) -> None:
    assert is_local(peer) is local


def test_addresses_of_one_network_are_one_peer() -> None:
    peers = ["2001:db8::1", "2001:db8::ffff", "2001:db8:0:1::1", "::ffff:10.0.0.1", "10.0.0.1"]
    with socket.socket() as channel:
        networks = [Visit(channel, peer, lambda *_: None).network for peer in peers]
    assert networks[0] == networks[1]
    assert len({*networks}) == 4


def test_a_head_is_answered_without_the_body() -> None:
    answer = response("200 OK", {"a": 1}, "X-Y: z", method=b"HEAD")
    assert answer.endswith(b"X-Y: z\r\n\r\n")
    assert response("200 OK", {"a": 1}, "X-Y: z") == answer + b'{"a":1}\n'


@pytest.mark.parametrize(
    "head",
    [
        *(
            b"GET /\xff HTTP/1.1\r\n\r\n",
            b"GET / HTTP/1.\t0\r\n\r\n",
            b"GET http://[::1 HTTP/1.1\r\n\r\n",
        ),
        *(b"GET x HTTP/1.1\r\n\r\n", b"GET /\r\n\r\n", b"GET / HTTP/1.1\r\nHo\0t: a\r\n\r\n"),
        *(
            b"GET / HTTP/1.1\r\n folded\r\n\r\n",
            b"GET / HTTP/1.1\r\na: \x1b[2J\r\n\r\n",
            b"\r\n\r\n",
        ),
        *(
            b"GET  HTTP/1.1\r\n\r\n",
            b"GET http:///x HTTP/1.1\r\n\r\n",
            b"GET http://u:p@h/ HTTP/1.1\r\n\r\n",
            b"GET ftp://h/ HTTP/1.1\r\n\r\n",
            b"CONNECT h:80 HTTP/1.1\r\n\r\n",
        ),
    ],
    ids=range(14),
)
def test_what_is_no_request_reaches_nobody(serve: Serve, head: bytes) -> None:
    """A framework stumbles over it, and answers with a traceback."""
    served = serve()
    said = ask(served, head)
    assert said.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert b"asks for a path" in said
    assert not served.visits


@pytest.mark.parametrize(
    ("target", "path", "host"),
    [
        ("/a?b=//c", "/a?b=//c", "h"),
        ("//healthz", "/healthz", "h"),
        ("///", "/", "h"),
        ("http://other:80/a//b", "/a//b", "other:80"),
        ("HTTP://[::1]:5888//healthz?x", "/healthz?x", "[::1]:5888"),
        ("https://other", "/", "other"),
        ("http://other?x=1", "/?x=1", "other"),
    ],
)
def test_each_form_of_a_target_reaches_who_answers_as_a_path(
    serve: Serve, target: str, path: str, host: str
) -> None:
    served = serve()
    ask(served, f"GET {target} HTTP/1.1\r\nA: b\r\nhOst: h\r\n\r\n".encode())
    [visit] = served.visits
    line, *fields = visit.head.decode().split("\r\n")
    assert line == f"GET {path} HTTP/1.1"
    assert {name.lower(): value for name, _, value in (f.partition(": ") for f in fields if f)} == {
        "a": "b",
        "host": host,
    }
