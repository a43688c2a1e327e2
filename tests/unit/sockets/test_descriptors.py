"""Without descriptors left, a listener rests, says so once, and goes on when there are some."""

from __future__ import annotations

import resource
import selectors
import socket
from collections.abc import Iterator

import pytest
from support.poll import until

from pyboot_svc.sockets.descriptors import Listeners, allow_many


@pytest.fixture
def limit() -> Iterator[tuple[int, int]]:
    """That of this process, as it is again after the test."""
    usual = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield usual
    resource.setrlimit(resource.RLIMIT_NOFILE, usual)


def test_the_limit_is_raised_as_far_as_it_may(limit: tuple[int, int]) -> None:
    _, hard = limit
    resource.setrlimit(resource.RLIMIT_NOFILE, (512, hard))
    expected = 65_536 if hard == resource.RLIM_INFINITY else min(hard, 65_536)
    assert allow_many() == expected
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (expected, hard)
    assert allow_many() == expected


def test_without_descriptors_it_rests_and_says_so_once(
    limit: tuple[int, int], caplog: pytest.LogCaptureFixture
) -> None:
    with selectors.DefaultSelector() as selector, socket.create_server(("127.0.0.1", 0)) as server:
        listeners = Listeners("test", selector)
        listeners.add(server)
        with socket.create_connection(server.getsockname(), 20):
            assert selector.select(20)
            # Not one: what others in this process close meanwhile leaves no room either.
            resource.setrlimit(resource.RLIMIT_NOFILE, (0, limit[1]))
            for _ in range(3):
                with pytest.raises(OSError, match="Too many open files"):
                    listeners.accept(server)
                assert not selector.select(0)  # it isn't asked for meanwhile
                assert listeners.resume() is not None
            resource.setrlimit(resource.RLIMIT_NOFILE, limit)
            until(lambda: listeners.resume() is None, "it has rested")
            assert selector.select(20)
            connection = listeners.accept(server)
            assert connection is not None
            connection.close()
            assert listeners.accept(server) is None
    said = "test: can't take connections: Too many open files; raise LimitNOFILE="
    assert [record.getMessage() for record in caplog.records] == [said]
