"""What a broker sends, of any bytes and in any pieces; what a worker sends, of any topics and text.

Two data planes read the same bytes: ours, and paho's parser. What paho takes, ours takes alike;
where paho gives up a connection, ours may know that a message alone is to blame.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import closing, suppress
from typing import Any

from support.held import held_bytes
from support.stub import publish, suback

from fuzz.target import Cursor, Target
from pyboot_svc.config import Broker
from pyboot_svc.worker.messages import MessageBatch, Sendable
from pyboot_svc.worker.mqtt.interfaces import BrokerLimits, Session
from pyboot_svc.worker.mqtt.link.paho_client import ControlClient
from pyboot_svc.worker.mqtt.link.websocket_frames import FrameReader
from pyboot_svc.worker.mqtt.refusal.refusals import Refusal
from pyboot_svc.worker.mqtt.wire.bulk_plane import BulkPlane
from pyboot_svc.worker.mqtt.wire.decoder import Arrivals, Decoder
from pyboot_svc.worker.mqtt.wire.encoder import PublishEncoder, encode_user_properties
from pyboot_svc.worker.mqtt.wire.errors import Broken, Malformed
from pyboot_svc.worker.mqtt.wire.plain_plane import PlainPlane

MOST = 300
PIECES = (1, 2, 3, 7, 64, 4096)
# What a decoder holds, beside what it was fed; and of each byte that it gives on.
BESIDE, PER_BYTE = 8192, 400
# Of a length that can't be: paho takes its word for it, and waits for more.
SOONER = ("that is no message", "has more than four bytes")
# Topic, payload and number of a message, and what is wrong with it.
Seen = tuple[str, bytes, int, str]


def decode(data: bytes) -> None:
    """Whole, in pieces of one size, and byte by byte: the same; memory is bounded meanwhile."""
    source = Cursor(data)
    v5, piece = bool(source.number() % 2), source.choice(PIECES)
    stream = source.rest()
    whole = _decoded(v5, stream, len(stream) or 1)
    assert _decoded(v5, stream, piece) == whole
    assert _decoded(v5, stream, 1) == whole


def _decoded(v5: bool, stream: bytes, piece: int) -> list[object]:
    decoder = Decoder(v5, MOST)
    messages: list[Seen] = []
    others: list[list[Any]] = [[], [], [], [], []]
    broken = False
    for at in range(0, len(stream), piece):
        arrivals = decoder.feed(stream[at : at + piece])
        if piece > 1:  # it takes a while
            assert held_bytes(arrivals) <= BESIDE + PER_BYTE * min(len(stream), at + piece)
        messages += _seen(arrivals.topics, arrivals.payloads, arrivals.packet_ids, arrivals.invalid)
        found: tuple[list[Any], ...] = (arrivals.settled, arrivals.refused, arrivals.others)
        found = (*found, arrivals.exact, arrivals.released)
        for known, more in zip(others, found, strict=True):
            known += more
        if arrivals.broken is not None:
            assert isinstance(arrivals.broken, Malformed), repr(arrivals.broken)
            broken = True
            break
    assert held_bytes(decoder) <= BESIDE + PER_BYTE * len(stream)
    return [messages, *others, broken]


def _seen(topics: Any, payloads: Any, packet_ids: Any, invalid: Any) -> list[Seen]:
    wrong = [
        str(invalid[at].fault) if invalid and at in invalid else "" for at in range(len(topics))
    ]
    return list(zip(topics, payloads, packet_ids, wrong, strict=True))


class Owner:
    """Of a client and of its plane."""

    def __init__(self) -> None:
        self.messages: list[Seen] = []
        self.told: list[object] = []
        self.ended = ""

    def on_messages(self, batch: MessageBatch) -> None:
        columns = batch.topics, batch.payloads, batch.packet_ids
        self.messages += _seen(*columns, batch.particulars.invalid)

    def on_published(self, safe: list[Sendable], refused: list[tuple[Sendable, Refusal]]) -> None:
        raise AssertionError("nothing was published")

    def on_connected(self, session_present: bool, limits: BrokerLimits) -> None:
        self.told.append(("connected", session_present, limits))

    def on_subscribed(self, topic_filter: str, code: int, reason: str) -> None:
        self.told.append(("subscribed", code))

    def on_unsubscribed(self) -> None:
        self.told.append("unsubscribed")

    def on_ended(self, reason: str, *, taken_over: bool = False, refused: bool = False) -> None:
        assert "\n" not in reason
        self.ended = reason


def compare(data: bytes) -> None:
    """Messages and packets of control, as either plane tells of them."""
    source = Cursor(data)
    protocol = source.choice(("5", "3.1.1"))
    stream = source.rest()[:4096]
    ours, broken = _read(BulkPlane, protocol, stream)
    pahos, gave_up = _read(PlainPlane, protocol, stream)
    if any(reason in broken for reason in SOONER):
        return
    if not gave_up:
        assert (ours.messages, broken) == (pahos.messages, "")
        assert ours.told == pahos.told
    else:
        assert ours.messages[: len(pahos.messages)] == pahos.messages


def _read(plane: Callable[..., Any], protocol: str, stream: bytes) -> tuple[Owner, str]:
    """All of it, to its end; and what ended the connection, if it did."""
    owner = Owner()
    broker = Broker("localhost", protocol=protocol)
    client = ControlClient("pre", broker, Session("me", False, 100, MOST), owner)
    here, there = socket.socketpair()
    with closing(here), closing(there):
        here.setblocking(False)
        client.use_socket(here)
        reader = plane(client, here, 1, owner)
        client.subscribe("t/in", 1)
        there.sendall(stream)
        try:
            while not owner.ended and _has_more(here):
                reader.read()
        except Broken as error:
            return owner, f"broken: {error.__cause__}"
    return owner, owner.ended


def _has_more(sock: socket.socket) -> bool:
    with suppress(BlockingIOError):
        return bool(sock.recv(1, socket.MSG_PEEK))
    return False


def encode(data: bytes) -> None:
    """What is written is read alike by our decoder and by paho's parser."""
    source = Cursor(data)
    v5, qos, retain, count = (source.number() % size for size in (2, 2, 2, 5))
    topic = source.take(source.number()).decode(errors="ignore")
    name = "".join(letter for letter in topic if letter not in "\0+#") or "t"
    user = source.take(source.number()).decode(errors="ignore").replace("\0", "")
    payloads = [source.take(source.number()) for _ in range(count)]
    properties = encode_user_properties({"id": user}, b"") if v5 else b""
    encoder = PublishEncoder(name, qos, properties, retain=bool(retain))
    numbers = list(range(1, count + 1)) if qos else []
    stream = b"".join(encoder.encode(payloads, numbers))
    expected = [(name, payload, qos and at, "") for at, payload in enumerate(payloads, 1)]
    arrivals: Arrivals = Decoder(bool(v5), MOST).feed(stream)
    assert arrivals.broken is None
    columns = arrivals.topics, arrivals.payloads, arrivals.packet_ids, arrivals.invalid
    assert _seen(*columns) == expected
    pahos, gave_up = _read(PlainPlane, "5" if v5 else "3.1.1", stream)
    assert (pahos.messages, gave_up) == (expected, "")


