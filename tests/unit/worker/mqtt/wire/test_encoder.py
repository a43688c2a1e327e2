"""Packets in bulk, against paho's own, however the network cuts them."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from support.held import held_bytes

from pyboot_svc.worker.messages import ID_PROPERTY, Message, ids_of
from pyboot_svc.worker.mqtt.wire.decoder import Arrivals, Decoder
from pyboot_svc.worker.mqtt.wire.encoder import (
    PublishEncoder,
    encode_pubacks,
    encode_user_properties,
    id_lead,
)
from pyboot_svc.worker.mqtt.wire.plane import batch_of
from pyboot_svc.worker.properties import encode_length

TOPICS = st.sampled_from(["in", "i", "in/1", "plant/温度", "t" * 127, "t" * 300])
LARGE = 16 * 1024**2
PAYLOADS = st.binary(max_size=300) | st.integers(0, 20_000).map(lambda size: b"x" * size)


class PahoWriter:
    """paho's encoder: what it would write to its socket."""

    def __init__(self, v5: bool) -> None:
        self.v5 = v5
        protocol = MQTTProtocolVersion.MQTTv5 if v5 else MQTTProtocolVersion.MQTTv311
        client: Any = Client(CallbackAPIVersion.VERSION2, protocol=protocol)
        self._client = client
        self._client._sock = self
        self._client._packet_queue = self._keep
        self._packet = b""

    def _keep(self, command: int, packet: bytearray, *rest: Any) -> int:
        self._packet = bytes(packet)
        return 0

    def close(self) -> None:
        """It closes what it takes for its socket."""

    def publish(
        self,
        topic: str,
        payload: bytes,
        qos: int = 0,
        mid: int = 0,
        user: dict[str, str] | None = None,
        dup: bool = False,
        retain: bool = False,
    ) -> bytes:
        properties = None
        if self.v5 and user:
            properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
            properties.UserProperty = list(user.items())
        self._client._send_publish(
            mid, topic.encode(), payload, qos, retain, dup, properties=properties
        )
        return self._packet


# What the broker says of one message: topic, payload, and its number, 0 at QoS 0.
Shown = tuple[str, bytes, int]


def shown(arrivals: Arrivals) -> list[Shown]:
    return list(zip(arrivals.topics, arrivals.payloads, arrivals.packet_ids, strict=True))


def fed(parser: Decoder, data: bytes, cuts: list[int]) -> Arrivals:
    """All that comes of the data, which is read in pieces."""
    total = Arrivals()
    places = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    for start, end in pairwise(places):
        found = parser.feed(data[start:end])
        total.retained += (len(total.packet_ids) + place for place in found.retained)
        total.topics += found.topics
        total.payloads += found.payloads
        total.packet_ids += found.packet_ids
        total.settled += found.settled
        total.refused += found.refused
        total.others += found.others
        total.exact += found.exact
        total.released += found.released
    return total


PUBLISHES = st.tuples(
    st.just("publish"),
    TOPICS,
    PAYLOADS,
    st.integers(0, 2),
    st.integers(1, 65_535),
    st.booleans(),
    st.booleans(),
    st.dictionaries(st.text(max_size=30), st.text(max_size=100), max_size=3),
)
PUBACKS = st.tuples(st.just("puback"), st.integers(1, 65_535), st.sampled_from([None, 0, 16, 151]))
PUBRELS = st.tuples(st.just("pubrel"), st.integers(1, 65_535))
OTHERS = st.tuples(st.just("other"), st.sampled_from([b"\xd0\x00", b"\x90\x03\x00\x01\x01"]))


