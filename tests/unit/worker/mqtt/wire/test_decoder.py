"""What brokers send that is not as it should be: a message's trouble alone, or the connection's.

Runs of packets, cut by one call, are held against a parser that is as simple as can be.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.held import held_bytes

from pyboot_svc.model.codec import PayloadFault
from pyboot_svc.worker.invalid_messages import HEAD_BYTES, HEADROOM_BYTES
from pyboot_svc.worker.mqtt.wire.decoder import MOST_TOPIC_BYTES, Arrivals, Decoder
from pyboot_svc.worker.properties import encode_length

MOST = 300
# What a decoder takes that holds nothing, and to spare.
EMPTY_BYTES = 4096


@dataclass
class Found:
    """Messages as (topic, payload, mid, what is wrong with it), and the rest."""

    messages: list[tuple[str, bytes, int, str]] = field(default_factory=list)
    settled: list[int] = field(default_factory=list)
    refused: list[tuple[int, int, bytes]] = field(default_factory=list)
    others: list[bytes] = field(default_factory=list)
    exact: list[int] = field(default_factory=list)
    released: list[int] = field(default_factory=list)
    broken: bool = False


def reference(data: bytes, v5: bool, most: int) -> Found:
    """One packet after the other, each cut out first and read then."""
    found = Found()
    while not found.broken:
        length, digits = 0, 0
        while digits < 4 and len(data) > 1 + digits:
            byte = data[1 + digits]
            length |= (byte & 0x7F) << 7 * digits
            digits += 1
            if byte < 0x80:
                break
        else:
            found.broken = digits == 4
            return found
        first, body = data[0], data[1 + digits : 1 + digits + length]
        large = length > most + HEADROOM_BYTES
        if len(body) < length:
            found.broken = large and (first >> 4 != 3 or first & 6 == 6)
            return found
        if first >> 4 == 3 and first & 6 == 6:
            found.broken = True
        elif first >> 4 == 3:
            read_publish(first, body, v5, most, found)
        elif first == 0x40:
            read_puback(body, found)
        elif first == 0x62 and len(body) >= 2:
            found.released.append(int.from_bytes(body[:2]))
        else:
            found.others.append(data[: 1 + digits + length])
        data = data[1 + digits + length :]
    return found


def read_publish(first: int, body: bytes, v5: bool, most: int, found: Found) -> None:
    size = int.from_bytes(body[:2])
    name, rest = body[2 : 2 + size], body[2 + size :]
    if len(body) < 2 or len(name) < size or (first & 6 and len(rest) < 2):
        found.broken = True
        return
    mid = 0
    troubles = []
    if first & 6:
        mid, rest = int.from_bytes(rest[:2]), rest[2:]
    payload = rest
    if v5:
        behind = behind_properties(rest)
        if behind is None:
            troubles.append("malformed")
        else:
            payload = behind
    try:
        name.decode()
        if not name or set(name) & set(b"\0+#"):
            troubles.append("bad_topic")
    except UnicodeDecodeError:
        troubles.append("bad_topic")
    if first & 6 and not mid:
        troubles.append("malformed")
    if len(payload) > most:
        troubles.append("too_large")
        payload = payload[:HEAD_BYTES]
    topic = name.decode(errors="backslashreplace")
    found.messages.append((topic, payload, mid, troubles[0] if troubles else ""))
    if first & 4:
        found.exact.append(mid)


def behind_properties(rest: bytes) -> bytes | None:
    value = 0
    for digit, byte in enumerate(rest[:4]):
        value |= (byte & 0x7F) << 7 * digit
        if byte < 0x80:
            behind = rest[digit + 1 :]
            return behind[value:] if value <= len(behind) else None
    return None


def read_puback(body: bytes, found: Found) -> None:
    if len(body) < 2:
        found.broken = True
    elif len(body) > 2 and body[2] >= 0x80:
        found.refused.append((int.from_bytes(body[:2]), body[2], body[3:]))
    else:
        found.settled.append(int.from_bytes(body[:2]))


def told(arrivals: Arrivals) -> list[tuple[str, bytes, int, str]]:
    invalid = arrivals.invalid
    wrong = [
        str(invalid[at].fault) if at in invalid else "" for at in range(len(arrivals.packet_ids))
    ]
    columns = arrivals.topics, arrivals.payloads, arrivals.packet_ids, wrong
    return list(zip(*columns, strict=True))


def parse(parser: Decoder, data: bytes, cuts: list[int]) -> Found:
    """By the parser under test, which is fed in pieces until it says that nothing can be read."""
    found = Found()
    places = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    for start, end in pairwise(places):
        arrivals = parser.feed(data[start:end])
        found.messages += told(arrivals)
        found.settled += arrivals.settled
        found.refused += arrivals.refused
        found.others += arrivals.others
        found.exact += arrivals.exact
        found.released += arrivals.released
        if arrivals.broken is not None:
            found.broken = True
            break
    return found


def publish(first: int, name: bytes, mid: int, about: bytes, payload: bytes) -> bytes:
    """A PUBLISH packet, byte by byte; `about` are its properties, with their length."""
    number = mid.to_bytes(2) if first & 0x06 else b""
    body = len(name).to_bytes(2) + name + number + about + payload
    return bytes((first,)) + encode_length(len(body)) + body


# Nearly all of one shape, so that they are cut in runs, with some that are not as they should be.
NAMES = st.sampled_from([b"in"] * 6 + [b"on", b"\xff\xfe", b"a\0", b"+/", b"a#", b"\xc3\x28"])
PUBLISHES = st.builds(
    publish,
    st.sampled_from([0x32] * 12 + [0x30] * 4 + [0x3A, 0x31, 0x34, 0x3D]),
    NAMES | st.sampled_from([b"", b"longer"]),
    st.sampled_from([1, 2, 3, 65_535] * 3 + [0]),
    st.sampled_from([b"\0"] * 12 + [b"\x02\x01\x01", b"\x80", b"\x7f", b"\xff\xff\xff\xff", b""]),
    st.sampled_from([b"x" * 10] * 8 + [b"", b"x" * 8, b"x" * MOST, b"x" * (MOST + 1), b"y" * 2000]),
)
RUNS = st.tuples(PUBLISHES, st.integers(1, 150)).map(lambda pair: [pair[0]] * pair[1])
OTHERS = st.sampled_from(
    [
        *(b"\x40\x02\x00\x07", b"\x40\x03\x00\x08\x97", b"\x40\x04\x00\x09\x10\x00", b"\xd0\x00"),
        *(b"\x90\x03\x00\x01\x01", b"\x62\x02\x00\x05"),
    ]
)
BROKEN = st.sampled_from(
    [
        *(b"\x40\x00", b"\x40\x01\x00", b"\x36\x08\x00\x02in\x00\x05\x00x", b"\x30\x00"),
        *(b"\x30\x01\x00", b"\x30\x02\x00\x05", b"\x32\x04\x00\x02in", b"\x32\x05\x00\x02in\x00"),
        *(b"\x30\xff\xff\xff\xff\x01", b"\xd0\x80\x80\x80\x80\x80", b"\x90\xff\xff\xff\x7f"),
        b"\x40\x02\x00\x07" * 3 + b"\x40\x01\x00",
    ]
)
STREAMS = st.lists(RUNS | st.lists(PUBLISHES | OTHERS, max_size=6), max_size=8).map(
    lambda lists: b"".join(packet for packets in lists for packet in packets)
)


@settings(max_examples=400, deadline=None)
@given(
    v5=st.booleans(),
    before=STREAMS,
    broken=st.just(b"") | BROKEN,
    after=STREAMS,
    cuts=st.lists(st.integers(0, 100_000), max_size=8),
)
def test_whatever_comes_however_it_is_cut_is_read_as_packet_by_packet(
    v5: bool, before: bytes, broken: bytes, after: bytes, cuts: list[int]
) -> None:
    data = before + broken + after
    assert parse(Decoder(v5, MOST), data, cuts) == reference(data, v5, MOST)


@settings(max_examples=300, deadline=None)
@given(st.booleans(), st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=4))
@example(False, b"\x3e\x80\x80\x09", [])  # of QoS 3, and large
def test_any_bytes_are_read_or_refused(v5: bool, data: bytes, cuts: list[int]) -> None:
    assert parse(Decoder(v5, MOST), data, cuts) == reference(data, v5, MOST)


@pytest.mark.parametrize(
    "first", [0x30, 0x32, 0x33, 0x34], ids=["QoS 0", "QoS 1", "retained", "QoS 2"]
)
@pytest.mark.parametrize("size", [MOST + HEADROOM_BYTES, MOST + HEADROOM_BYTES + 1, 3_000_000])
@pytest.mark.parametrize("v5", [True, False], ids=["5", "3.1.1"])
def test_what_is_too_large_is_passed_over_and_not_collected(
    v5: bool, size: int, first: int
) -> None:
    parser = Decoder(v5, MOST)
    about = b"\0" if v5 else b""
    good = publish(first, b"in", 1, about, b"x")
    data = good * 3 + publish(first, b"large", 2, about, bytes(size)) + good * 3
    found: list[tuple[str, bytes, int, str]] = []
    for start in range(0, len(data), 50_000):
        found += told(parser.feed(data[start : start + 50_000]))
        assert held_bytes(parser) <= MOST + HEADROOM_BYTES + 50_000 + EMPTY_BYTES
    one, two = (1, 2) if first & 6 else (0, 0)
    assert found == [
        *[("in", b"x", one, "")] * 3,
        ("large", bytes(HEAD_BYTES), two, "too_large"),
        *[("in", b"x", one, "")] * 3,
    ]


def test_its_size_and_its_limit_are_said() -> None:
    arrivals = Decoder(True, MOST).feed(publish(0x30, b"in", 0, b"\0", bytes(2000)))
    fault, text = arrivals.invalid[0]
    assert fault is PayloadFault.TOO_LARGE
    assert "2000 bytes" in text
    assert "max_message" in text


@pytest.mark.parametrize("size", [10, MOST + 1])
def test_properties_that_fill_what_is_kept_of_a_large_packet(size: int) -> None:
    parser = Decoder(True, MOST)
    about = encode_length(400_000) + bytes(400_000)
    data = publish(0x32, b"in", 7, about, bytes(size)) + publish(0x32, b"in", 8, b"\0", b"x")
    found = parse(parser, data, list(range(0, len(data), 60_000)))
    assert found.messages == [("in", b"", 7, "too_large"), ("in", b"x", 8, "")]


def test_a_message_of_another_is_never_in_its_payload() -> None:
    """The length of the properties is cut at the packet's end, which is the buffer's, too."""
    parser = Decoder(True)
    assert told(parser.feed(bytes.fromhex("300400016180"))) == [("a", b"\x80", 0, "malformed")]
    follows = publish(0x30, b"b", 0, b"\0", b"other")
    found = told(parser.feed(bytes.fromhex("300400016180") + follows))
    assert found == [("a", b"\x80", 0, "malformed"), ("b", b"other", 0, "")]


@given(
    st.booleans(),
    st.sampled_from([0x30, 0x31, 0x32, 0x33, 0x34, 0x3A, 0x3B, 0x40, 0x62, 0xD0]),
    st.sampled_from([b"in", b"i", b"", b"other", b"\xff"]),
    st.integers(0, 300),
    st.sampled_from([b"", b"\0", b"\0", b"\x01\0", b"\x80"]),
    st.binary(max_size=10) | st.integers(120, 320).map(bytes),
    st.none() | st.tuples(st.integers(0, 400), st.integers(0, 255)),
)
def test_a_message_that_comes_alone_is_read_as_any_other(
    v5: bool,
    first: int,
    name: bytes,
    packet_id: int,
    about: bytes,
    payload: bytes,
    change: tuple[int, int] | None,
) -> None:
    """Of what is broken somewhere, or cut, or more than one, the short way says nothing; also
    behind one that was read so, and was as long."""
    packet = bytearray(publish(first, name, packet_id, about if v5 else b"", payload))
    knows, other = Decoder(v5, MOST), Decoder(v5, MOST)
    for other_name in (b"in", b"i", b"xx", b"otxer"):
        knows.feed(publish(0x30, other_name, 0, b"\0" if v5 else b"", b""))
    knows.lone_message(bytes(packet))
    if change is not None and change[0] < len(packet):
        packet[change[0]] = change[1]
    for data in (bytes(packet), bytes(packet[:-1]), bytes(packet) * 2):
        short = knows.lone_message(data)
        if short is None:
            continue
        arrivals = Decoder(v5, MOST).feed(data)
        topic, content, number = short
        assert told(arrivals) == [(topic, content, number, "")]
        assert arrivals.broken is None
        assert [*arrivals.others, *arrivals.exact, *arrivals.retained] == []
    assert other.lone_message(bytes(packet)) is None, "its topic is not known yet"


@pytest.mark.parametrize("v5", [True, False], ids=["5", "3.1.1"])
@pytest.mark.parametrize("size", [0, 1, 119, 120, 121, MOST])
@pytest.mark.parametrize("packet_id", [0, 9])
def test_most_that_come_alone_are_read_the_short_way(v5: bool, size: int, packet_id: int) -> None:
    parser = Decoder(v5, MOST)
    packet = publish(0x32 if packet_id else 0x30, b"in", packet_id, b"\0" * v5, bytes(size))
    assert parser.lone_message(packet) is None
    parser.feed(packet)
    assert parser.lone_message(packet) == ("in", bytes(size), packet_id)
    parser.feed(packet[:3])
    assert parser.lone_message(packet) is None, "a part of another is before it"


def test_those_of_many_sizes_and_topics_that_come_alone() -> None:
    parser = Decoder(True, MOST)
    names = [b"in/%d" % number for number in range(3)] + [b"long" * 500]
    for name in names:
        parser.feed(publish(0x30, name, 0, b"\0", b""))
    for _ in range(2):
        for size in range(200):
            for name in names:
                payload = bytes([size]) * size
                found = parser.lone_message(publish(0x32, name, size + 1, b"\0", payload))
                assert found == (name.decode(), payload, size + 1)


def test_an_answer_that_comes_alone() -> None:
    parser = Decoder(True)
    assert parser.lone_answer(b"\x40\x02\x01\x02") == 0x0102
    for other in (b"\x40\x03\x01\x02", b"\x50\x02\x01\x02", b"\x40\x02\x01", b""):
        assert parser.lone_answer(other) == 0
    parser.feed(b"\x40")
    assert parser.lone_answer(b"\x40\x02\x01\x02") == 0, "a part of another is before it"


def test_topics_are_forgotten_when_they_are_many_bytes() -> None:
    names = [b"%06d" % number * 5000 for number in range(1000)]  # 30 kB each
    names += [b"%05d" % (number % 40_000) for number in range(100_000)]
    parser = Decoder(False)
    found: list[str] = []
    for start in range(0, len(names), 500):
        packets = (publish(0x30, name, 0, b"", b"") for name in names[start : start + 500])
        found += parser.feed(b"".join(packets)).topics
        if start % 5000 == 0:  # looking takes a while
            # By their length once as bytes and once as text, and what an object of Python takes.
            assert held_bytes(parser) <= 4 * MOST_TOPIC_BYTES
    assert found == [name.decode() for name in names]
    assert held_bytes(parser) > 1000 * len(names[-1])