class Pieces:
    """A socket that has an input, in pieces."""

    def __init__(self, data: bytes, piece: int) -> None:
        self._data = data
        self._piece = piece

    def recv(self, size: int) -> bytes:
        size = min(size, self._piece)
        found, self._data = self._data[:size], self._data[size:]
        return found

    def pending(self) -> int:
        return 0


def read_frames(data: bytes) -> None:
    """WebSocket frames: the same whatever the pieces, and no other error than its own."""
    source = Cursor(data)
    piece, stream = source.choice(PIECES), source.rest()
    assert _framed(stream, piece) == _framed(stream, len(stream) or 1)


def _framed(stream: bytes, piece: int) -> tuple[bytes, list[tuple[int, bytes]]]:
    answered: list[tuple[int, bytes]] = []
    reader = FrameReader(Pieces(stream, piece), lambda *answer: answered.append(answer))
    found = b""
    with suppress(ConnectionError):
        while part := reader.recv(100):
            found += part
        # Of a connection that is refused, how far it was read depends on the pieces.
        return found, answered
    return b"", []


CONNACKS = {True: b"\x20\x09\x00\x00\x06\x21\x00\x0a\x24\x01\x25", False: b"\x20\x02\x00\x00"}


def _streams() -> list[tuple[bool, bytes]]:
    found = []
    for v5 in (True, False):
        one = publish("t/in", b"12", 1, 7, v5=v5)
        others = CONNACKS[v5] + suback(1, 1, v5=v5) + b"\xd0\x00\x40\x02\x00\x05\x62\x02\x00\x09"
        found.append((v5, others + publish("t", b"", v5=v5, flags=1) + one * 20))
        found.append((v5, one * 40 + publish(b"\xff", b"x" * 400, 2, 9, v5=v5, flags=8) + one))
    found.append((True, b"\x30\x11\x00\x01t\x0b\x26\x00\x01k\x00\x01v\x01\x01\x23\x00\x01abc"))
    found.append((True, b"\xe0\x02\x8e\x00"))
    return found


