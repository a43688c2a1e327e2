"""Cuts what arrives into packets: PUBLISH and PUBACK, many at a time.

Layouts are those of MQTT 3.1.1 and 5, sections 2.1, 3.3 and 3.4.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from sys import getsizeof
from typing import NamedTuple

from pyboot_svc.config.settings import DEFAULT_MAX_MESSAGE
from pyboot_svc.worker.invalid_messages import (
    HEADROOM_BYTES,
    Given,
    InvalidMessage,
    Oversize,
    examine,
    topic_trouble,
)
from pyboot_svc.worker.messages import About
from pyboot_svc.worker.mqtt.wire.errors import Malformed

_PUBLISH, _PUBACK = 0x30, 0x40
# With the bits that are fixed: what the sender of a message of QoS 2 says once it has a PUBREC.
_PUBREL = 0x62
_QOS_1 = 0x02
RETAIN = 0x01
DUP = 0x08
_MARKS = RETAIN | DUP
# Of a PUBLISH packet's first byte: the packet's type, and the higher bit of QoS.
_KIND, _QOS_2 = 0xF0, 0x04
_QOS_3 = 0x06
# Of a PUBLISH packet that is nothing special: all bits but that of QoS 1.
_NOT_LONE = 0xFF & ~_QOS_1
_SHORT = 0x80
# Where the length of what follows the first byte is short: that byte, it, and the topic's length.
_lone_head = struct.Struct(">BBH").unpack_from
# Of so many sizes, and no longer ones.
_MOST_LEADS, _LONGEST_LEAD = 64, 1024
_LENGTH_BYTES = 4
_FAILURE = 0x80
# PUBACK of success, without its packet identifier.
_LONE_ANSWER = bytes((_PUBACK, 2))
# Topics are kept as they stand in packets, so that each is decoded once; so many bytes of them.
MOST_TOPIC_BYTES = 4 * 1024**2
# Packets of one shape are cut so many at once.
_RUNS = (128, 16, 4)
# Of a run that turns out to be none, no more is looked at in vain.
_MOST_PUBACKS = 256


class Arrivals:
    """What one read brought: messages in columns as in `MessageBatch`, the numbers of messages that
    the broker has, those that it refused, with the reason and what stands behind it, and other
    packets, whole and unparsed.

    `exact` are the numbers of messages that came at QoS 2, and `released` those that it lets go;
    `about` tells more of those that it is told of. `duplicates` are the places of messages that the
    broker says it has sent before.
    `broken` says what ended it: nothing more can be read.
    """

    __slots__ = (
        *("about", "broken", "duplicates", "exact", "invalid", "others", "packet_ids"),
        *("payloads", "refused", "released", "retained", "settled", "topics"),
    )

    def __init__(self) -> None:
        self.topics: list[str] = []
        self.payloads: list[bytes] = []
        self.packet_ids: list[int] = []
        self.settled: list[int] = []
        self.refused: list[tuple[int, int, bytes]] = []
        self.others: list[bytes] = []
        self.exact: list[int] = []
        self.released: list[int] = []
        self.retained: list[int] = []
        self.duplicates: list[int] = []
        self.invalid: dict[int, InvalidMessage] = {}
        self.about: dict[int, About] = {}
        self.broken: Exception | None = None

    def add_about(self, first: int, properties: bytes = b"") -> None:
        """Of the message that is added next."""
        self.about[len(self.packet_ids)] = first, properties

    def note_marks(self, first: int, start: int, count: int) -> None:
        """Of so many messages from the place `start` on, which are retained, or duplicates."""
        places = range(start, start + count)
        if first & DUP:
            self.duplicates += places
        if not first & RETAIN:
            return
        for place in places:
            self.about.setdefault(place, (first, b""))
        if not first & DUP:
            self.retained += places

    def add_invalid(self, given: Given) -> None:
        """A message that is to be given up when its turn comes."""
        self.invalid[len(self.packet_ids)] = given.reason
        self.topics.append(given.topic)
        self.payloads.append(given.payload)
        self.packet_ids.append(given.mid)


class _Lead(NamedTuple):
    """What packets of messages begin with, up to the topic's end: the beginning itself, its size,
    the topic, and whether a packet identifier follows."""

    packet: bytes
    size: int
    topic: str
    numbered: bool


class Decoder:
    """Cuts a connection's bytes into packets; `v5` tells the version.

    Of a message whose payload is larger than `max_message` bytes, only the beginning is kept.
    """

    def __init__(self, v5: bool, max_message: int = DEFAULT_MAX_MESSAGE) -> None:
        self._v5 = v5
        self._most = max_message
        self._oversize: Oversize | None = None
        self._topics: dict[bytes, str] = {}
        self._topic_bytes = 0
        # Of messages that came alone, by the size of their packet.
        self._leads: dict[int, _Lead] = {}
        self._run: _Run | None = None
        self._parts: list[bytes] = []
        self._held = 0
        self._wanted = 0
        # Whether what comes next is the rest of a packet.
        self._within = False

    def feed(self, data: bytes) -> Arrivals:
        """All packets that are whole by now; the rest is kept."""
        arrivals = Arrivals()
        try:
            if self._oversize is not None:
                data = self._pass_over(self._oversize, data, arrivals)
            if self._parts:
                self._parts.append(data)
                self._held += len(data)
                if self._held < self._wanted:
                    return arrivals  # of a large packet: nothing is copied until it is whole
                data = b"".join(self._parts)
            done = self._parse(data, arrivals)
            self._parts = [data[done:]] if done < len(data) else []
            self._held = len(data) - done
            self._within = self._held > 0 or self._oversize is not None
        except Exception as error:  # Malformed, or what nobody has thought of
            arrivals.broken = error  # what came before is good
        return arrivals

    def lone_message(self, data: bytes) -> tuple[str, bytes, int] | None:
        """Topic, payload and packet identifier of the one message that is all of `data`.

        None when it takes more to say what came: then `feed` does. Where messages are rare, nearly
        each comes like this.
        """
        if self._within:
            return None
        lead = self._leads.get(len(data))  # mostly it begins as the last one of its size
        if lead is None or not data.startswith(lead[0]):
            lead = self._lead_of(data)
            if lead is None:
                return None
        _, at, topic, numbered = lead
        packet_id = 0
        if numbered:
            packet_id = data[at] << 8 | data[at + 1]
            at += 2
            if not packet_id:
                return None
        if self._v5:
            if data[at]:
                return None
            at += 1
        return topic, data[at:], packet_id

    def _lead_of(self, data: bytes) -> _Lead | None:
        """Of what is one whole packet of a topic that is known, and not too large."""
        stop = len(data)
        if stop < 5:
            return None
        first, length, size = _lone_head(data)
        name = 4
        if length >= _SHORT:
            if data[2] >= _SHORT:
                return None
            length, name = length & 0x7F | data[2] << 7, 5
            size = data[3] << 8 | data[4]
        if length + name != stop + 2 or first & _NOT_LONE != _PUBLISH:
            return None
        at, qos = name + size, first & _QOS_1
        topic = self._topics.get(data[name:at])
        # Of a packet that isn't broken there is an identifier, and the length of the properties.
        head = at + qos + self._v5
        if topic is None or not head <= stop <= head + self._most:
            return None
        lead = _Lead(data[:at], at, topic, qos > 0)
        if at <= _LONGEST_LEAD:
            if len(self._leads) >= _MOST_LEADS:
                self._leads.clear()
            self._leads[stop] = lead
        return lead

    def lone_answer(self, data: bytes) -> int:
        """The packet identifier of the short PUBACK that is all of `data`; else 0."""
        if len(data) != 4 or self._within or not data.startswith(_LONE_ANSWER):
            return 0
        return data[2] << 8 | data[3]

    def _parse(self, data: bytes, arrivals: Arrivals) -> int:
        """Parse from the start; gives how many bytes were whole packets."""
        v5, known, most = self._v5, self._topics, self._most
        add_topic, add_payload = arrivals.topics.append, arrivals.payloads.append
        add_packet_id = arrivals.packet_ids.append
        position, end = 0, len(data)
        lead, size, runs = b"", 0, True
        self._wanted = 0
        while end - position >= 2:
            # Not of the next packet, but of the one after it: most that differ fail this.
            if runs and size and data.startswith(lead, position + size):
                done = self._cut_run(data, position, lead, size, arrivals)
                if done > position:
                    position = done
                    continue
                runs = done == position
            first, length = data[position], data[position + 1]
            body = position + 2
            if length >= _SHORT:
                length, body = _long_length(data, position + 1)
                if body == 0:
                    break
            stop = body + length
            if stop > end:
                self._wanted = stop - position
                if length > most + HEADROOM_BYTES:
                    self._oversize = _oversize(first, length, data[body:])
                    return end
                break
            if first & _KIND != _PUBLISH or first & _QOS_2:
                if first & _KIND == _PUBLISH and first & _QOS_3 == _QOS_3:
                    raise Malformed("a PUBLISH packet of QoS 3")
                if first == _PUBACK and length == 2 and stop == end:  # alone, or the last one
                    arrivals.settled.append(data[body] << 8 | data[body + 1])
                    position = stop
                elif first == _PUBACK:
                    position = _parse_pubacks(data, position, body, stop, arrivals)
                else:
                    self._take_unusual(data[position:stop], body - position, arrivals)
                    position = stop
                continue
            try:
                at = body + 2 + (data[body] << 8 | data[body + 1])
                name = data[body + 2 : at]
                topic = known.get(name)
                packet_id = 0
                if first & _QOS_1:
                    packet_id = data[at] << 8 | data[at + 1]
                    at += 2
                if v5:
                    about = data[at]
                    at += 1
                    if about:
                        if about >= _SHORT:
                            about, at = _length_within(data, at - 1, stop)
                        arrivals.add_about(first, data[at : min(at + about, stop)])
                        at += about
            except IndexError:  # at the buffer's end
                at = stop + 1
            # All of it has to be within the packet: what stands behind is another one's.
            if at > stop or stop - at > most or (first & _QOS_1 and not packet_id):
                self._take_invalid(first, data[body:stop], length, arrivals)
                position = stop
                continue
            if topic is None:
                topic = self._learn(name)
                if topic is None:
                    self._take_invalid(first, data[body:stop], length, arrivals)
                    position = stop
                    continue
            add_topic(topic)
            add_payload(data[at:stop])
            add_packet_id(packet_id)
            if first & _MARKS:
                arrivals.note_marks(first, len(arrivals.packet_ids) - 1, 1)
            lead, size = data[position : body + 2], stop - position
            position = stop
        return position

    def _take_unusual(self, packet: bytes, body: int, arrivals: Arrivals) -> None:
        """QoS 2 comes only of a session that was subscribed so before; the rest is not ours."""
        first = packet[0]
        if first & _KIND == _PUBLISH and not first & _QOS_1:
            # But for how it is acknowledged, it is like one of QoS 1.
            known = len(arrivals.packet_ids)
            like = bytes((first ^ _QOS_2 ^ _QOS_1,)) + packet[1:]
            self._parse(like, arrivals)
            arrivals.exact += arrivals.packet_ids[known:]
            for place in range(known, len(arrivals.packet_ids)):
                _, properties = arrivals.about.get(place, (0, b""))
                arrivals.about[place] = first, properties
        elif first == _PUBREL and len(packet) - body >= 2:
            arrivals.released.append(packet[body] << 8 | packet[body + 1])
        else:
            arrivals.others.append(packet)

    def _cut_run(
        self, data: bytes, position: int, lead: bytes, size: int, arrivals: Arrivals
    ) -> int:
        """Cut packets of one shape, as many as there are; gives where the next one starts.

        -1: what looked like a run was none, so that it had better not be tried again and again.
        """
        run = self._run
        if run is None or run.lead != lead or run.size != size:
            run = self._run = _Run(lead, size, self._v5, self._most)
        start, failed = position, False
        for count in _RUNS:
            while data.startswith(lead, position + (count - 1) * size):
                columns = run.cut(data, position, count)
                if columns is None:
                    failed = True
                    break
                names, packet_ids, payloads = columns
                if names.count(names[0]) == count:
                    topics = [self._topic(names[0])] * count
                else:
                    topics = list(map(self._topic, names))
                if None in topics:
                    failed = True
                    break
                if lead[0] & _MARKS:
                    arrivals.note_marks(lead[0], len(arrivals.packet_ids), count)
                arrivals.topics += topics  # type: ignore[arg-type]
                arrivals.packet_ids += packet_ids
                arrivals.payloads += payloads
                position += count * size
        return -1 if failed and position == start else position

    def _topic(self, name: bytes) -> str | None:
        return self._topics.get(name) or self._learn(name)

    def _learn(self, name: bytes) -> str | None:
        """None when it is no topic."""
        if topic_trouble(name) is not None:
            return None
        topic = name.decode()
        self._topic_bytes += getsizeof(name) + getsizeof(topic)
        if self._topic_bytes > MOST_TOPIC_BYTES:
            self._topics.clear()
            self._topic_bytes = getsizeof(name) + getsizeof(topic)
        self._topics[name] = topic
        return topic

    def _pass_over(self, oversize: Oversize, data: bytes, arrivals: Arrivals) -> bytes:
        """What comes behind it, once it has gone by."""
        rest = oversize.skip(data)
        if not oversize.left:
            self._oversize = None
            exact = oversize.first & _QOS_2
            first = oversize.first | _QOS_1 if exact else oversize.first
            self._take_invalid(first, oversize.head, oversize.length, arrivals)
            if exact:
                arrivals.exact.append(arrivals.packet_ids[-1])
        return rest

    def _take_invalid(self, first: int, head: bytes, length: int, arrivals: Arrivals) -> None:
        """Of a PUBLISH packet, what stands behind its length, or the beginning of it."""
        given = _read_invalid(first, head, length, self._v5, self._most)
        if first & DUP:
            arrivals.duplicates.append(len(arrivals.packet_ids))
        elif first & RETAIN:
            arrivals.retained.append(len(arrivals.packet_ids))
        arrivals.add_invalid(given)


class _Run:
    """Cuts PUBLISH packets of one shape by one call: as long as each other, their topics too.

    `lead` is how they all begin: the fixed header and the topic's length.
    """

    def __init__(self, lead: bytes, size: int, v5: bool, max_message: int) -> None:
        self.lead = lead
        self.size = size
        self._qos = lead[0] >> 1 & 1
        self._v5 = v5
        name = lead[-2] << 8 | lead[-1]
        payload = size - len(lead) - name - 2 * self._qos - v5
        self._one = f"{len(lead)}s{name}s{'H' * self._qos}{'B' * v5}{payload}s"
        self._width = 3 + self._qos + v5
        self._structs: dict[int, struct.Struct] = {}
        self._possible = 0 <= payload <= max_message

    def cut(
        self, data: bytes, at: int, count: int
    ) -> tuple[Sequence[bytes], Sequence[int], Sequence[bytes]] | None:
        """Topics, packet identifiers, payloads; None when one of so many is different."""
        if not self._possible or at + count * self.size > len(data):
            return None
        found = self._structs.get(count)
        if found is None:
            found = self._structs[count] = struct.Struct(">" + self._one * count)
        values, width = found.unpack_from(data, at), self._width
        # Different are also those with properties: this takes the byte 0 that says there are none.
        if values[::width].count(self.lead) < count:
            return None
        if self._v5 and values[width - 2 :: width].count(0) < count:
            self._possible = False
            return None
        if not self._qos:
            return values[1::width], (0,) * count, values[width - 1 :: width]
        packet_ids = values[2::width]
        return (
            None if 0 in packet_ids else (values[1::width], packet_ids, values[width - 1 :: width])
        )


def _parse_pubacks(data: bytes, position: int, body: int, stop: int, arrivals: Arrivals) -> int:
    """A run of short ones at once, or else this one; gives where the next packet starts."""
    count = min((len(data) - position) // 4, _MOST_PUBACKS) if stop - position == 4 else 0
    run = data[position : position + 4 * count]
    if count > 1 and run[0::4] == b"\x40" * count and run[1::4] == b"\x02" * count:
        arrivals.settled.extend(struct.unpack(f">{2 * count}H", run)[1::2])
        return position + len(run)
    if stop - body < 2:
        raise Malformed("a PUBACK packet without a packet identifier")
    packet_id = data[body] << 8 | data[body + 1]
    reason = data[body + 2] if stop - body > 2 else 0
    if reason < _FAILURE:
        arrivals.settled.append(packet_id)
    else:
        arrivals.refused.append((packet_id, reason, data[body + 3 : stop]))
    return stop


def _read_invalid(first: int, head: bytes, length: int, v5: bool, most: int) -> Given:
    at = 2 + int.from_bytes(head[:2])
    name, packet_id = head[2:at], -1
    if first & _QOS_1:
        packet_id = int.from_bytes(head[at : at + 2])
        at += 2
    if at > length:
        # Of two lengths that disagree either may be wrong, and it could not be acknowledged.
        raise Malformed("a PUBLISH packet is shorter than its topic")
    trouble, begin = "", at
    if v5:
        about, at = _length_within(head, at, length)
        if at + about > length:
            trouble, at = "its properties are longer than its packet", begin
        else:
            at += about
    return examine(name, head[at:], length - at, packet_id, most, trouble=trouble)


def _oversize(first: int, length: int, data: bytes) -> Oversize:
    if first & _KIND != _PUBLISH or first & _QOS_3 == _QOS_3:
        raise Malformed(f"a packet of {length} bytes that is no message")
    return Oversize(first, length, data)


def _length_within(data: bytes, at: int, stop: int) -> tuple[int, int]:
    """A variable byte integer that ends before `stop`, and where; behind `stop` if it doesn't."""
    value = shift = 0
    for position in range(at, min(at + _LENGTH_BYTES, stop, len(data))):
        byte = data[position]
        value |= (byte & 0x7F) << shift
        if byte < _SHORT:
            return value, position + 1
        shift += 7
    return 0, stop + 1


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
