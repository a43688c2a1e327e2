"""Workers on other hosts: the same hub and reporter, over TCP."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from support.broker import free_port
from support.poll import until

from pyboot_svc.address import Address
from pyboot_svc.errors import UnavailableError
from pyboot_svc.identity import InstanceId
from pyboot_svc.master.hub import Hub
from pyboot_svc.metrics.protocol import LONGEST_HELLO
from pyboot_svc.metrics.reporter import Reporter
from pyboot_svc.sockets.lines import encode_line
from pyboot_svc.sockets.tcp import connect_tcp, listen_tcp, notice_silence
from pyboot_svc.sockets.unix import open_listener

SNAPSHOT = {"pre_queue": 3, "post_queue": 4}


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as closing:
        yield closing


@pytest.fixture
def address() -> Address:
    return "127.0.0.1", free_port()


@pytest.fixture
def hub(stack: ExitStack, address: Address, tmp_path: Path) -> Hub:
    """A hub that listens on a UNIX socket and on the network."""
    listeners = [open_listener(tmp_path / "m.sock"), listen_tcp(address)]
    for listener in listeners:
        stack.callback(listener.close)
    made = Hub(listeners, [InstanceId("near", 1), InstanceId("far", 1)])
    made.start()
    stack.callback(made.stop)
    return made


def test_reports_come_from_this_host_and_from_others(
    stack: ExitStack, hub: Hub, address: Address, tmp_path: Path
) -> None:
    for master, name in ((tmp_path / "m.sock", "near-1"), (address, "far-1")):
        reporter = Reporter(master, name, lambda: SNAPSHOT)
        reporter.start()
        stack.callback(reporter.stop)
    until(
        lambda: all(reading.snapshot == SNAPSHOT for reading in hub.scrape().values()),
        "both answer",
    )


def test_a_reporter_waits_for_a_master_on_the_network(stack: ExitStack, address: Address) -> None:
    reporter = Reporter(address, "far-1", lambda: SNAPSHOT)
    reporter.start()
    stack.callback(reporter.stop)
    for _ in range(2):
        with listen_tcp(address) as listener:
            hub = Hub([listener], [InstanceId("far", 1)])
            hub.start()
            try:
                until(lambda: hub.scrape()["far-1"].snapshot, "its figures")  # noqa: B023
            finally:
                hub.stop()


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"GET / HTTP/1.1\r\n", "a line that is not a JSON object"),
        (encode_line({"instance": "x/../y", "pid": 1}), "a hello with a malformed instance"),
        (b"x" * (LONGEST_HELLO + 1) + b"\n", f"a line of more than {LONGEST_HELLO} bytes"),
    ],
)
def test_nonsense_from_the_network_is_dropped_and_counted(
    stack: ExitStack, hub: Hub, address: Address, line: bytes, reason: str
) -> None:
    peer = stack.enter_context(connect_tcp(address))
    peer.settimeout(20)
    try:
        peer.sendall(line)
        assert peer.recv(10) == b""
    except (ConnectionResetError, BrokenPipeError):
        pass  # dropped with something of ours unread
    assert hub.refused == {reason: 1}


def test_connections_from_the_network_are_bounded(
    stack: ExitStack, hub: Hub, address: Address
) -> None:
    peers = [stack.enter_context(connect_tcp(address)) for _ in range(260)]
    until(lambda: hub.refused["no hello, while others wait"] == 4, "260 less 256 make way")
    peers[0].settimeout(20)
    assert peers[0].recv(1) == b""


def test_both_ends_notice_when_the_other_host_vanishes(stack: ExitStack, address: Address) -> None:
    listener = stack.enter_context(listen_tcp(address))
    ours = stack.enter_context(connect_tcp(address))
    theirs = stack.enter_context(listener.accept()[0])
    notice_silence(theirs)
    for end in (ours, theirs):
        assert end.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert end.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 30_000


def test_an_address_in_use_is_an_error_that_says_what_to_do(address: Address) -> None:
    with listen_tcp(address), pytest.raises(UnavailableError, match="Address already in use"):
        listen_tcp(address)


def test_it_listens_at_ipv6_too(stack: ExitStack) -> None:
    address = ("::", free_port())
    stack.enter_context(listen_tcp(address))
    for host in ("::1", "127.0.0.1"):
        stack.enter_context(connect_tcp((host, address[1])))
