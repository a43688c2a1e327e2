"""Opening a socket within a deadline: what the field tests can't make a network do."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from pyboot_svc.worker.heartbeat import OPEN_SECONDS
from pyboot_svc.worker.mqtt.link.opening import (
    ATTEMPT_SECONDS,
    Address,
    Deadline,
    NoAnswer,
    Resolver,
    dial,
)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as opened:
        yield opened


def listener(stack: ExitStack, backlog: int = 5) -> socket.socket:
    made = stack.enter_context(socket.socket())
    made.bind(("127.0.0.1", 0))
    made.listen(backlog)
    return made


def full(stack: ExitStack) -> socket.socket:
    """Drops what comes, as a firewall does."""
    made = listener(stack, 0)
    for _ in range(4):
        client = stack.enter_context(socket.socket())
        client.setblocking(False)
        client.connect_ex(made.getsockname())
    return made


def addresses(*listeners: socket.socket) -> list[Address]:
    return [(socket.AF_INET, socket.SOCK_STREAM, 0, "", made.getsockname()) for made in listeners]


def refusing(stack: ExitStack) -> socket.socket:
    """Bound and not listening: nobody else can take the port, and nobody answers."""
    made = stack.enter_context(socket.socket())
    made.bind(("127.0.0.1", 0))
    return made


def unsupported() -> list[Address]:
    """Of a family that no host has."""
    return [(255, socket.SOCK_STREAM, 0, "", ("::1", 1883))]


def test_the_watchdog_waits_far_longer_than_an_attempt_takes() -> None:
    assert OPEN_SECONDS >= 3 * ATTEMPT_SECONDS


@pytest.mark.parametrize("dead", [full, refusing])
def test_one_dead_address_does_not_take_the_time_of_the_next(
    dead: Callable[[ExitStack], socket.socket], stack: ExitStack
) -> None:
    good = listener(stack)
    with dial(addresses(dead(stack), good), Deadline(4.0)) as found:
        assert found.getpeername() == good.getsockname()


def test_the_last_address_says_what_is_wrong(stack: ExitStack) -> None:
    with pytest.raises(ConnectionRefusedError):
        dial(addresses(full(stack), refusing(stack)), Deadline(4.0))
    with pytest.raises(NoAnswer, match="no answer to the TCP connection within 0 s"):
        dial(addresses(refusing(stack), full(stack)), Deadline(0.5))


def test_an_address_of_a_family_that_the_host_lacks_is_passed_over(stack: ExitStack) -> None:
    good = listener(stack)
    with dial(unsupported() + addresses(good), Deadline(4.0)) as found:
        assert found.getpeername() == good.getsockname()


def test_a_family_that_the_host_lacks_is_the_reason_only_where_there_is_no_other(
    stack: ExitStack,
) -> None:
    refused = addresses(refusing(stack))
    for several in (refused + unsupported(), unsupported() + refused):
        with pytest.raises(ConnectionRefusedError):
            dial(several, Deadline(4.0))
    with pytest.raises(OSError, match="Address family not supported"):
        dial(unsupported(), Deadline(4.0))


def test_a_deadline_that_is_over_is_no_answer(stack: ExitStack) -> None:
    over = Deadline(0.0)
    assert over.left == 0
    with pytest.raises(NoAnswer):
        dial(addresses(listener(stack)), over)


def test_a_name_without_an_address_is_an_error() -> None:
    with pytest.raises(OSError, match="no address"):
        dial([], Deadline())


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_addresses_and_local_names(host: str) -> None:
    found = Resolver().resolve(host, 1883, Deadline())
    assert {entry[4][1] for entry in found} == {1883}


@pytest.mark.parametrize(("host", "error"), [("a..b", socket.gaierror), ("ä..b", UnicodeError)])
def test_what_can_be_no_name_is_an_error_and_not_the_end_of_a_thread(
    host: str, error: type[Exception]
) -> None:
    with pytest.raises(error):
        Resolver().resolve(host, 1883, Deadline())
