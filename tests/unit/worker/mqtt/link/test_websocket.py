"""The handshake of a WebSocket: what is asked, and which answers are taken."""

from __future__ import annotations

import base64
import hashlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyboot_svc.worker.mqtt.link.opening import NoWebSocket
from pyboot_svc.worker.mqtt.link.websocket import Place, shake_hands

SWITCHING = "HTTP/1.1 101 Switching Protocols"
UPGRADE = "Upgrade: websocket"
CONNECTION = "Connection: Upgrade"
ACCEPT = "Sec-WebSocket-Accept: PROOF"


class Peer:
    """A socket with a server behind it: `PROOF` in its answer becomes what it has to be.

    It takes `most` bytes at once; `rest` is what was not read of it.
    """

    def __init__(
        self, *lines: str, end: str = "\r\n", behind: bytes = b"", most: int = 4096
    ) -> None:
        self.request = b""
        self.rest = "".join(f"{line}{end}" for line in (*lines, "")).encode("latin-1") + behind
        self._most = most

    def send(self, data: bytes) -> int:
        self.request += data[: self._most]
        return min(len(data), self._most)

    def recv(self, size: int) -> bytes:
        key = re.search(rb"\r\nSec-WebSocket-Key: (\S+)\r\n", self.request)
        assert key
        digest = hashlib.sha1(key[1] + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
        self.rest = self.rest.replace(b"PROOF", base64.b64encode(digest))
        piece, self.rest = self.rest[:size], self.rest[size:]
        return piece


def shake(peer: Peer) -> None:
    shake_hands(peer, Place("plant.example", 9001, "/mqtt", secure=False))


@pytest.mark.parametrize(
    "lines",
    [
        (SWITCHING, UPGRADE, CONNECTION, ACCEPT),
        (SWITCHING, UPGRADE, CONNECTION, "Sec-WebSocket-Accept:PROOF"),
        (SWITCHING, UPGRADE, CONNECTION, "SEC-WEBSOCKET-ACCEPT:\t PROOF \t"),
        (SWITCHING, UPGRADE, "connection:keep-alive,UPGRADE", ACCEPT),
        (SWITCHING, UPGRADE, "Connection: keep-alive", CONNECTION, ACCEPT),
        (SWITCHING, "X-Connection-Id: abc", UPGRADE, CONNECTION, ACCEPT),
        (SWITCHING, "Proxy-Connection: keep-alive", UPGRADE, CONNECTION, ACCEPT),
        (
            SWITCHING,
            *(UPGRADE, CONNECTION, ACCEPT),
            "Access-Control-Expose-Headers: Sec-WebSocket-Accept",
        ),
        ("HTTP/1.1 101", UPGRADE, CONNECTION, ACCEPT),
        (SWITCHING, "Via: \x85\xff", "no header", UPGRADE, CONNECTION, ACCEPT),
    ],
)
def test_answers_that_open_it(lines: tuple[str, ...]) -> None:
    for end in ("\r\n", "\n"):
        peer = Peer(*lines, end=end, behind=b"\x89\x00")
        shake(peer)
        assert peer.rest == b"\x89\x00", "it is of the first frame"


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        (("HTTP/1.1 302 Found", "Location: /login"), " (HTTP status 302)"),
        (("HTTP/1.1 401 Unauthorized",), " (HTTP status 401)"),
        (("HTTP/1.0 503",), " (HTTP status 503)"),
        (("HTTP/1.1 200 OK", UPGRADE, CONNECTION, ACCEPT), " (HTTP status 200)"),
        ((SWITCHING, UPGRADE, ACCEPT), ""),
        ((SWITCHING, UPGRADE, CONNECTION), ""),
        ((SWITCHING, UPGRADE, "Connection: no-upgrade", ACCEPT), ""),
        ((SWITCHING, UPGRADE, "X-Connection: Upgrade", ACCEPT), ""),
        ((SWITCHING, UPGRADE, CONNECTION, "Sec-WebSocket-Accept: AAAA"), ""),
        (("220 mail.example ESMTP",), ""),
        (("",), ""),
    ],
)
def test_answers_that_open_none(lines: tuple[str, ...], status: str) -> None:
    with pytest.raises(NoWebSocket) as caught:
        shake(Peer(*lines))
    assert str(caught.value).startswith(f"no WebSocket was opened{status}: does this port ")


def test_an_answer_has_an_end() -> None:
    peer = Peer(SWITCHING, *["X: y"] * 10_000)
    with pytest.raises(NoWebSocket):
        shake(peer)
    assert len(peer.rest) > 40_000


@given(st.text(st.sampled_from("HTP/1. 01\r\n:,Connectiupgrade-Accept\x00\xff")))
def test_any_other_answer_opens_none(answer: str) -> None:
    with pytest.raises(NoWebSocket):
        shake(Peer(answer))


def test_one_who_resets_the_connection_opens_none() -> None:
    class Resetting(Peer):
        def recv(self, size: int) -> bytes:
            raise ConnectionResetError

    with pytest.raises(NoWebSocket):
        shake(Resetting())


@pytest.mark.parametrize(
    ("host", "port", "secure", "authority", "origin"),
    [
        ("plant.example", 9001, False, "plant.example:9001", "http://plant.example:9001"),
        ("plant.example", 80, False, "plant.example", "http://plant.example"),
        ("plant.example", 80, True, "plant.example:80", "https://plant.example:80"),
        ("10.0.0.1", 443, True, "10.0.0.1", "https://10.0.0.1"),
        ("::1", 43771, False, "[::1]:43771", "http://[::1]:43771"),
        ("2001:db8::443", 443, True, "[2001:db8::443]", "https://[2001:db8::443]"),
        ("fe80::1%eth0", 9001, False, "[fe80::1]:9001", "http://[fe80::1]:9001"),
    ],
)
def test_what_is_asked(host: str, port: int, secure: bool, authority: str, origin: str) -> None:
    peer = Peer(SWITCHING, UPGRADE, CONNECTION, ACCEPT, most=10)
    shake_hands(peer, Place(host, port, "/mqtt?a=b", secure))
    first, *fields = peer.request.decode().removesuffix("\r\n\r\n").split("\r\n")
    assert first == "GET /mqtt?a=b HTTP/1.1"
    told = dict(field.split(": ", 1) for field in fields)
    assert len(base64.b64decode(told.pop("Sec-WebSocket-Key"))) == 16
    assert told == {
        "Host": authority,
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Origin": origin,
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Protocol": "mqtt",
    }
