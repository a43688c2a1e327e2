"""WebSocket frames, however they are cut; the test is the socket below."""

from __future__ import annotations

import struct
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.held import held_bytes

from pyboot_svc.worker.mqtt.link.websocket_frames import FrameReader

BINARY, CLOSE, PING, PONG = 2, 8, 9, 10


def frame(payload: bytes, opcode: int = BINARY, final: bool = True, mask: int = 0) -> bytes:
    head = bytes((opcode | (0x80 if final else 0),))
    size = len(payload)
    if size < 126:
        return head + bytes((size | mask,)) + payload
    if size < 65_536:
        return head + struct.pack(">BH", 126 | mask, size) + payload
    return head + struct.pack(">BQ", 127 | mask, size) + payload


class Pieces:
    """A socket that gives what it has in these pieces, and would block between them."""

    def __init__(self, data: bytes, cuts: list[int]) -> None:
        places = [0, *sorted({cut % (len(data) + 1) for cut in cuts}), len(data)]
        self._pieces = [data[start:end] for start, end in pairwise(places) if start < end]
        self._ready = False

    def recv(self, size: int) -> bytes:
        self._ready = not self._ready
        if not self._ready:
            raise BlockingIOError
        if not self._pieces:
            return b""
        piece = self._pieces.pop(0)
        if len(piece) > size:
            self._pieces.insert(0, piece[size:])
        return piece[:size]

    def pending(self) -> int:
        return 0


def read_all(reader: FrameReader, size: int) -> bytes:
    """To the end; what `pending` says has to be true."""
    found = b""
    while True:
        told = reader.pending()
        try:
            data = reader.recv(size)
        except BlockingIOError:
            assert reader.pending() == 0  # else it would be asked again and again
            continue
        if not data:
            return found
        assert len(data) <= size
        found += data
        assert told >= 0


SIZES = st.sampled_from([0, 1, 2, 125, 126, 127, 65_535, 65_536, 200_000]) | st.integers(0, 300)
FRAMES = st.tuples(st.just(BINARY) | st.just(0), SIZES, st.booleans()) | st.tuples(
    st.sampled_from([PING, PONG]), st.integers(0, 125), st.just(True)
)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(FRAMES, max_size=12),
    st.lists(st.integers(0, 1_000_000), max_size=12),
    st.sampled_from([1, 7, 1000, 65_536]),
)
def test_what_frames_carry_however_they_are_cut(
    frames: list[tuple[int, int, bool]], cuts: list[int], size: int
) -> None:
    data = expected = b""
    pings = []
    for number, (opcode, length, final) in enumerate(frames):
        if size == 1 and length > 1000:
            length = 1000
        payload = bytes((number,)) * length
        data += frame(payload, opcode, final)
        if opcode in (BINARY, 0):
            expected += payload
        elif opcode == PING:
            pings.append((PONG, payload))
    answered: list[tuple[int, bytes]] = []
    reader = FrameReader(Pieces(data, cuts), lambda opcode, sent: answered.append((opcode, sent)))
    assert read_all(reader, size) == expected
    assert answered == pings


def test_a_huge_frame_is_not_collected() -> None:
    data = frame(bytes(10_000_000))
    pieces = Pieces(data, [])
    reader = FrameReader(pieces, lambda opcode, payload: None)
    came = 0
    while came < 10_000_000:
        try:
            came += len(reader.recv(65_536))
        except BlockingIOError:
            continue
        assert held_bytes(reader, pieces) <= 2 * 65_536 + 1024


def test_what_waits_is_told() -> None:
    reader = FrameReader(Pieces(frame(b"one") + frame(b"two"), []), lambda opcode, payload: None)
    assert reader.recv(3) == b"one"
    assert reader.pending() > 0
    assert reader.recv(100) == b"two"
    assert reader.pending() == 0


def test_the_end_is_answered() -> None:
    answered: list[tuple[int, bytes]] = []
    data = frame(b"x") + frame(b"\x03\xe8", CLOSE) + frame(b"y")
    reader = FrameReader(Pieces(data, []), lambda opcode, sent: answered.append((opcode, sent)))
    assert read_all(reader, 100) == b"x"
    assert answered == [(CLOSE, b"\x03\xe8")]


@pytest.mark.parametrize(
    "data",
    [frame(b"text", 1), frame(b"\0\0\0\0x", mask=0x80), frame(bytes(126), PING), frame(b"", 0xF)],
)
def test_what_no_broker_may_send(data: bytes) -> None:
    with pytest.raises(ConnectionError):
        read_all(FrameReader(Pieces(data, []), lambda opcode, payload: None), 100)
