"""Requests of any bytes, to a worker's probes and to the web: whoever asks next is answered."""

from __future__ import annotations

import http.client
import socket
from contextlib import closing, suppress
from functools import cache, partial
from pathlib import Path
from tempfile import mkdtemp

from support.broker import free_port
from support.poll import until

from fuzz.target import Target
from fuzz.targets.snapshots import CONFIG, WELL
from pyboot_svc.address import Address
from pyboot_svc.config import WebAddress
from pyboot_svc.health.probes import ProbeServer
from pyboot_svc.health.record import Health
from pyboot_svc.master.hub import Hub
from pyboot_svc.master.view import View
from pyboot_svc.metrics.reporter import Reporter
from pyboot_svc.services.base import NoServices
from pyboot_svc.sockets.unix import open_listener
from pyboot_svc.web.server import WebServer

# What says that the server is at fault, and not the request.
FAULTS = (500, 502, 504)


@cache
def probes() -> Address:
    address = ("127.0.0.1", free_port())
    ProbeServer(address, lambda: Health("a-1", alive=True))
    return address


@cache
def web() -> Address:
    """With all its workers, which are ready."""
    identities = [instance.identity for instance in CONFIG.instances()]
    path = Path(mkdtemp()) / "metrics.sock"
    hub = Hub([open_listener(path)], identities)
    hub.start()
    view = View(CONFIG, hub, NoServices(), identities)
    for identity in identities:
        Reporter(path, str(identity), lambda: WELL).start()
    until(lambda: not view.readiness()[0], "the workers")
    server = WebServer(WebAddress("127.0.0.1", 0), view)
    address = server.bind()
    server.start()
    return address.host, address.port


def ask(which: str, data: bytes) -> None:
    address = probes() if which == "probes" else web()
    with closing(socket.create_connection(address, 20)) as peer, suppress(ConnectionError):
        peer.sendall(data)
        peer.shutdown(socket.SHUT_WR)
        answer = b""
        while part := peer.recv(65_536):
            answer += part
        _check(answer)
    asking = http.client.HTTPConnection(*address, timeout=20)
    with closing(asking):
        asking.request("GET", "/healthz")
        assert asking.getresponse().status == 200


def _check(answer: bytes) -> None:
    """At most one, whole, and none that says that the server is at fault."""
    if not answer:
        return
    head, end, body = answer.partition(b"\r\n\r\n")
    version, code, *_ = head.split(b" ", 2)
    assert (version, end) == (b"HTTP/1.1", b"\r\n\r\n")
    assert int(code) not in FAULTS
    lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    assert lengths in ([], [b"content-length: %d" % len(body)]) or not body
    assert not any(word in body for word in (b"Traceback", b"CherryPy", b"cheroot"))
    if b"text/html" in head:
        assert b"Content-Security-Policy" in head


def requests(*paths: str) -> list[bytes]:
    heads = [
        "GET {} HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: */*\r\n\r\n",
        "HEAD {} HTTP/1.0\r\n\r\n",
        "POST {} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc",
    ]
    return [head.format(path).encode() for head in heads for path in paths]


TOKENS = [
    *(
        b"\r\n",
        b"\n",
        b"\r",
        b"\0",
        b" ",
        b"\t",
        b"\x7f",
        b"\xff",
        b"%00",
        b"%ff",
        b"%2e%2e%2f",
        b"?a=b",
    ),
    *(
        b"/../",
        b"//",
        b"*",
        b"http://x/",
        b"HTTP/9.9",
        b"HTTP/0.9",
        b"OPTIONS",
        b"TRACE",
        b"CONNECT",
    ),
    *(
        b"Host: evil\r\n",
        b"Host: 127.0.0.1\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Range: bytes=0-\r\n",
    ),
    *(b"Content-Length: -1\r\n", b"Content-Length: 99999999999\r\n", b"Expect: 100-continue\r\n"),
    *(
        b"Connection: keep-alive\r\n",
        b"Upgrade: h2c\r\n",
        b"Authorization: Basic !!\r\n",
        b"a" * 20_000,
    ),
    *(
        b'Cookie: a="\\377; b\r\n',
        b"Cookie: a b c=1; @=2; expires=x\r\n",
        b"Content-Type: multipart/form-data\r\n",
        b" folded\r\n",
        b": x\r\n",
    ),
]
TARGETS = [
    Target("probes", partial(ask, "probes"), requests("/healthz", "/readyz", "/x?y"), TOKENS, 200),
    Target(
        "web",
        partial(ask, "web"),
        requests("/", "/metrics", "/api/instances", "/queue_size_metrics", "/readyz", "/nowhere"),
        TOKENS,
        300,
    ),
]
