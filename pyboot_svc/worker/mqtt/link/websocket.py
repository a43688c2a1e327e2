"""Opens a WebSocket on a connection (RFC 6455, section 4), and is a socket to those that use it.

paho's own handshake looks for words anywhere in a line of the answer: with a proxy's header
`X-Connection-Id`, or without a blank behind the colon, a valid answer was none. It doesn't look at
the status, and sends an address of IPv6 as no server may read it.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from pyboot_svc.address import format_address
from pyboot_svc.worker.mqtt.link.opening import NoWebSocket
from pyboot_svc.worker.mqtt.link.websocket_frames import FrameReader, FrameWriter

_SWITCHING_PROTOCOLS = "101"
_STATUS = re.compile(r"HTTP/1\.\d ([1-5]\d\d)\b")
_ENDS = (b"\n\r\n", b"\n\n")
_LONGEST_ANSWER = 16 * 1024
# What proves that the answer is one to a WebSocket's request: section 1.3.
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class Place(NamedTuple):
    """Where a WebSocket is to be opened."""

    host: str
    port: int
    path: str
    secure: bool


class WebSocket:
    """Has what paho and the planes use of a socket, and puts what goes through it into frames."""

    def __init__(self, sock: Any) -> None:
        writer = FrameWriter(sock)
        reader = FrameReader(sock, writer.answer)
        self.send, self.recv, self.pending = writer.send, reader.recv, reader.pending
        self.fileno, self.close, self.setblocking = sock.fileno, sock.close, sock.setblocking


def shake_hands(sock: Any, place: Place) -> None:
    """Raises NoWebSocket, and what the socket raises."""
    key = base64.b64encode(os.urandom(16))
    request = _request(place, key.decode())
    while request:
        request = request[sock.send(request) :]
    _check(_answer(sock).decode("latin-1"), key)


def _check(answer: str, key: bytes) -> None:
    first, *lines = answer.split("\n")
    status = _STATUS.match(first)
    if status is None or status[1] != _SWITCHING_PROTOCOLS:
        raise NoWebSocket(status[1] if status else "")
    proof = base64.b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest())
    upgraded = "upgrade" in map(str.lower, _values(lines, "connection"))
    if not upgraded or proof.decode() not in _values(lines, "sec-websocket-accept"):
        raise NoWebSocket


def _request(place: Place, key: str) -> bytes:
    scheme, usual_port = ("https", 443) if place.secure else ("http", 80)
    # The zone of an address, as in fe80::1%eth0, means something to this host alone.
    host = place.host.partition("%")[0]
    authority = format_address(host, place.port).removesuffix(f":{usual_port}")
    lines = (
        f"GET {place.path} HTTP/1.1",
        f"Host: {authority}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Origin: {scheme}://{authority}",
        f"Sec-WebSocket-Key: {key}",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Protocol: mqtt",
    )
    return "".join(f"{line}\r\n" for line in (*lines, "")).encode()


def _answer(sock: Any) -> bytes:
    """Up to its blank line, byte by byte: what is behind that is of the first frame."""
    answer = bytearray()
    while not answer.endswith(_ENDS):
        try:
            byte = sock.recv(1)
        except ConnectionResetError:
            byte = b""
        if not byte or len(answer) >= _LONGEST_ANSWER:
            raise NoWebSocket
        answer += byte
    return bytes(answer)


def _values(lines: list[str], wanted: str) -> Iterator[str]:
    """What a header lists, which may be spread over several lines of the same name."""
    for line in lines:
        name, _, value = line.partition(":")
        if name.strip().lower() == wanted:
            yield from (part.strip() for part in value.split(","))
