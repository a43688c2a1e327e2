"""A worker's health over HTTP, for whoever can't ask at its health socket, as Kubernetes' probes.

One request at a time, each with a deadline, from a thread of its own: enough for a few probes every
few seconds, and it costs a worker next to nothing.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from pyboot_svc.address import Address
from pyboot_svc.health.record import Health
from pyboot_svc.sockets.lines import encode_line
from pyboot_svc.sockets.tcp import listen_tcp
from pyboot_svc.sockets.unix import answer_each
from pyboot_svc.threads import spawn

# Which sign of health stands at which path.
SIGNS: Mapping[str, Callable[[Health], bool]] = {
    "/startz": lambda health: health.loaded,
    "/readyz": lambda health: health.ready,
    "/healthz": lambda health: health.alive,
}
_REQUEST_SECONDS = 1.0
_LONGEST_REQUEST = 8 * 1024


class ProbeServer:
    """Answers 200 when the sign is there, else 503; the body is all that `judge` gives."""

    def __init__(self, address: Address, judge: Callable[[], Health]) -> None:
        """Listens from now on; raises UnavailableError when that can't be done."""
        self._judge = judge
        listener = listen_tcp(address, "--probes-listen")
        spawn("probes", partial(answer_each, listener, self._serve))

    def _serve(self, connection: socket.socket) -> None:
        request = _read_request(connection)
        head, body = self._answer(request)
        connection.sendall(head if request.startswith(b"HEAD ") else head + body)

    def _answer(self, request: bytes) -> tuple[bytes, bytes]:
        method, _, rest = request.partition(b" ")
        path = rest.partition(b" ")[0].partition(b"?")[0].decode("latin-1")
        if method not in (b"GET", b"HEAD"):
            return _response("405 Method Not Allowed", {"error": "only GET and HEAD"})
        if path not in SIGNS:
            return _response("404 Not Found", {"error": f"there are {', '.join(SIGNS)}"})
        health = self._judge()
        well = SIGNS[path](health)
        return _response("200 OK" if well else "503 Service Unavailable", health.document())


def _read_request(connection: socket.socket) -> bytes:
    """The request's head; raises OSError when it isn't there in time, or is none."""
    deadline = time.monotonic() + _REQUEST_SECONDS
    head = b""
    while b"\r\n\r\n" not in head:
        connection.settimeout(max(deadline - time.monotonic(), 0.001))
        data = connection.recv(_LONGEST_REQUEST)
        head += data
        if not data or len(head) > _LONGEST_REQUEST or time.monotonic() > deadline:
            raise OSError("no request")
    return head


def _response(status: str, document: Mapping[str, Any]) -> tuple[bytes, bytes]:
    """Head and body."""
    body = encode_line(document)
    head = (
        f"HTTP/1.1 {status}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        "Cache-Control: no-store",
        "Connection: close",
    )
    return "\r\n".join([*head, "", ""]).encode(), body
