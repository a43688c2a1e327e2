"""The datatypes of Sparkplug 3.0 (section 6.4.16): each is a number on the wire, a name for us."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

DATATYPES = (
    *("Unknown", "Int8", "Int16", "Int32", "Int64", "UInt8", "UInt16", "UInt32", "UInt64"),
    *("Float", "Double", "Boolean", "String", "DateTime", "Text", "UUID", "DataSet", "Bytes"),
    *("File", "Template", "PropertySet", "PropertySetList", "Int8Array", "Int16Array"),
    *("Int32Array", "Int64Array", "UInt8Array", "UInt16Array", "UInt32Array", "UInt64Array"),
    *("FloatArray", "DoubleArray", "BooleanArray", "StringArray", "DateTimeArray"),
)
NUMBERS = {name: number for number, name in enumerate(DATATYPES)}
# Bits of each whole number; those that begin with U and times have no sign.
BITS = {
    "Int8": 8,
    "Int16": 16,
    "Int32": 32,
    "Int64": 64,
    "UInt8": 8,
    "UInt16": 16,
    "UInt32": 32,
    "UInt64": 64,
    "DateTime": 64,
}
SIGNED = frozenset(name for name in BITS if name.startswith("I"))
TEXTS = frozenset(("String", "Text", "UUID"))
BLOBS = frozenset(("Bytes", "File"))
# How `struct` calls an element of each packed array.
ELEMENTS = {
    "Int8Array": "b",
    "Int16Array": "h",
    "Int32Array": "i",
    "Int64Array": "q",
    "UInt8Array": "B",
    "UInt16Array": "H",
    "UInt32Array": "I",
    "UInt64Array": "Q",
    "FloatArray": "f",
    "DoubleArray": "d",
    "DateTimeArray": "q",
}


# Which field of a `oneof value` has it, in the order that all such messages have them in.
SLOTS = (
    *("int", "long", "float", "double", "boolean", "string"),
    *("bytes", "dataset", "template"),
)
PROPERTIES, PROPERTIES_LIST = "propertyset", "propertysets"


def unpack_numbers(name: str, data: bytes) -> list[Any]:
    """The elements of an array of numbers; raises ValueError."""
    code = ELEMENTS[name]
    count, rest = divmod(len(data), struct.calcsize(code))
    if rest:
        raise ValueError(f"{name} of {len(data)} bytes: they are no whole number of elements")
    return list(struct.unpack(f"<{count}{code}", data))


def unpack_booleans(data: bytes) -> list[bool]:
    """A count of 32 bits, then eight to a byte, the first one as its highest bit."""
    count = int.from_bytes(data[:4], "little")
    if len(data) < 4 or len(data) - 4 != (count + 7) // 8:
        raise ValueError(f"BooleanArray of {len(data)} bytes for {count} elements")
    bits = int.from_bytes(data[4:])
    return [bit == "1" for bit in f"{bits:0{8 * (len(data) - 4)}b}"[:count]]


def unpack_strings(data: bytes) -> list[str]:
    """Each ends with a zero byte."""
    if data and data[-1]:
        raise ValueError("StringArray that doesn't end with a zero byte")
    return data.decode().split("\0")[:-1]


def pack_numbers(name: str, values: Sequence[Any]) -> bytes:
    try:
        return struct.pack(f"<{len(values)}{ELEMENTS[name]}", *values)
    except (struct.error, OverflowError) as error:
        raise ValueError(f"{name}: {error}") from None


def pack_booleans(values: Sequence[bool]) -> bytes:
    bits = "".join("1" if value else "0" for value in values)
    size = (len(bits) + 7) // 8
    packed = int(bits.ljust(8 * size, "0") or "0", 2).to_bytes(size)
    return len(bits).to_bytes(4, "little") + packed


def pack_strings(values: Sequence[str]) -> bytes:
    if any("\0" in value for value in values):
        raise ValueError("StringArray: a text can't have a zero character")
    return b"".join(value.encode() + b"\0" for value in values)
