"""A broker that does what a test tells it to: for what no real one can be made to do."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable
from dataclasses import dataclass

from support.proxy import Server

CONNECT, PUBLISH, PUBACK, PUBREL, SUBSCRIBE, UNSUBSCRIBE = 1, 3, 4, 6, 8, 10
PINGREQ, DISCONNECT = 12, 14
_KINDS = {
    "connect": CONNECT,
    "publish": PUBLISH,
    "puback": PUBACK,
    "pubrel": PUBREL,
    "subscribe": SUBSCRIBE,
    "unsubscribe": UNSUBSCRIBE,
    "pingreq": PINGREQ,
}
# Success, no session, MQTT 5 without properties.
CONNACK = b"\x20\x03\x00\x00\x00"
PINGRESP = b"\xd0\x00"


@dataclass(frozen=True)
class Packet:
    """One packet as it came: its first byte, and what stands behind its length.

    `connection` counts the stub's connections from 1.
    """

    first: int
    body: bytes
    connection: int

    @property
    def kind(self) -> int:
        return self.first >> 4

    @property
    def qos(self) -> int:
        return self.first >> 1 & 3

    @property
    def topic(self) -> str:
        """Of a PUBLISH."""
        return self.body[2 : 2 + self._topic_length].decode()

    @property
    def mid(self) -> int:
        """The packet identifier; 0 for a PUBLISH of QoS 0."""
        if self.kind != PUBLISH:
            return int(struct.unpack(">H", self.body[:2])[0])
        at = 2 + self._topic_length
        return int(struct.unpack(">H", self.body[at : at + 2])[0]) if self.qos else 0

    @property
    def rest(self) -> bytes:
        """Of a PUBLISH: properties (MQTT 5, with their length) and payload."""
        return self.body[2 + self._topic_length + (2 if self.qos else 0) :]

    @property
    def _topic_length(self) -> int:
        return int(struct.unpack(">H", self.body[:2])[0])


@dataclass(frozen=True)
class Answer:
    """What the stub does about a packet: bytes to send, then to hang up or not."""

    data: bytes = b""
    hang_up: bool = False


Rule = Callable[[Packet], Answer | bytes | None]


def puback(mid: int, reason: int | None = None) -> bytes:
    """Without a reason the short form, which both versions know."""
    if reason is None:
        return struct.pack(">BBH", 0x40, 2, mid)
    return struct.pack(">BBHB", 0x40, 3, mid, reason)


def suback(mid: int, reason: int = 1, *, v5: bool = True) -> bytes:
    return (
        struct.pack(">BBH", 0x90, 4 if v5 else 3, mid) + (b"\x00" if v5 else b"") + bytes([reason])
    )


def unsuback(mid: int) -> bytes:
    return struct.pack(">BBHBB", 0xB0, 4, mid, 0, 0)


def publish(
    topic: bytes | str,
    payload: bytes,
    qos: int = 0,
    mid: int = 1,
    *,
    v5: bool = True,
    flags: int = 0,
) -> bytes:
    """A PUBLISH packet, without properties."""
    name = topic.encode() if isinstance(topic, str) else topic
    body = struct.pack(">H", len(name)) + name
    body += (struct.pack(">H", mid) if qos else b"") + (b"\x00" if v5 else b"") + payload
    return bytes([0x30 | qos << 1 | flags]) + _length_field(len(body)) + body


class StubBroker(Server):
    """Answers as an ordinary broker of MQTT 5 would, unless a rule for a kind of packet says else.

    A rule gets the packet and gives bytes, an `Answer`, or None for silence. By default CONNECT is
    answered by `connack`, SUBSCRIBE by the QoS 1, PUBLISH of QoS 1 by a PUBACK, PINGREQ always.
    `packets` are all that came, over all connections, in order, and `endings` says of each that
    ended whether the other side "closed" or "reset" it.
    """

    def __init__(self, connack: bytes = CONNACK, *, port: int = 0, **rules: Rule) -> None:
        """`rules` by the names connect, publish, puback, pubrel, subscribe, unsubscribe, pingreq.

        `port`: a free one if none is given.
        """
        self.packets: list[Packet] = []
        self.endings: list[str] = []
        self.connections = 0
        self._connack = connack
        self._rules = {_KINDS[name]: rule for name, rule in rules.items()}
        self._connected: dict[int, asyncio.StreamWriter] = {}
        super().__init__(port=port)

    def send(self, data: bytes, connection: int) -> None:
        """Send it to that connection; from the test's thread."""
        self._loop.call_soon_threadsafe(self._connected[connection].write, data)

    def hang_up(self, connection: int) -> None:
        self._loop.call_soon_threadsafe(self._connected[connection].transport.abort)

    def of_kind(self, kind: int) -> list[Packet]:
        return [packet for packet in list(self.packets) if packet.kind == kind]

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        number = self.connections
        self._connected[number] = writer
        try:
            await self._converse(reader, writer, number)
        except (EOFError, ConnectionError) as error:
            self.endings.append("reset" if isinstance(error, ConnectionError) else "closed")

    async def _converse(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int
    ) -> None:
        while True:
            (first,) = await reader.readexactly(1)
            body = await reader.readexactly(await read_length(reader))
            packet = Packet(first, body, number)
            self.packets.append(packet)
            rule = self._rules.get(packet.kind)
            answer = rule(packet) if rule is not None else self._usual(packet)
            if isinstance(answer, bytes):
                answer = Answer(answer)
            if answer is None:
                continue
            writer.write(answer.data)
            await writer.drain()
            if answer.hang_up:
                return

    def _usual(self, packet: Packet) -> bytes | None:
        if packet.kind == CONNECT:
            return self._connack
        if packet.kind == SUBSCRIBE:
            return suback(packet.mid)
        if packet.kind == UNSUBSCRIBE:
            return unsuback(packet.mid)
        if packet.kind == PUBLISH and packet.qos == 1:
            return puback(packet.mid)
        if packet.kind == PINGREQ:
            return PINGRESP
        return None


def _length_field(value: int) -> bytes:
    found = bytearray()
    while True:
        value, low = value >> 7, value & 0x7F
        found.append(low | (0x80 if value else 0))
        if not value:
            return bytes(found)


async def read_length(reader: asyncio.StreamReader) -> int:
    value = shift = 0
    while True:
        (byte,) = await reader.readexactly(1)
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value
