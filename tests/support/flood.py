"""A broker that keeps to no window: it sends all it has, whatever it was told."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable

from support.proxy import Server
from support.stub import read_length

_CONNECT, _PUBACK, _SUBSCRIBE, _PINGREQ = 1, 4, 8, 12
# Success, MQTT 5, no properties.
_CONNACK = b"\x20\x03\x00\x00\x00"
_PINGRESP = b"\xd0\x00"


class Flood(Server):
    """Sends what `packets` gives to whoever subscribes by MQTT 5, and its answers behind it.

    `acknowledged` are packet identifiers, in order; `pings` is how often it was asked for a sign of
    life, and `connections` how many there were.
    """

    def __init__(self, packets: Callable[[], bytes]) -> None:
        self.acknowledged: list[int] = []
        self.pings = 0
        self.connections = 0
        self._packets = packets
        super().__init__()

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        while True:
            (first,) = await reader.readexactly(1)
            kind, body = first >> 4, await reader.readexactly(await read_length(reader))
            if kind == _CONNECT:
                writer.write(_CONNACK)
            elif kind == _SUBSCRIBE:
                writer.write(b"\x90\x04" + body[:2] + b"\x00\x01" + self._packets())
            elif kind == _PINGREQ:
                self.pings += 1
                writer.write(_PINGRESP)
            elif kind == _PUBACK:
                self.acknowledged.append(struct.unpack(">H", body[:2])[0])
