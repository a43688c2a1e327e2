"""Packets in bulk, against paho's own, however the network cuts them."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from pyboot_svc.worker.message import Message
from pyboot_svc.worker.packets import (
    ID_LEAD,
    ID_PROPERTY,
    Arrivals,
    Malformed,
    Parser,
    PublishEncoder,
    encode_ids,
    encode_length,
    encode_pubacks,
    encode_user_properties,
)

TOPICS = st.sampled_from(["in", "i", "in/1", "plant/温度", "t" * 127, "t" * 300])
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


def shown(message: Message) -> tuple[str, bytes, int, int]:
    return message.topic, message.payload, message.qos, message.mid


def fed(parser: Parser, data: bytes, cuts: list[int]) -> Arrivals:
    """All that comes of the data, which is read in pieces."""
    total = Arrivals()
    places = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    for start, end in pairwise(places):
        found = parser.feed(data[start:end], 7)
        total.messages += found.messages
        total.settled += found.settled
        total.refused += found.refused
        total.others += found.others
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
OTHERS = st.tuples(st.just("other"), st.sampled_from([b"\xd0\x00", b"\x90\x03\x00\x01\x01"]))


@settings(max_examples=150, deadline=None)
@given(
    st.booleans(),
    st.lists(PUBLISHES | PUBACKS | OTHERS, max_size=30),
    st.lists(st.integers(0, 10_000)),
)
def test_any_packets_cut_anywhere(v5: bool, packets: list[Any], cuts: list[int]) -> None:
    paho = PahoWriter(v5)
    data, expected = b"", Arrivals()
    published: list[tuple[str, bytes, int, int]] = []
    for kind, *about in packets:
        if kind == "publish":
            topic, payload, qos, mid, dup, retain, user = about
            packet = paho.publish(topic, payload, qos, mid, user, dup and qos > 0, retain)
            if qos == 2:
                expected.others.append(packet)
            else:
                published.append((topic, payload, qos, mid if qos else 0))
        elif kind == "puback":
            mid, reason = about
            more = b"" if reason is None else bytes((reason,))
            packet = bytes((0x40, 2 + len(more))) + mid.to_bytes(2) + more
            if reason is not None and reason >= 0x80:
                expected.refused.append((mid, reason))
            else:
                expected.settled.append(mid)
        else:
            [packet] = about
            expected.others.append(packet)
        data += packet
    found = fed(Parser(v5, 3), data, cuts)
    assert list(map(shown, found.messages)) == published
    assert found.settled == expected.settled
    assert found.refused == expected.refused
    assert found.others == expected.others
    assert {(message.session, message.arrived) for message in found.messages} <= {(3, 7)}


def test_a_byte_at_a_time() -> None:
    paho = PahoWriter(True)
    data = b"".join(paho.publish("in", b"%d" % n, n % 2, n + 1, {"a": "b"}) for n in range(50))
    data += encode_pubacks([1, 2, 65_535])
    found = fed(Parser(True, 1), data, list(range(len(data))))
    assert [message.payload for message in found.messages] == [b"%d" % n for n in range(50)]
    assert found.settled == [1, 2, 65_535]


@pytest.mark.parametrize("size", [0, 127, 128, 16_383, 16_384, 2_097_151, 2_097_152, 5_000_000])
@pytest.mark.parametrize("v5", [True, False], ids=["5", "3.1.1"])
def test_every_length_of_the_length(size: int, v5: bool) -> None:
    payload = b"x" * size
    packet = PahoWriter(v5).publish("in", payload, 1, 9)
    for cuts in ([], [1], [2], [3], [4], [5], [len(packet) - 1]):
        found = fed(Parser(v5, 1), packet * 2, cuts)
        assert [shown(message) for message in found.messages] == [("in", payload, 1, 9)] * 2


def test_a_huge_packet_in_pieces_is_put_together_once(monkeypatch: pytest.MonkeyPatch) -> None:
    packet = PahoWriter(False).publish("in", b"x" * 10_000_000, 1, 9)
    parser = Parser(False, 1)
    parses: list[int] = []
    parse = parser._parse

    def counting(data: bytes, now: int, arrivals: Arrivals) -> int:
        parses.append(len(data))
        return parse(data, now, arrivals)

    monkeypatch.setattr(parser, "_parse", counting)
    messages: list[Message] = []
    for start in range(0, len(packet), 16_384):
        messages += parser.feed(packet[start : start + 16_384], 0).messages
    assert len(messages) == 1
    assert sum(parses) < len(packet) + 100_000


@pytest.mark.parametrize("v5", [True, False], ids=["5", "3.1.1"])
@pytest.mark.parametrize(
    "data",
    [
        b"\x30\xff\xff\xff\xff\x01",
        b"\xd0\x80\x80\x80\x80\x80",
        b"\x30\x02\x00\x05",
        b"\x30\x03\xff\xffx",
        b"\x30\x00",
        b"\x30\x01\x00",
        b"\x32\x04\x00\x02in",
        b"\x32\x05\x00\x02in\x00",
        b"\x30\x04\x00\x02\xff\xfe",
        b"\x40\x00",
        b"\x40\x01\x00",
    ],
    ids=lambda data: data.hex() if isinstance(data, bytes) else str(data),
)
def test_what_is_not_mqtt(data: bytes, v5: bool) -> None:
    with pytest.raises((Malformed, IndexError, UnicodeDecodeError)):
        Parser(v5, 1).feed(data, 0)
    # Nor is it read as a part of what follows.
    follows = PahoWriter(v5).publish("in", b"", 0) * 3
    with pytest.raises((Malformed, IndexError, UnicodeDecodeError)):
        Parser(v5, 1).feed(data + follows, 0)


def test_properties_that_are_longer_than_their_packet() -> None:
    with pytest.raises((Malformed, IndexError)):
        Parser(True, 1).feed(b"\x30\x06\x00\x02in\x09\x00" + b"\x00" * 20, 0)


@settings(max_examples=200, deadline=None)
@given(st.booleans(), st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(v5: bool, data: bytes) -> None:
    try:
        Parser(v5, 1).feed(data, 0)
    except (Malformed, IndexError, UnicodeDecodeError):
        pass


@settings(max_examples=100, deadline=None)
@given(st.booleans(), st.integers(0, 1), TOPICS, st.lists(PAYLOADS, min_size=1, max_size=20))
def test_what_is_encoded_is_what_paho_would_send(
    v5: bool, qos: int, topic: str, payloads: list[bytes]
) -> None:
    messages = [Message("in", payload, 1) for payload in payloads]
    mids = range(65_536 - len(payloads), 65_536)
    encoder = PublishEncoder(topic, qos, ID_LEAD if v5 else b"")
    parts = encoder.encode(payloads, mids if qos else (), encode_ids(messages) if v5 else ())
    paho = PahoWriter(v5)
    expected = [
        paho.publish(topic, message.payload, qos, mid, {ID_PROPERTY: message.id})
        for message, mid in zip(messages, mids, strict=True)
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
    encoder, paho = PublishEncoder("out", 0, b""), PahoWriter(False)
    for size in range(3000):
        assert b"".join(encoder.encode([b"x" * size])) == paho.publish("out", b"x" * size)
    assert len(encoder._heads) <= 1025


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


def test_pubacks() -> None:
    assert encode_pubacks([1, 65_535]).hex() == "4002000140" + "02ffff"
    assert encode_pubacks([]) == b""
