"""The frequent packets of MQTT, many at a time: PUBLISH of QoS 0 and 1, and PUBACK.

Layouts are those of MQTT 3.1.1 and 5, sections 2.1, 3.3 and 3.4.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence

from pyboot_svc.worker.message import DIGEST_BYTES, Message, digest_all

_PUBLISH, _PUBACK = 0x30, 0x40
_QOS_1 = 0x02
# Of a PUBLISH packet's first byte: its type and QoS, without DUP and RETAIN.
_KIND = 0xF6
_PUBLISHES = (_PUBLISH, _PUBLISH | _QOS_1)
_SHORT = 0x80
_LENGTH_BYTES = 4
_FAILURE = 0x80
_PUBACK_LENGTH_2 = 0x40020000
_USER_PROPERTY = b"\x26"
ID_PROPERTY = "pyboot-id"


class Malformed(Exception):
    """What arrived is not MQTT."""


class Arrivals:
    """What one read brought. `settled` are message numbers; `others` whole packets, unparsed."""

    __slots__ = ("messages", "others", "refused", "settled")

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.settled: list[int] = []
        self.refused: list[tuple[int, int]] = []
        self.others: list[bytes] = []


class Parser:
    """Cuts a connection's bytes into packets; `v5` tells the version."""

    def __init__(self, v5: bool, session: int) -> None:
        self._v5 = v5
        self._session = session
        self._last = b"", 0, 0, 0, ""
        self._parts: list[bytes] = []
        self._held = 0
        self._wanted = 0

    def feed(self, data: bytes, now: int) -> Arrivals:
        """All packets that are whole by now; the rest is kept. `now` is the time of arrival, ns.

        Raises Malformed, or IndexError for a packet shorter than what it says it holds.
        """
        arrivals = Arrivals()
        if self._parts:
            self._parts.append(data)
            self._held += len(data)
            if self._held < self._wanted:
                return arrivals  # of a large packet: nothing is copied until it is whole
            data = b"".join(self._parts)
        done = self._parse(data, now, arrivals)
        self._parts = [data[done:]] if done < len(data) else []
        self._held = len(data) - done
        return arrivals

    def _parse(self, data: bytes, now: int, arrivals: Arrivals) -> int:
        """Parse from the start; gives how many bytes were whole packets."""
        v5, session = self._v5, self._session
        append = arrivals.messages.append
        position, end = 0, len(data)
        # Most packets begin as the one before: `head` is its first bytes up to what differs.
        head, head_size, size, qos, topic = self._last
        self._wanted = 0
        while end - position >= 2:
            if head and data.startswith(head, position):
                stop = position + size
                at = position + head_size
            else:
                first, length = data[position], data[position + 1]
                body = position + 2
                if length >= _SHORT:
                    length, body = _long_length(data, position + 1)
                    if body == 0:
                        break
                stop = body + length
                if stop > end:
                    self._wanted = stop - position
                    break
                if first & _KIND not in _PUBLISHES:
                    if first == _PUBACK:
                        position = _parse_pubacks(data, position, body, stop, arrivals)
                    else:
                        arrivals.others.append(data[position:stop])
                        position = stop
                    continue
                at = body + 2 + (data[body] << 8 | data[body + 1])
                if at > stop:
                    raise Malformed("a PUBLISH packet is shorter than its topic")
                qos = first >> 1 & 1
                topic = data[body + 2 : at].decode()
                head, head_size, size = data[position:at], at - position, stop - position
            if stop > end:
                self._wanted = size
                break
            mid = 0
            if qos:
                mid = data[at] << 8 | data[at + 1]
                at += 2
            if v5:
                about = data[at]
                at += 1
                if about:
                    if about >= _SHORT:
                        about, at = _long_length(data, at - 1)
                    at += about
            if at > stop:
                raise Malformed("a PUBLISH packet is shorter than its properties")
            append(Message(topic, data[at:stop], qos, mid, session, now))
            position = stop
        self._last = head, head_size, size, qos, topic
        return position


def _parse_pubacks(data: bytes, position: int, body: int, stop: int, arrivals: Arrivals) -> int:
    """A run of short ones at once, or else this one; gives where the next packet starts."""
    count = (len(data) - position) // 4
    run = data[position : position + 4 * count]
    if count > 1 and run[0::4] == b"\x40" * count and run[1::4] == b"\x02" * count:
        arrivals.settled.extend(struct.unpack(f">{2 * count}H", run)[1::2])
        return position + len(run)
    if stop - body < 2:
        raise Malformed("a PUBACK packet without a packet identifier")
    mid = data[body] << 8 | data[body + 1]
    reason = data[body + 2] if stop - body > 2 else 0
    if reason < _FAILURE:
        arrivals.settled.append(mid)
    else:
        arrivals.refused.append((mid, reason))
    return stop


