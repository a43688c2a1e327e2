"""A broker that keeps to no window: it sends all it has, whatever it was told."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType

_CONNECT, _SUBSCRIBE, _PINGREQ, _PUBACK = 1, 8, 12, 4
# Success, MQTT 5, no properties.
_CONNACK = b"\x20\x03\x00\x00\x00"


class Flood:
    """Sends `packets` to whoever subscribes, MQTT 5; of each connection it notes what is answered.

    `acknowledged` are packet identifiers, in order; `pings` is how often it was asked for a sign of
    life, and `connections` how many there were.
    """

    def __init__(self, packets: Callable[[], bytes]) -> None:
        self.acknowledged: list[int] = []
        self.pings = 0
        self.connections = 0
        self._packets = packets
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        self._accepting = threading.Thread(target=self._accept)

    @property
    def port(self) -> int:
        port: int = self._listening.getsockname()[1]
        return port

    def __enter__(self) -> Flood:
        self._accepting.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        for connection in self._open:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._accepting.join()

    def _accept(self) -> None:
        threads = []
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                break
            self.connections += 1
            self._open.append(connection)
            threads.append(threading.Thread(target=self._serve, args=[connection]))
            threads[-1].start()
        for thread in threads:
            thread.join()

    def _serve(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as stream, suppress(OSError):
            while head := stream.read(1):
                kind, body = head[0] >> 4, stream.read(_length(stream.read))
                if kind == _CONNECT:
                    connection.sendall(_CONNACK)
                elif kind == _SUBSCRIBE:
                    connection.sendall(b"\x90\x04" + body[:2] + b"\x00\x01")
                    # By a thread of its own: nobody may read all of it for long.
                    threading.Thread(target=self._send, args=[connection], daemon=True).start()
                elif kind == _PUBACK:
                    self.acknowledged.append(struct.unpack(">H", body[:2])[0])
                elif kind == _PINGREQ:
                    self.pings += 1

    def _send(self, connection: socket.socket) -> None:
        with suppress(OSError):
            connection.sendall(self._packets())


def _length(read: Callable[[int], bytes]) -> int:
    value = shift = 0
    while True:
        (byte,) = read(1)
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value
