"""Reads and writes WebSocket frames (RFC 6455, section 5), whatever their size.

paho's own layer collects a frame, and copies what it has of it at each read: a message of 200 MB,
which most brokers send as one frame, would cost its size in memory and minutes of copying. It masks
what it sends byte by byte, so that a result of 10 MB keeps a small board busy for longer than the
watchdog waits.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from typing import Any

from pyboot_svc.worker.mqtt.wire.tls_errors import would_block

_CONTINUATION, _BINARY, _CLOSE, _PING, _PONG = 0x0, 0x2, 0x8, 0x9, 0xA
_OPCODE, _MASKED, _FINAL = 0x0F, 0x80, 0x80
_LONGEST_CONTROL = 125
_LENGTH_OF_2, _LENGTH_OF_8 = 126, 127
_READ_BYTES = 64 * 1024
# In one step, during which no other thread works; it is a multiple of the key's four bytes.
_MASKED_BYTES = 256 * 1024

Answer = Callable[[int, bytes], None]


class FrameReader:
    """`recv` gives what frames carry, as a socket's would; `answer` sends a control frame.

    It raises what the socket raises, and ConnectionError for what no broker may send.
    """

    def __init__(self, sock: Any, answer: Answer) -> None:
        self._sock = sock
        self._answer = answer
        self._data = b""
        self._at = 0
        # Of the frame at hand, so many bytes are still to come.
        self._left = 0
        # Whether there may be more in `_data` than the beginning of a header.
        self._more = False
        self._closed = False

    def recv(self, size: int) -> bytes:
        """At least a byte; none when the connection was closed."""
        while not self._closed:
            payload = self._take(size)
            if payload:
                self._more = self._at < len(self._data)
                return payload
            self._more = False
            data = self._sock.recv(_READ_BYTES)
            if not data:
                break
            self._data = self._data[self._at :] + data
            self._at = 0
        return b""

    def pending(self) -> int:
        """How many bytes there are that select can't see."""
        held = len(self._data) - self._at if self._more else 0
        return held + int(self._sock.pending())

    def _take(self, size: int) -> bytes:
        """Of what is there, as much as it has; of several frames, if they are small."""
        found: list[bytes] = []
        while size and (self._left or self._begin()):
            part = self._data[self._at : self._at + min(self._left, size)]
            if not part:
                break
            self._at += len(part)
            self._left -= len(part)
            size -= len(part)
            found.append(part)
        return found[0] if len(found) == 1 else b"".join(found)

    def _begin(self) -> bool:
        """Go to the next frame that carries something; False when it isn't there yet."""
        while not self._closed:
            data, at = self._data, self._at
            if len(data) - at < 2:
                return False
            opcode, length = data[at] & _OPCODE, data[at + 1]
            if length & _MASKED or opcode not in (_CONTINUATION, _BINARY, _CLOSE, _PING, _PONG):
                raise ConnectionError("a WebSocket frame that no broker may send")
            if opcode >= _CLOSE and length > _LONGEST_CONTROL:
                raise ConnectionError("a WebSocket control frame that is too long")
            at += 2
            wide = {_LENGTH_OF_2: ">H", _LENGTH_OF_8: ">Q"}.get(length)
            if wide is not None:
                end = at + struct.calcsize(wide)
                if len(data) < end:
                    return False
                (length,) = struct.unpack_from(wide, data, at)
                at = end
            if opcode in (_CONTINUATION, _BINARY):
                self._at, self._left = at, length
                if length:
                    return True
                continue
            if len(data) - at < length:
                return False
            self._at = at + length
            self._control(opcode, data[at : at + length])
        return False

    def _control(self, opcode: int, payload: bytes) -> None:
        if opcode == _PING:
            self._answer(_PONG, payload)
        elif opcode == _CLOSE:
            self._closed = True
            self._answer(_CLOSE, payload)


class FrameWriter:
    """`send` puts all that it is given into one frame, and says so when the frame is sent."""

    def __init__(self, sock: Any) -> None:
        self._sock = sock
        # What the socket hasn't taken of a frame, and how many bytes the frame carries.
        self._rest = memoryview(b"")
        self._carried = 0

    def send(self, data: bytes | memoryview) -> int:
        """How many bytes were sent: as many as there were the first time.

        Raises what the socket raises, as when it takes no more: the same is to be sent again then.
        """
        if not self._rest:
            self._rest = memoryview(_frame(_BINARY, data))
            self._carried = len(data)
        while self._rest:
            self._rest = self._rest[self._sock.send(self._rest) :]
        return self._carried

    def answer(self, opcode: int, payload: bytes) -> None:
        """A control frame, but not in the midst of another frame: then the broker sees that
        something comes."""
        if self._rest:
            return
        frame = _frame(opcode, payload)
        try:
            sent = self._sock.send(frame)
        except would_block():
            return
        if sent < len(frame):
            raise ConnectionError("a part of a frame was sent")


def _frame(opcode: int, payload: bytes | memoryview) -> bytes:
    """Masked, as a client's has to be."""
    size, first, key = len(payload), _FINAL | opcode, os.urandom(4)
    if size < _LENGTH_OF_2:
        head = struct.pack(">BB", first, _MASKED | size)
    elif size < 1 << 16:
        head = struct.pack(">BBH", first, _MASKED | _LENGTH_OF_2, size)
    else:
        head = struct.pack(">BBQ", first, _MASKED | _LENGTH_OF_8, size)
    starts = range(0, size, _MASKED_BYTES)
    return b"".join((head, key, *(_masked(payload[at : at + _MASKED_BYTES], key) for at in starts)))


def _masked(payload: bytes | memoryview, key: bytes) -> bytes:
    """As whole numbers, since Python has no faster exclusive or."""
    size = len(payload)
    mask = (key * (size // len(key) + 1))[:size]
    number = int.from_bytes(payload, "little") ^ int.from_bytes(mask, "little")
    return number.to_bytes(size, "little")