def _long_length(data: bytes, at: int) -> tuple[int, int]:
    """A variable byte integer, and where it ends: 0 when its end is not there yet."""
    if at + 1 < len(data) and data[at + 1] < _SHORT:  # by far the most frequent
        return data[at] & 0x7F | data[at + 1] << 7, at + 2
    value = shift = 0
    for position in range(at, min(at + _LENGTH_BYTES, len(data))):
        byte = data[position]
        value |= (byte & 0x7F) << shift
        if byte < _SHORT:
            return value, position + 1
        shift += 7
    if len(data) - at >= _LENGTH_BYTES:
        raise Malformed("a packet's length has more than four bytes")
    return 0, 0


def encode_length(value: int) -> bytes:
    """A variable byte integer."""
    if value < _SHORT:
        return bytes((value,))
    found = bytearray()
    while value >= _SHORT:
        found.append(value & 0x7F | _SHORT)
        value >>= 7
    found.append(value)
    return bytes(found)


class PublishEncoder:
    """Writes PUBLISH packets to one topic; the fixed header is made once per length.

    `properties` are those that all have in common (MQTT 5: encoded, with their length).
    """

    def __init__(self, topic: str, qos: int, properties: bytes) -> None:
        name = topic.encode()
        lead = len(name).to_bytes(2) + name
        if qos:
            self._heads = _Heads(_PUBLISH | _QOS_1, lead, 2 + len(properties))
            self._middle = properties
        else:
            self._heads = _Heads(_PUBLISH, lead + properties, 0)
        self._qos = qos

    def encode(
        self, payloads: Sequence[bytes], mids: Sequence[int] = (), ids: Sequence[bytes] = ()
    ) -> list[bytes]:
        """The packets' parts, to be joined.

        `mids` are the packet identifiers (QoS 1), `ids` what follows the properties in common,
        each of the same length; without any, nothing does.
        """
        self._heads.forget_if_many()
        id_size = len(ids[0]) if ids else 0
        columns: list[Sequence[bytes]] = []
        sizes = map(len, payloads)
        columns.append([self._heads[size + id_size] for size in sizes])
        if self._qos:
            columns.append(_mid_bytes(mids))
            columns.append([self._middle] * len(payloads))
        if ids:
            columns.append(ids)
        columns.append(payloads)
        width = len(columns)
        parts = [b""] * (width * len(payloads))
        for number, column in enumerate(columns):
            parts[number::width] = column
        return parts


class _Heads(dict[int, bytes]):
    """Fixed header and topic of a PUBLISH, by how many bytes differ from packet to packet."""

    _MOST = 1024

    def __init__(self, first: int, topic: bytes, more: int) -> None:
        self._first = bytes((first,))
        self._topic = topic
        self._more = more

    def __missing__(self, size: int) -> bytes:
        length = encode_length(len(self._topic) + self._more + size)
        head = self[size] = self._first + length + self._topic
        return head

    def forget_if_many(self) -> None:
        if len(self) > self._MOST:
            self.clear()


def _mid_bytes(mids: Sequence[int]) -> list[bytes]:
    packed = struct.pack(f">{len(mids)}H", *mids)
    return [packed[at : at + 2] for at in range(0, len(packed), 2)]


def encode_pubacks(mids: Sequence[int]) -> bytes:
    """PUBACK packets of success, of both versions."""
    return struct.pack(f">{len(mids)}I", *[_PUBACK_LENGTH_2 | mid for mid in mids])


def encode_user_properties(properties: Mapping[str, str]) -> bytes:
    """User properties of MQTT 5, with the length of all in front."""
    encoded = b"".join(
        _USER_PROPERTY + _string(key) + _string(value) for key, value in properties.items()
    )
    return encode_length(len(encoded)) + encoded


def encode_ids(messages: Sequence[Message]) -> list[bytes]:
    """The `id` of each message, as it stands in a packet."""
    size = 2 * DIGEST_BYTES
    digests = [message.digest for message in messages]
    if not all(digests):  # the model threads have made them
        digests = digest_all(messages)
    names = b"".join(digests).hex().encode()
    return [names[at : at + size] for at in range(0, len(names), size)]


def _string(text: str) -> bytes:
    encoded = text.encode()
    return len(encoded).to_bytes(2) + encoded


# What stands before the id in the properties of a result: their length, and its name.
ID_LEAD = encode_user_properties({ID_PROPERTY: "0" * (2 * DIGEST_BYTES)})[: -2 * DIGEST_BYTES]
