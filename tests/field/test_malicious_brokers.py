"""Brokers that break the protocol on purpose, each in one way, for as long as they like.

Whatever they say, the worker lives, its memory and its log stay small, and it works as soon as the
broker behaves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.app import data_plane
from support.poll import until
from support.stub import (
    CONNACK,
    PUBACK,
    PUBLISH,
    SUBSCRIBE,
    Packet,
    StubBroker,
    puback,
    publish,
    suback,
)
from support.workers import Workers

MODELS = """
def same(payload):
    return payload
"""
MOST_MEMORY, MOST_LOG_OF_ONE = 150 * 1024**2, 20_000
# So often each one does it.
TIMES = 3
FLOOD = 5_000
IDS = range(1, FLOOD + 1)
MARK, LATER = b'"behind all of it"', b'"well behaved now"'
UNSUBACK = b"\xb0\x04\x00\x07\x00\x00"
# Of those two.
NUMBERS = (65_000, 65_001)


def connack(properties: str) -> bytes:
    """With these properties, in hexadecimal digits."""
    body = b"\0\0" + packed(bytes.fromhex(properties))
    return b"\x20" + packed(body)


def packed(data: bytes) -> bytes:
    """With its length before it, as a variable byte integer."""
    size, length = len(data), b""
    while True:
        size, low = size >> 7, size & 0x7F
        length += bytes([low | (0x80 if size else 0)])
        if not size:
            return length + data


def numbered(kind: str, mids: range) -> bytes:
    return b"".join(bytes.fromhex(kind) + mid.to_bytes(2) for mid in mids)


def told(properties: bytes, payload: bytes = b"1") -> bytes:
    """A message of QoS 0 with these properties."""
    return b"\x30" + packed(b"\0\x04t/in" + packed(properties) + payload)


def pair(value: int) -> bytes:
    return b"\x26\0\x01k" + value.to_bytes(2) + b"v" * value


@dataclass(frozen=True)
class Malice:
    """What it answers instead; `more` comes behind the SUBACK, and a good message behind that."""

    connack: bytes = CONNACK
    suback: Callable[[int], bytes] = suback
    more: bytes = b""
    publish: Callable[[int], bytes] = puback


GOOD = Malice()
CONNACKS = {
    "receive maximum 0": Malice(connack("21 0000")),
    "packets of 1 byte": Malice(connack("27 00000001")),
    "packets of 0 bytes": Malice(connack("27 00000000")),
    "keep-alive 0": Malice(connack("13 0000")),
    "keep-alive 1": Malice(connack("13 0001")),
    "QoS 9": Malice(connack("24 09")),
    "a property twice": Malice(connack("21 000a 21 000b")),
    "an unknown property": Malice(connack("7f 00")),
    "large properties": Malice(connack((pair(60_000) * 30).hex())),
    "reserved bits": Malice(b"\x2f" + CONNACK[1:]),
    "no end": Malice(b"\x20\xff\xff\xff\x7f" + bytes(2_000_000)),
}
SUBACKS = {
    "of another": Malice(suback=lambda mid: suback(mid + 1)),
    "two codes": Malice(suback=lambda mid: b"\x90" + packed(mid.to_bytes(2) + b"\0\x01\x01")),
    "no code": Malice(suback=lambda mid: b"\x90" + packed(mid.to_bytes(2) + b"\0")),
    "an unknown code": Malice(suback=lambda mid: suback(mid, 0x7F)),
    "many": Malice(suback=lambda mid: suback(mid) * FLOOD),
    "empty": Malice(suback=lambda mid: b"\x90\0"),
    "no end": Malice(suback=lambda mid: b"\x90\xff\xff\xff\x7f" + bytes(2_000_000)),
}
FLOODS = {
    "QoS 0": Malice(more=publish("t/in", b"1") * FLOOD),
    "QoS 1": Malice(more=b"".join(publish("t/in", b"1", 1, mid) for mid in IDS)),
    "QoS 1 of one id": Malice(more=publish("t/in", b"1", 1, 7) * FLOOD),
    "QoS 2": Malice(more=b"".join(publish("t/in", b"1", 2, mid) for mid in IDS)),
    "PUBREL": Malice(more=numbered("6202", IDS)),
    "PUBACK": Malice(more=numbered("4002", IDS)),
    "PUBREC": Malice(more=numbered("5002", IDS)),
    "PUBCOMP": Malice(more=numbered("7002", IDS)),
    "PINGRESP": Malice(more=b"\xd0\0" * FLOOD),
    "topics": Malice(more=b"".join(publish(f"t/in/{mid:0500}", b"1") for mid in IDS)),
}
PACKETS = {
    "CONNACK again": Malice(more=CONNACK * 100),
    "AUTH": Malice(more=b"\xf0\x00\xf0\x02\x18\x00" * 100),
    "UNSUBACK": Malice(more=UNSUBACK * 100),
    "kind 0": Malice(more=b"\x00\x00" * 100),
    "what clients send": Malice(more=b"\xc0\x00\x82\x06\x00\x01\x00\x00\x01a\xe0\x00"),
    "reserved bits": Malice(more=b"\x4f\x02\x00\x01\xdf\x00\x60\x02\x00\x01"),
    "topic alias": Malice(more=told(b"\x23\xff\xff") * 100 + told(b"\x23\0\0") * 100),
    "only an alias": Malice(more=b"\x30" + packed(b"\0\0\x03\x23\0\x01" + b"1")),
    "large properties": Malice(more=told(pair(60_000) * 20) * 10 + told(pair(1) * 10_000) * 10),
    "a long farewell": Malice(
        more=b"\xe0" + packed(b"\x80" + packed(b"\x1f\xff\xff" + b"x" * 65_535))
    ),
    "no end": Malice(more=b"\xf0\xff\xff\xff\x7f" + bytes(2_000_000)),
}
ANSWERS = {
    "of another": Malice(publish=lambda mid: puback(mid % 65_535 + 1)),
    "of nobody": Malice(publish=lambda mid: puback(0)),
    "many": Malice(publish=lambda mid: puback(mid) * 1000),
    "PUBREC": Malice(publish=lambda mid: b"\x50\x02" + mid.to_bytes(2)),
    "PUBCOMP": Malice(publish=lambda mid: b"\x70\x02" + mid.to_bytes(2)),
    "UNSUBACK": Malice(publish=lambda mid: UNSUBACK + puback(mid)),
    "an unknown code": Malice(publish=lambda mid: puback(mid, 0x7F)),
    "large properties": Malice(
        publish=lambda mid: b"\x40" + packed(mid.to_bytes(2) + b"\0" + packed(pair(60_000) * 20))
    ),
}
GROUPS: Mapping[str, Mapping[str, Malice]] = {
    "connacks": CONNACKS,
    "subacks": SUBACKS,
    "floods": FLOODS,
    "packets": PACKETS,
    "answers": ANSWERS,
}


class Hostile(StubBroker):
    """Does it until it is told to behave."""

    def __init__(self, malice: Malice) -> None:
        self._does = malice
        super().__init__(
            connect=lambda packet: self._does.connack,
            subscribe=self._subscribed,
            publish=lambda packet: self._does.publish(packet.mid) if packet.qos else None,
        )

    def _subscribed(self, packet: Packet) -> bytes:
        return (
            self._does.suback(packet.mid) + self._does.more + publish("t/in", MARK, 1, NUMBERS[0])
        )

    @property
    def done(self) -> bool:
        """Whether all of it was read, or the worker hung up again and again."""
        settled = MARK in self.results() or NUMBERS[0] in {one.mid for one in self.of_kind(PUBACK)}
        return settled or self.connections > 2 * TIMES

    def behave(self) -> None:
        self._does = GOOD
        for number in range(1, self.connections + 1):
            self.hang_up(number)

    def serves(self) -> bool:
        """Whether a message comes back; to be asked again, since the connection may be ending."""
        session = self.of_kind(SUBSCRIBE)[-1].connection
        self.send(publish("t/in", LATER, 1, NUMBERS[1]), session)
        return LATER in self.results()

    def results(self) -> set[bytes]:
        return {packet.rest[-len(MARK) :] for packet in self.of_kind(PUBLISH)}


def write(folder: Path, ports: Mapping[str, int]) -> Path:
    """An edge for each."""
    (folder / "my_models.py").write_text(MODELS)
    brokers = "".join(
        f"  {name}: {{host: 127.0.0.1, port: {port}}}\n" for name, port in ports.items()
    )
    edges = "".join(
        f"- {{name: {name}, pre_broker: {name}, post_broker: {name}}}\n" for name in ports
    )
    config = folder / "config.yaml"
    config.write_text(
        f"model_path: .\nbrokers:\n{brokers}"
        f"defaults: {{edge_mode: my_models.same, data_plane: {data_plane()}, pre_qos: 1, "
        f"post_qos: 1, pre_topic: t/in, post_topic: t/out}}\nedge:\n{edges}"
    )
    return config


@pytest.mark.timeout(300)
@pytest.mark.parametrize("group", GROUPS)
def test_it_lives_stays_small_and_works_when_the_broker_behaves(
    tmp_path: Path, workers: Callable[..., Workers], group: str
) -> None:
    malices = {name.replace(" ", "_").replace(",", ""): one for name, one in GROUPS[group].items()}
    with ExitStack() as stack:
        stubs = {name: stack.enter_context(Hostile(one)) for name, one in malices.items()}
        app = workers(
            write(tmp_path, {name: stub.port for name, stub in stubs.items()}), ready=False
        )
        for name, stub in stubs.items():
            until(lambda stub=stub: stub.done, f"{name} has done it", 100)  # type: ignore[misc]
        before = {name: until(lambda name=name: process(app, name), name) for name in stubs}  # type: ignore[misc]
        for stub in stubs.values():
            stub.behave()
        app.wait_ready(60)
        for name, stub in stubs.items():
            until(stub.serves, f"{name} works", 60)
            assert process(app, name) == before[name], f"{name} ended it"
            assert app.instance(f"{name}-1")["rss_bytes"] < MOST_MEMORY, name
        assert len(app.log) < MOST_LOG_OF_ONE * len(stubs)


def process(app: Workers, name: str) -> int:
    number: int = app.instance(f"{name}-1")["pid"]
    return number
