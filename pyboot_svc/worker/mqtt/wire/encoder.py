"""The frequent packets of MQTT as they are sent, many at a time: PUBLISH and PUBACK.

Layouts are those of MQTT 3.1.1 and 5, sections 2.1, 3.3 and 3.4. What arrives is decoder.py's.
"""

from __future__ import annotations

import struct
from collections.abc import Container, Mapping, Sequence

from pyboot_svc.config import ResultOptions
from pyboot_svc.worker.messages import ID_BYTES, ID_PROPERTY
from pyboot_svc.worker.properties import (
    LONGEST_STRING,
    PublishProperties,
    encode_length,
    encode_user,
)

_PUBLISH = 0x30
_QOS_1 = 0x02
_RETAIN = 0x01
_PUBACK_LENGTH_2 = 0x40020000
_PUBREC_LENGTH_2 = 0x50020000
_PUBCOMP_LENGTH_2 = 0x70020000
# What an encoder keeps of heads, each of which has the topic: of a usual one some 1000.
_MOST_HEAD_BYTES = 128 * 1024
# Of a head beside the topic: its header, the objects, its place in the dict.
_HEAD_BYTES = 100
PING = b"\xc0\0"


class PublishEncoder:
    """Writes PUBLISH packets to one topic; the fixed header is made once per length.

    `properties` are those that all have in common (MQTT 5: encoded, with their length).
    """

    def __init__(self, topic: str, qos: int, properties: bytes, *, retain: bool = False) -> None:
        name = topic.encode()
        lead = len(name).to_bytes(2) + name
        first = _PUBLISH | (_RETAIN if retain else 0)
        if qos:
            self._heads = _Heads(first | _QOS_1, lead, 2 + len(properties))
            self._middle = properties
        else:
            self._heads = _Heads(first, lead + properties, 0)
        self._qos = qos

    def encode(
        self, payloads: Sequence[bytes], packet_ids: Sequence[int] = (), ids: Sequence[bytes] = ()
    ) -> list[bytes]:
        """The packets' parts, to be joined.

        `packet_ids` are those of QoS 1, `ids` what follows the properties in common,
        each of the same length; without any, nothing does.
        """
        heads = self._heads
        id_size = len(ids[0]) if ids else 0
        columns: list[Sequence[bytes]] = []
        sizes = map(len, payloads)
        columns.append([heads[size + id_size] for size in sizes])
        if self._qos:
            columns.append(_id_bytes(packet_ids))
            columns.append([self._middle] * len(payloads))
        if ids:
            columns.append(ids)
        columns.append(payloads)
        width = len(columns)
        parts = [b""] * (width * len(payloads))
        for number, column in enumerate(columns):
            parts[number::width] = column
        return parts

    def encode_one(self, payload: bytes, packet_id: int = 0, id_: bytes = b"") -> bytes:
        """The same for a single one, whole: it costs few calls."""
        head = self._heads[len(payload) + len(id_)]
        if self._qos:
            return b"".join((head, packet_id.to_bytes(2), self._middle, id_, payload))
        return head + id_ + payload


class _Heads(dict[int, bytes]):
    """Fixed header and topic of a PUBLISH, by how many bytes differ from packet to packet."""

    def __init__(self, first: int, topic: bytes, more: int) -> None:
        self._first = bytes((first,))
        self._topic = topic
        self._more = more
        self._most = max(_MOST_HEAD_BYTES // (len(topic) + _HEAD_BYTES), 1)

    def __missing__(self, size: int) -> bytes:
        if len(self) >= self._most:
            self.clear()
        length = encode_length(len(self._topic) + self._more + size)
        head = self[size] = self._first + length + self._topic
        return head


def _id_bytes(packet_ids: Sequence[int]) -> list[bytes]:
    packed = struct.pack(f">{len(packet_ids)}H", *packet_ids)
    return [packed[at : at + 2] for at in range(0, len(packed), 2)]


def encode_pubacks(packet_ids: Sequence[int]) -> bytes:
    """PUBACK packets of success, of both versions."""
    if len(packet_ids) == 1:
        return (_PUBACK_LENGTH_2 | packet_ids[0]).to_bytes(4)
    return struct.pack(
        f">{len(packet_ids)}I", *[_PUBACK_LENGTH_2 | packet_id for packet_id in packet_ids]
    )


def encode_acknowledgements(packet_ids: Sequence[int], exact: Container[int]) -> bytes:
    """PUBACK packets of success, and PUBREC for those among `exact`, which came at QoS 2."""
    packets = [
        packet_id | (_PUBREC_LENGTH_2 if packet_id in exact else _PUBACK_LENGTH_2)
        for packet_id in packet_ids
    ]
    return struct.pack(f">{len(packet_ids)}I", *packets)


def encode_pubcomps(packet_ids: Sequence[int]) -> bytes:
    """PUBCOMP packets of success, of both versions."""
    return struct.pack(
        f">{len(packet_ids)}I", *[_PUBCOMP_LENGTH_2 | packet_id for packet_id in packet_ids]
    )


def encode_user_properties(properties: Mapping[str, str], others: bytes = b"") -> bytes:
    """User properties of MQTT 5 behind `others`, with the length of all in front."""
    encoded = others + encode_user(properties.items())
    return encode_length(len(encoded)) + encoded


def encode_result_properties(options: ResultOptions) -> bytes:
    """What all results have in common, by MQTT 5; without the length."""
    return PublishProperties(options.expiry, options.content_type).encode()


def id_lead(others: bytes = b"") -> bytes:
    """What stands before the id in the properties of a result: their length, `others`, its name."""
    return encode_user_properties({ID_PROPERTY: "0" * ID_BYTES}, others)[:-ID_BYTES]


def publish_size(topic: str, payload: int, qos: int, properties: int) -> int:
    """Bytes of a PUBLISH packet; those of payload and encoded properties are given."""
    body = 2 + len(topic.encode()) + (2 if qos else 0) + properties + payload
    return 1 + len(encode_length(body)) + body


def unsendable(topic: str, properties: Mapping[str, str]) -> str | None:
    """Why no PUBLISH can be made of it; None if it can."""
    if not topic or "+" in topic or "#" in topic or "\0" in topic:
        return "its topic is empty, or has a wildcard or a zero character in it"
    strings = [topic, *properties, *properties.values()]
    try:
        if all(len(text.encode()) <= LONGEST_STRING for text in strings):
            return None
    except UnicodeEncodeError:
        return "its topic or a property can't be encoded"
    return f"its topic or a property is longer than {LONGEST_STRING} bytes"
