"""What a worker says to the master, of any bytes: figures that all can show, or none.

The master's hub is a real one, at a real socket: whoever talks nonsense there harms nobody else.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, suppress
from functools import cache
from pathlib import Path
from select import select
from tempfile import mkdtemp
from typing import Any

from support.poll import until
from support.snapshots import process, traffic

from fuzz.target import Target
from pyboot_svc.cli.table import table_lines
from pyboot_svc.config import Broker, Config, Edge, Endpoint
from pyboot_svc.health.record import Health, read_health
from pyboot_svc.master.hub import Hub
from pyboot_svc.master.view import View
from pyboot_svc.metrics.protocol import ASK
from pyboot_svc.metrics.reporter import Reporter
from pyboot_svc.metrics.snapshot import Latency, Snapshot
from pyboot_svc.services.base import NoServices
from pyboot_svc.sockets.lines import decode_line, encode_line
from pyboot_svc.sockets.unix import open_listener
from pyboot_svc.web.page import render_page
from pyboot_svc.web.prometheus import render_metrics

SOMEWHERE = Endpoint(Broker("10.0.0.1"), "t")
CONFIG = Config(
    edges=tuple(Edge(name, "m.f", SOMEWHERE, SOMEWHERE) for name in ("good", "bad")),
    app_name="a",
    description="",
)
WELL = Snapshot(process(instance="good-1"), traffic()).document()
HELLO = encode_line({"instance": "bad-1", "pid": os.getpid(), "version": "1"})


class Master:
    """A hub with a worker that is well, and whatever else connects."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "metrics.sock"
        identities = [instance.identity for instance in CONFIG.instances()]
        hub = Hub([open_listener(self._path)], identities)
        hub.start()
        self._view = View(CONFIG, hub, NoServices(), identities)
        self._pool = ThreadPoolExecutor(1)
        Reporter(self._path, "good-1", lambda: WELL).start()
        until(lambda: self.shows_well(self._view.instances()), "a worker")

    def hear(self, said: bytes, answer: bytes | None = None) -> dict[str, Any]:
        """Of whoever says this, and answers that when it is asked: what the master shows then."""
        with closing(socket.socket(socket.AF_UNIX)) as peer:
            peer.settimeout(20)
            peer.connect(str(self._path))
            with suppress(ConnectionError):  # it may hang up at the first words
                peer.sendall(said)
                if answer is not None:
                    shown = self._ask(peer)
                    peer.sendall(answer)
                    return shown.result(20)
        return self._view.instances()

    def _ask(self, peer: socket.socket) -> Future[dict[str, Any]]:
        """Until it is asked: it may have been too late for the question before."""
        while True:
            shown = self._pool.submit(self._view.instances)
            while not shown.done():
                if select([peer], [], [], 0.01)[0]:
                    assert peer.recv(len(ASK)) == ASK
                    return shown

    @staticmethod
    def shows_well(document: dict[str, Any]) -> bool:
        return any(
            row["instance"] == "good-1" and row["state"] == "ready" for row in document["instances"]
        )


@cache
def master() -> Master:
    return Master(Path(mkdtemp()))


def report(data: bytes) -> None:
    answer = data.replace(b"\n", b" ") + b"\n"
    _check(master().hear(HELLO, answer))


def greet(data: bytes) -> None:
    _check(master().hear(data))


def _check(document: dict[str, Any]) -> None:
    """All who show it can."""
    assert Master.shows_well(document)
    json.dumps(document, allow_nan=False).encode()
    page = render_page(document)
    own = render_page({**document, "instances": []}).count("<script")
    assert page.count("<script") == own  # the page's own
    page.encode()
    render_metrics(document)
    lines: Sequence[str] = table_lines(document["instances"], 200)
    assert len(lines) > len(document["instances"])
    assert all(line.isprintable() for line in lines)


def tell_health(data: bytes) -> None:
    with suppress(ValueError):
        health = read_health(decode_line(data))
        assert read_health(health.document()) == health


REPORT = Snapshot(
    process(reasons=["no broker"], notices=["QoS 0"]),
    traffic(errors={"model": 1}, latency_ms=Latency(1.5, 20)),
).document()
TOKENS = [
    *(
        b"1e999",
        b"NaN",
        b"-1",
        b"1" * 5000,
        b"1" * 400,
        b'"\\ud800"',
        b"null",
        b"[]",
        b"{}",
        b"true",
    ),
    *(b'"<script>"', b'"\\u001b[2J"', b'"\\u202e"', b'"x"', b"0.1", b"[" * 3000, b"\n", b"\xff"),
    *(b'"instance":', b'"pre_queue":', b'"post_queue":', b'"error":', b'"state":"ready"', b","),
]

TARGETS = [
    Target("reports", report, [json.dumps(one).encode() for one in (REPORT, WELL)], TOKENS, 500),
    Target(
        "hellos",
        greet,
        [HELLO, encode_line({"instance": "stranger-1", "pid": 1}), HELLO * 2],
        [*TOKENS, b"x" * 5000, b'"good-1"', b'"pid":'],
        300,
    ),
    Target(
        "health",
        tell_health,
        [encode_line(Health("a-1", alive=True, reasons=("why",), notices=("n",)).document())],
        TOKENS,
        1000,
    ),
]