@settings(max_examples=150, deadline=None)
@given(
    st.booleans(),
    st.lists(PUBLISHES | PUBACKS | PUBRELS | OTHERS, max_size=30),
    st.lists(st.integers(0, 10_000)),
)
def test_any_packets_cut_anywhere(v5: bool, packets: list[Any], cuts: list[int]) -> None:
    paho = PahoWriter(v5)
    data, expected = b"", Arrivals()
    published: list[Shown] = []
    for kind, *about in packets:
        if kind == "publish":
            topic, payload, qos, mid, dup, retain, user = about
            packet = paho.publish(topic, payload, qos, mid, user, dup and qos > 0, retain)
            published.append((topic, payload, mid if qos else 0))
            if qos == 2:
                expected.exact.append(mid)
            if retain and not (dup and qos > 0):
                expected.retained.append(len(published) - 1)
        elif kind == "pubrel":
            [mid] = about
            packet = b"\x62\x02" + mid.to_bytes(2)
            expected.released.append(mid)
        elif kind == "puback":
            mid, reason = about
            more = b"" if reason is None else bytes((reason,))
            packet = bytes((0x40, 2 + len(more))) + mid.to_bytes(2) + more
            if reason is not None and reason >= 0x80:
                expected.refused.append((mid, reason, b""))
            else:
                expected.settled.append(mid)
        else:
            [packet] = about
            expected.others.append(packet)
        data += packet
    found = fed(Decoder(v5), data, cuts)
    assert shown(found) == published
    assert found.settled == expected.settled
    assert found.refused == expected.refused
    assert found.others == expected.others
    assert (found.exact, found.released) == (expected.exact, expected.released)
    assert found.retained == expected.retained


def test_a_byte_at_a_time() -> None:
    paho = PahoWriter(True)
    data = b"".join(paho.publish("in", b"%d" % n, n % 2, n + 1, {"a": "b"}) for n in range(50))
    data += encode_pubacks([1, 2, 65_535])
    found = fed(Decoder(True), data, list(range(len(data))))
    assert shown(found) == [("in", b"%d" % n, (n + 1) * (n % 2)) for n in range(50)]
    assert found.settled == [1, 2, 65_535]


@pytest.mark.parametrize("size", [0, 127, 128, 16_383, 16_384, 2_097_151, 2_097_152, 5_000_000])
@pytest.mark.parametrize("v5", [True, False], ids=["5", "3.1.1"])
def test_every_length_of_the_length(size: int, v5: bool) -> None:
    payload = b"x" * size
    packet = PahoWriter(v5).publish("in", payload, 1, 9)
    for cuts in ([], [1], [2], [3], [4], [5], [len(packet) - 1]):
        found = fed(Decoder(v5, LARGE), packet * 2, cuts)
        assert shown(found) == [("in", payload, 9)] * 2


def test_a_huge_packet_in_pieces_is_put_together_once() -> None:
    packet = PahoWriter(False).publish("in", b"x" * 10_000_000, 1, 9)
    parser = Decoder(False, LARGE)
    joined: list[object] = []

    def note(frame: object, event: str, function: object) -> None:
        if event == "c_call" and getattr(function, "__name__", "") == "join":
            joined.append(function)

    payloads: list[bytes] = []
    before = sys.getprofile()
    sys.setprofile(note)
    try:
        for start in range(0, len(packet), 16_384):
            payloads += parser.feed(packet[start : start + 16_384]).payloads
    finally:
        sys.setprofile(before)
    assert payloads == [b"x" * 10_000_000]
    assert len(joined) < 10


def publish(name: bytes, about: bytes, payload: bytes, first: int, mid: int) -> bytes:
    """A PUBLISH packet, byte by byte; `about` are its properties, with their length."""
    number = mid.to_bytes(2) if first & 0x02 else b""
    body = len(name).to_bytes(2) + name + number + about + payload
    return bytes((first,)) + encode_length(len(body)) + body