TOKENS = [
    *(b"\x30", b"\x31", b"\x32", b"\x34", b"\x3a", b"\x36", b"\x40\x02\x00\x01", b"\x40\x03"),
    *(b"\x50\x02\x00\x01", b"\x62\x02\x00\x01", b"\x70\x02\x00\x01", b"\x90\x04", b"\xb0\x04"),
    *(b"\x20\x03", b"\xe0\x00", b"\xd0\x00", b"\xc0\x00", b"\x82", b"\xf0\x00", b"\x00\x00"),
    *(b"\xff\xff\xff\x7f", b"\x80\x80\x80\x00", b"\xff\xff\xff\xff\xff", b"\x80\x01", b"+", b"#"),
    *(b"\xc0\x80", b"\xed\xa0\x80", b"\x26\x00\x01k\x00\x01v", b"\x0b\x01", b"\x01\x01", b"\x23"),
    *(publish("t/in", b"12", 1, 7), publish("t", b"1", v5=False), publish("t", b"y" * 400)),
]

TARGETS = [
    Target(
        "decoder",
        decode,
        [bytes([v5, number]) + stream for v5, stream in _streams() for number in (0, 4)],
        TOKENS,
        500,
    ),
    Target(
        "planes",
        compare,
        [bytes([not v5]) + stream for v5, stream in _streams()],
        TOKENS,
        1500,
    ),
    Target(
        "encoder",
        encode,
        [
            b"\1\1\1\3\4t/in\2id\3abc\0\0\4wxyz",
            b"\0\0\0\4\x06\xe6\xb8\xa9/x\0\x01a\x02bc\xff" + b"z" * 255,
        ],
        [b"\xff", b"\x7f", b"\x80", "温".encode(), b"\0"],
        500,
    ),
    Target(
        "websocket",
        read_frames,
        [
            b"\2\x82\x03abc\x02\x7e\x00\x80" + b"x" * 128 + b"\x89\x02hi\x80\x00\x88\x02\x03\xe8",
            b"\4\x82\x7f\0\0\0\0\0\0\x08\0" + b"y" * 2048 + b"\x8a\x00",
        ],
        [b"\x82\x7e\xff\xff", b"\x82\x7f" + b"\xff" * 8, b"\x89\x7d", b"\x82\x81", b"\x88\x00"],
        500,
    ),
]
