"""A broker that sends whatever it likes: the worker lives, and works once the broker behaves."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice

import pytest
from fuzz.mutation import Mutator
from support.poll import until
from support.stub import PUBLISH, StubBroker, puback, publish, suback
from support.workers import Workers

MODELS = """
def same(payload):
    return payload
"""
HOSTILE = 3
MOST_MEMORY, MOST_LOG = 200 * 1024**2, 100_000
GOOD = [publish("t/in", b"1", 1, 7) * 50, publish("t/in", bytes(3000)), puback(3) * 9, suback(9)]
TOKENS = [
    b"\x30",
    b"\xe0\x00",
    b"\x40\x02\xff\xff",
    b"\xff\xff\xff\x7f",
    publish("t" * 65_000, b""),
]


@pytest.mark.parametrize("seed", range(2))
def test_whatever_it_sends_the_worker_works_when_it_behaves(
    run: Callable[..., Workers], seed: int
) -> None:
    inputs = Mutator(GOOD, TOKENS, seed).inputs()
    sent = 0

    def subscribed(packet: object) -> bytes:
        nonlocal sent
        sent += 1
        more = b"" if sent > HOSTILE else b"".join(islice(inputs, 200)) + b"\xf0\xff\xff\xff\xff"
        return suback(1) + more

    with StubBroker(subscribe=subscribed) as stub:
        app = run(stub.port, ready=False)
        until(lambda: sent > HOSTILE, "the last connection", 60)
        app.wait_ready()
        connection = stub.of_kind(8)[-1].connection
        stub.send(publish("t/in", b"4711", 1, 11), connection)
        until(
            lambda: any(one.rest.endswith(b"4711") for one in stub.of_kind(PUBLISH)), "its result"
        )
        assert app.instance("m-1")["rss_bytes"] < MOST_MEMORY
        assert len(app.log) < MOST_LOG