@dataclass
class Shape:
    """What packets of a run have in common. All of a run are of equal length and begin alike.

    `mixed` are those of which some have properties, and a payload that is shorter by as much.
    """

    topics: list[str]
    size: int
    first: int
    mixed: bool
    payload: str

    def packets(self, v5: bool, count: int, seed: int) -> Iterator[tuple[bytes, Shown]]:
        """So many, and what has to come of each."""
        source = random.Random(seed)
        for _ in range(count):
            topic, mid = source.choice(self.topics), source.randint(1, 65_535)
            about = b"\0" if v5 else b""
            size = self.size
            if v5 and self.mixed and size >= 2 and source.random() < 0.1:
                about, size = b"\x02\x01\x01", size - 2
            payload = self._payload(v5, size, source)
            yield (
                publish(topic.encode(), about, payload, self.first, mid),
                (topic, payload, mid if self.first & 0x02 else 0),
            )

    def _payload(self, v5: bool, size: int, source: random.Random) -> bytes:
        if self.payload == "zeros":
            return bytes(size)
        if self.payload == "bytes":
            return source.randbytes(size)
        # Like the heads of its own run, over and over, from anywhere on.
        head = publish(self.topics[0].encode(), b"\0" * v5, bytes(self.size), self.first, 1)
        head = head[: len(head) - self.size] if self.payload == "heads" else head[:4]
        start = source.randrange(len(head))
        return (head * (size // len(head) + 2))[start : start + size]


SHAPES = st.builds(
    Shape,
    topics=st.sampled_from(
        [["in"], ["in", "on", "é"], ["i"], ["inn"], ["plant/温度"], ["t" * 127, "u" * 127]]
    ),
    size=st.sampled_from([0, 1, 2, 8, 9, 10, 11, 117, 118, 119, 120, 121, 122, 123, 300]),
    first=st.sampled_from([0x30, 0x31, 0x32, 0x33, 0x3A, 0x3B]),
    mixed=st.booleans(),
    payload=st.sampled_from(["zeros", "bytes", "heads", "leads"]),
)
# A run of one of the shapes, by its number; or a packet of another kind.
SEGMENTS = st.tuples(
    st.integers(0, 2), st.integers(1, 5) | st.integers(1, 300), st.integers(0, 2**32)
)
BETWEEN = st.sampled_from(
    [
        b"\x40\x02\x00\x07",
        b"\x40\x02\x00\x07" * 5,
        b"\x40\x04\x00\x09\x10\x00",
        b"\x40\x03\x00\x08\x97",
        b"\xd0\x00",
        b"\x90\x03\x00\x01\x01",
        b"\x34\x08\x00\x02in\x00\x05\x00x",
    ]
)


@settings(max_examples=300, deadline=None)
@given(
    st.booleans(),
    st.lists(SHAPES, min_size=3, max_size=3),
    st.lists(SEGMENTS | BETWEEN, max_size=12),
    st.lists(st.integers(0, 1_000_000), max_size=8),
)
def test_runs_of_any_shapes_give_what_was_put_in(
    v5: bool, shapes: list[Shape], segments: list[Any], cuts: list[int]
) -> None:
    parts: list[bytes] = []
    expected: list[Shown] = []
    settled: list[int] = []
    refused: list[tuple[int, int, bytes]] = []
    others: list[bytes] = []
    for segment in segments:
        if not isinstance(segment, bytes):
            number, count, seed = segment
            for packet, message in shapes[number].packets(v5, count, seed):
                parts.append(packet)
                expected.append(message)
            continue
        parts.append(segment)
        if segment[0] == 0x34:
            expected.append(("in", b"x" if v5 else b"\0x", 5))
        elif segment[0] != 0x40:
            others.append(segment)
        elif segment[1] == 3:
            refused.append((8, 0x97, b""))
        elif segment[1] == 4:
            settled.append(9)
        else:
            settled += [7] * (len(segment) // 4)
    found = fed(Decoder(v5), b"".join(parts), cuts)
    assert shown(found) == expected
    assert (found.settled, found.refused, found.others) == (settled, refused, others)


@pytest.mark.parametrize("qos", [0, 1])
@pytest.mark.parametrize("v5", [True, False], ids=["5", "3.1.1"])
@pytest.mark.parametrize("topics", [["in"], ["in", "on"]], ids=["one topic", "two topics"])
def test_runs_of_every_length(v5: bool, qos: int, topics: list[str]) -> None:
    """Each between packets that are a byte longer or shorter; in one read, and in several."""
    shapes = [Shape(topics, size, 0x30 | qos << 1, False, "bytes") for size in (20, 21, 19)]
    parts: list[bytes] = []
    expected: list[Shown] = []
    for count in range(1, 301):
        for shape, many in ((shapes[0], count), (shapes[1 + count % 2], 1)):
            for packet, message in shape.packets(v5, many, count):
                parts.append(packet)
                expected.append(message)
    data = b"".join(parts)
    assert shown(fed(Decoder(v5), data, [])) == expected
    assert shown(fed(Decoder(v5), data, list(range(0, len(data), 65_536)))) == expected


@pytest.mark.parametrize("place", [0, 1, 3, 4, 5, 16, 127, 128, 149])
@pytest.mark.parametrize(
    "other",
    [
        pytest.param((b"in", b"\x02\x01\x01", b"x" * 8, 0x32), id="properties"),
        pytest.param((b"in", b"\0", b"x" * 10, 0x33), id="retained"),
        pytest.param((b"in", b"\0", b"x" * 10, 0x3A), id="again"),
        pytest.param((b"in", b"\0", b"x" * 12, 0x30), id="QoS 0"),
        pytest.param((b"inn", b"\0", b"x" * 9, 0x32), id="longer topic"),
        pytest.param((b"i", b"\0", b"x" * 11, 0x32), id="shorter topic"),
        pytest.param((b"in", b"\0", b"x" * 11, 0x32), id="longer"),
        pytest.param((b"in", b"\0", b"x" * 9, 0x32), id="shorter"),
    ],
)
def test_one_that_differs_in_a_run(place: int, other: tuple[bytes, bytes, bytes, int]) -> None:
    run = [(b"in", b"\0", b"%010d" % number, 0x32) for number in range(150)]
    run[place] = other
    data = b"".join(publish(*about, mid) for mid, about in enumerate(run, 1))
    expected = [
        (name.decode(), payload, mid if first & 0x02 else 0)
        for mid, (name, _, payload, first) in enumerate(run, 1)
    ]
    parser = Decoder(True)
    assert shown(parser.feed(data)) == expected
    assert shown(parser.feed(data * 2)) == expected * 2


@pytest.mark.parametrize(("first", "redeliverable"), [(0x30, False), (0x31, True), (0x32, True)])
@pytest.mark.parametrize("count", [1, 2, 200])
def test_what_can_be_delivered_again_recurs(first: int, redeliverable: bool, count: int) -> None:
    """Of QoS 1 until it is acknowledged; what is retained, with every subscription."""
    once = publish(b"in", b"", b"x", 0x30, 0)
    again = publish(b"in", b"", b"x", first, 1)
    parser = Decoder(False)
    assert batch_of(parser.feed(again * count), 1).redeliverable == redeliverable
    among = once * 20 + again * count + once * 20
    assert batch_of(parser.feed(among), 1).redeliverable == redeliverable
    assert not batch_of(parser.feed(once * 20), 1).redeliverable


@settings(max_examples=100, deadline=None)
@given(st.booleans(), st.integers(0, 1), TOPICS, st.lists(PAYLOADS, min_size=1, max_size=20))
def test_what_is_encoded_is_what_paho_would_send(
    v5: bool, qos: int, topic: str, payloads: list[bytes]
) -> None:
    messages = [Message("in", payload) for payload in payloads]
    digests = [message.digest for message in messages]
    packet_ids = range(65_536 - len(payloads), 65_536)
    encoder = PublishEncoder(topic, qos, id_lead() if v5 else b"")
    parts = encoder.encode(payloads, packet_ids if qos else (), ids_of(digests) if v5 else ())
    paho = PahoWriter(v5)
    expected = [
        paho.publish(topic, message.payload, qos, mid, {ID_PROPERTY: message.id})
        for message, mid in zip(messages, packet_ids, strict=True)
    ]
    assert b"".join(parts) == b"".join(expected)


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(st.text(max_size=50), st.text(max_size=200), max_size=5))
def test_user_properties_are_what_paho_would_send(user: dict[str, str]) -> None:
    properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
    if user:
        properties.UserProperty = list(user.items())
    assert encode_user_properties(user) == properties.pack()  # type: ignore[no-untyped-call]


def test_heads_are_forgotten_when_there_are_many() -> None:
    encoder, paho, held = PublishEncoder("out", 0, b""), PahoWriter(False), 0
    for size in range(3000):
        assert b"".join(encoder.encode([b"x" * size])) == paho.publish("out", b"x" * size)
        if size == 1000:
            held = held_bytes(encoder)
    assert held_bytes(encoder) <= held


def test_of_a_long_topic_few_heads_are_kept() -> None:
    encoder = PublishEncoder("t" * 60_000, 1, b"")
    for size in range(100):
        encoder.encode_one(b"x" * size, 1)
    assert held_bytes(encoder) < 512 * 1024


@pytest.mark.parametrize(
    ("value", "encoded"),
    [
        (0, "00"),
        (127, "7f"),
        (128, "8001"),
        (16_384, "808001"),
        (2_097_152, "80808001"),
        (268_435_455, "ffffff7f"),
    ],
)
def test_lengths(value: int, encoded: str) -> None:
    assert encode_length(value).hex() == encoded


def test_no_ids() -> None:
    assert ids_of([]) == []


def test_pubacks() -> None:
    assert encode_pubacks([1, 65_535]).hex() == "4002000140" + "02ffff"
    assert encode_pubacks([]) == b""
