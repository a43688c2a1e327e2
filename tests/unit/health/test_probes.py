"""Health over HTTP: for probes, and whatever else may knock."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import pytest
from support.broker import free_port

from pyboot_svc.address import Address
from pyboot_svc.errors import UnavailableError
from pyboot_svc.health.probes import SIGNS, ProbeServer
from pyboot_svc.health.record import Health
from pyboot_svc.sockets.tcp import listen_tcp

HEALTH = Health("mean-1", stalls=("why",))
WELL = Health("mean-1", alive=True, loaded=True, ready=True)
Serve = Callable[[Callable[[], Health]], Address]


@pytest.fixture
def serve() -> Serve:
    def start(judge: Callable[[], Health]) -> Address:
        address = ("127.0.0.1", free_port())
        ProbeServer(address, judge)  # its thread is a daemon
        return address

    return start


def get(address: Address, path: str, method: str = "GET") -> tuple[int, Any]:
    connection = http.client.HTTPConnection(*address, timeout=20)
    try:
        connection.request(method, path)
        response = connection.getresponse()
        return response.status, json.loads(response.read() or b"{}")
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("path", "well"),
    [
        ("/startz", HEALTH._replace(loaded=True)),
        ("/readyz", HEALTH._replace(ready=True)),
        ("/healthz", HEALTH._replace(alive=True)),
    ],
)
def test_each_path_is_about_its_own_sign(serve: Serve, path: str, well: Health) -> None:
    answers = [HEALTH]
    address = serve(lambda: answers[-1])
    assert get(address, path) == (503, HEALTH.document())
    answers.append(well)
    for asked in SIGNS:
        assert get(address, f"{asked}?x=y") == (200 if asked == path else 503, well.document())


def test_there_is_nothing_else(serve: Serve) -> None:
    address = serve(lambda: WELL)
    assert get(address, "/metrics")[0] == 404
    assert get(address, "/../healthz")[0] == 404
    assert get(address, "/healthz", "POST")[0] == 405


def test_head_gives_the_status_alone(serve: Serve) -> None:
    address = serve(lambda: HEALTH)
    assert get(address, "/healthz", "HEAD") == (503, {})
    assert get(address, "/nowhere", "HEAD") == (404, {})


@pytest.mark.parametrize("data", [b"", b"GET ", b"\xff" * 8000, b"GET /healthz HTTP/1.1\r\n", b"x"])
def test_who_never_ends_a_request_keeps_nobody_waiting_for_long(serve: Serve, data: bytes) -> None:
    address = serve(lambda: WELL)
    with socket.create_connection(address, 20) as idle:
        idle.sendall(data)
        assert get(address, "/healthz")[0] == 200
        try:
            assert idle.recv(10) == b""
        except ConnectionResetError:
            pass  # dropped with something of ours unread


def test_an_endless_head_is_refused(serve: Serve) -> None:
    with socket.create_connection(serve(lambda: WELL), 20) as peer:
        peer.sendall(b"\xff" * 9000)
        assert peer.recv(12) == b"HTTP/1.1 431"


def test_those_who_say_nothing_starve_no_probe(serve: Serve) -> None:
    address = serve(lambda: WELL)
    with ExitStack() as stack:
        for _ in range(200):
            stack.enter_context(socket.create_connection(address, 20)).sendall(b"G")
        assert get(address, "/healthz")[0] == 200


def test_an_address_in_use_is_an_error_that_says_what_to_do() -> None:
    address = ("127.0.0.1", free_port())
    with listen_tcp(address), pytest.raises(UnavailableError, match="--probes-listen"):
        ProbeServer(address, lambda: HEALTH)
