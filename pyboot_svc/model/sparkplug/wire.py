"""Protobuf's wire format: messages as fields, by their tags, which are number * 8 + wire type."""

from __future__ import annotations

# What a payload may have of fields and elements of arrays, so that a few bytes don't fill the
# memory; a message in it counts as so many.
MOST_ITEMS = 1_000_000
_MESSAGE_ITEMS = 8
# Templates and property sets can be in each other.
MOST_DEPTH = 16
_VARINT, _EIGHT_BYTES, _BYTES, _FOUR_BYTES = 0, 1, 2, 5
_LONGEST_VARINT = 10
_64_BITS = (1 << 64) - 1

Field = tuple[int, int | bytes]


class FieldReader:
    """Reads the messages of one payload."""

    def __init__(self) -> None:
        self._left = MOST_ITEMS

    def spend(self, items: int) -> None:
        """Raises ValueError when it is more than one payload may have."""
        self._left -= items
        if self._left < 0:
            raise ValueError(f"more than {MOST_ITEMS} fields and elements")

    def read(self, data: bytes) -> list[Field]:
        """The fields in their order: whole numbers, or bytes; raises ValueError."""
        found: list[Field] = []
        append = found.append
        at, stop = 0, len(data)
        try:
            for _ in range(self._left):
                if at >= stop:
                    break
                tag = data[at]
                at += 1
                if tag > 0x7F:
                    tag, at = _varint(data, at - 1)
                if tag < 8:
                    raise ValueError(f"a field without a number at byte {at - 1}")
                wire = tag & 7
                if wire == _VARINT:
                    value = data[at]
                    at += 1
                    if value > 0x7F:
                        value, at = _varint(data, at - 1)
                    append((tag, value))
                    continue
                if wire == _BYTES:
                    size = data[at]
                    at += 1
                    if size > 0x7F:
                        size, at = _varint(data, at - 1)
                elif wire == _FOUR_BYTES:
                    size = 4
                elif wire == _EIGHT_BYTES:
                    size = 8
                else:
                    raise ValueError(f"wire type {wire} at byte {at}")
                start = at
                at += size
                append((tag, data[start:at]))
        except IndexError:
            at = stop + 1
        if at > stop:
            raise ValueError("it ends in the middle of a field")
        self.spend(len(found) + _MESSAGE_ITEMS + (at < stop))
        return found


def find_whole(data: bytes, wanted: int) -> int | None:
    """The whole number of the tag `wanted`, the last one, with all else passed over; None where
    there is none, or the data is no message."""
    found = None
    at, stop = 0, len(data)
    try:
        while at < stop:
            tag = data[at]
            at += 1
            if tag > 0x7F:
                tag, at = _varint(data, at - 1)
            wire = tag & 7
            if wire == _BYTES:
                size = data[at]
                at += 1
                if size > 0x7F:
                    size, at = _varint(data, at - 1)
                at += size
            elif wire == _VARINT:
                value, at = _varint(data, at)
                if tag == wanted:
                    found = value
            elif wire in (_FOUR_BYTES, _EIGHT_BYTES):
                at += 4 if wire == _FOUR_BYTES else 8
            else:
                return None
    except (IndexError, ValueError):
        return None
    return found


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """The number, and where the next field begins."""
    value = shift = 0
    for place in range(at, at + _LONGEST_VARINT):
        byte = data[place]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & _64_BITS, place + 1
        shift += 7
    raise ValueError(f"a number of more than {_LONGEST_VARINT} bytes at byte {at}")


def varint(value: int) -> bytes:
    if value < 0x80:
        return bytes((value,))
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    found.append(value)
    return bytes(found)


def whole(number: int, value: int) -> bytes:
    """The field `number` with a whole number that has no sign."""
    return varint(number << 3 | _VARINT) + varint(value)


def chunk(number: int, data: bytes) -> bytes:
    """The field `number` with bytes, a text or a message."""
    return varint(number << 3 | _BYTES) + varint(len(data)) + data


def fixed(number: int, data: bytes) -> bytes:
    """The field `number` with four or eight bytes."""
    return varint(number << 3 | (_FOUR_BYTES if len(data) == 4 else _EIGHT_BYTES)) + data
