"""What goes out by a socket, whoever wrote it: the data plane, or paho."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

from pyboot_svc.worker.mqtt.wire.errors import Broken
from pyboot_svc.worker.mqtt.wire.tls_errors import would_block

# Longer payloads are not copied once more to go out with others.
LONG_PAYLOAD = 64 * 1024


class SendBuffer:
    """Bytes on their way to the socket, `sent` of all that were ever `queued`."""

    def __init__(self, sock: Any) -> None:
        self._sock = sock
        self._waiting: list[bytes] = []
        # What the socket was offered last: a layer that encrypts wants the very same again.
        self._offered: deque[bytes | memoryview] = deque()
        self.sent = self.queued = 0

    def append(self, packets: bytes) -> None:
        """At least one."""
        self._waiting.append(packets)
        self.queued += len(packets)

    def extend(self, parts: Sequence[bytes]) -> None:
        # Without empty ones: a WebSocket layer can't tell that it has sent nothing.
        self._waiting += filter(None, parts)
        self.queued += sum(map(len, parts))

    def send(self, packet: bytes) -> bool:
        """Append and flush, while nothing waits: whether the socket took it all; raises Broken."""
        size = len(packet)
        self.queued += size
        try:
            sent = self._sock.send(packet)
        except would_block():
            self._offered.append(packet)
            return False
        except Exception as error:  # TLS and WebSocket fail in many ways
            raise Broken from error
        self.sent += sent
        if sent == size:
            return True
        self._offered.append(memoryview(packet)[sent:])
        return False

    def flush(self) -> None:
        """Send what the socket takes; raises Broken."""
        offered = self._offered
        while self.sent < self.queued:
            if offered:
                data = offered.popleft()
            elif len(self._waiting) == 1:
                data = self._waiting.pop()
            else:
                data = self._next()
            try:
                sent = self._sock.send(data)
            except would_block():
                offered.appendleft(data)
                return
            except Exception as error:  # TLS and WebSocket fail in many ways
                raise Broken from error
            self.sent += sent
            if sent < len(data):
                offered.appendleft(memoryview(data)[sent:])

    def _next(self) -> bytes | memoryview:
        """Of all that waits; the rest is offered behind it."""
        waiting, self._waiting = self._waiting, []
        if max(map(len, waiting)) < LONG_PAYLOAD:
            return b"".join(waiting)
        self._offered.extend(waiting)
        return self._offered.popleft()


class ControlSocket:
    """What paho takes for its socket: it reads the packets that were kept for it."""

    def __init__(self, sock: Any, output: SendBuffer) -> None:
        self._sock = sock
        self._output = output
        self._packets = b""

    def received(self, packets: Sequence[bytes]) -> None:
        self._packets += b"".join(packets)

    def recv(self, size: int) -> bytes:
        if not self._packets:
            raise BlockingIOError
        data, self._packets = self._packets[:size], self._packets[size:]
        return data

    def send(self, data: Any) -> int:
        self._output.append(bytes(data))
        return len(data)

    def fileno(self) -> int:
        return self._sock.fileno()  # type: ignore[no-any-return]

    def close(self) -> None:
        """It is closed by its owner, when what it still has to send is gone."""
