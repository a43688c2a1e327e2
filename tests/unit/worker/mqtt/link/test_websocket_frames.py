"""WebSocket frames, however they are cut; the test is the socket below."""

from __future__ import annotations

import struct
import sys
from itertools import pairwise
from types import FrameType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.held import held_bytes

from pyboot_svc.worker.mqtt.link.websocket_frames import FrameReader, FrameWriter

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


class Takes:
    """A socket that takes so many bytes at a time, and would block between two times."""

    def __init__(self, *sizes: int) -> None:
        self.sizes = sizes
        self.taken = b""
        self._calls = 0

    def send(self, data: bytes | memoryview) -> int:
        self._calls += 1
        if self._calls % 2 == 0:
            raise BlockingIOError
        size = self.sizes[self._calls // 2 % len(self.sizes)]
        self.taken += bytes(data[:size])
        return min(size, len(data))


def carried(frames: bytes) -> list[tuple[int, bytes]]:
    """The opcode and the payload of each frame that a client has sent, whole and masked."""
    found = []
    while frames:
        assert frames[0] & 0x80, "it is final"
        assert frames[1] & 0x80, "it is masked"
        size, at = frames[1] & 0x7F, 2
        if size == 126:
            (size,), at = struct.unpack_from(">H", frames, 2), 4
            assert size > 125
        elif size == 127:
            (size,), at = struct.unpack_from(">Q", frames, 2), 10
            assert size > 65_535
        key, masked = frames[at : at + 4], frames[at + 4 : at + 4 + size]
        assert len(masked) == size
        found.append((frames[0] & 0x7F, bytes(byte ^ key[n % 4] for n, byte in enumerate(masked))))
        frames = frames[at + 4 + size :]
    return found


def send_all(writer: FrameWriter, data: bytes | memoryview) -> None:
    """As the owner of a socket does: what wasn't taken is offered once more."""
    while True:
        try:
            assert writer.send(data) == len(data)
        except BlockingIOError:
            continue
        return


@pytest.mark.parametrize("size", [1, 3, 4, 125, 126, 127, 65_535, 65_536, 300_001])
def test_what_is_sent_is_one_masked_frame(size: int) -> None:
    sock = Takes(1_000_000)
    payload = bytes(n * 7 % 256 for n in range(size))
    send_all(FrameWriter(sock), memoryview(payload))
    assert carried(sock.taken) == [(BINARY, payload)]


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.binary(min_size=1, max_size=400), min_size=1, max_size=6),
    st.lists(st.integers(1, 300), min_size=1, max_size=6),
)
def test_however_little_the_socket_takes(payloads: list[bytes], sizes: list[int]) -> None:
    sock = Takes(*sizes)
    writer = FrameWriter(sock)
    for payload in payloads:
        send_all(writer, payload)
    assert carried(sock.taken) == [(BINARY, payload) for payload in payloads]


def test_each_frame_has_a_key_of_its_own() -> None:
    """So that who makes the broker send something can't choose what passes through a proxy."""
    sock = Takes(1_000_000)
    writer = FrameWriter(sock)
    for _ in range(50):
        send_all(writer, b"the same")
    assert len({sock.taken[at : at + 14] for at in range(0, len(sock.taken), 14)}) > 45


def test_while_more_waits_the_first_frame_is_finished_alone() -> None:
    """Its owner may have more behind it the next time."""
    sock = Takes(3)
    writer = FrameWriter(sock)
    with pytest.raises(BlockingIOError):
        writer.send(b"first")
    while True:
        try:
            assert writer.send(b"first and more") == len(b"first")
        except BlockingIOError:
            continue
        break
    send_all(writer, b" and more")
    assert carried(sock.taken) == [(BINARY, b"first"), (BINARY, b" and more")]


def test_control_frames_are_answered_between_others_alone() -> None:
    sock = Takes(9)
    writer = FrameWriter(sock)
    writer.answer(PONG, b"a")
    with pytest.raises(BlockingIOError):
        writer.send(b"a longer one")
    writer.answer(PONG, b"b")
    send_all(writer, b"a longer one")
    assert carried(sock.taken) == [(PONG, b"a"), (BINARY, b"a longer one")]


def test_an_answer_that_is_cut_ends_the_connection() -> None:
    blocked = Takes(3)
    writer = FrameWriter(blocked)
    with pytest.raises(ConnectionError):
        writer.answer(PONG, b"abc")
    writer.answer(PONG, b"abc")  # the socket takes nothing at all: it may come without


def test_a_large_frame_takes_no_step_for_each_byte() -> None:
    """Byte by byte, 10 MB keep a small board busy for longer than the watchdog waits."""
    steps = 0

    def count(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal steps
        steps += 1
        frame.f_trace_opcodes = True
        return count

    sock = Takes(20_000_000)
    before = sys.gettrace()
    sys.settrace(count)
    try:
        FrameWriter(sock).send(bytes(10_000_000))
    finally:
        sys.settrace(before)
    assert 0 < steps < 10_000
    assert len(sock.taken) == 10_000_000 + 14
