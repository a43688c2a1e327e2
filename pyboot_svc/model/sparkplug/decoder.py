"""Payloads of Sparkplug B to dicts, lists, text, numbers and bytes."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, cast

from pyboot_svc.model.sparkplug.datatypes import (
    BITS,
    BLOBS,
    DATATYPES,
    ELEMENTS,
    PROPERTIES,
    PROPERTIES_LIST,
    SIGNED,
    SLOTS,
    TEXTS,
    unpack_booleans,
    unpack_numbers,
    unpack_strings,
)
from pyboot_svc.model.sparkplug.wire import MOST_DEPTH, FieldReader, find_whole

Raw = int | bytes


class UnknownMetric(ValueError):
    """Only the birth says what a metric is, and it isn't known."""


@dataclass(frozen=True)
class Names:
    """What a birth has said: name and datatype of each alias, and the datatype of each name."""

    by_alias: Mapping[int, tuple[str, str]] = field(default_factory=dict)
    datatypes: Mapping[str, str] = field(default_factory=dict)


NO_NAMES = Names(MappingProxyType({}), MappingProxyType({}))


def decode(payload: bytes, names: Names = NO_NAMES) -> dict[str, Any]:
    """The payload as a dict; raises ValueError, and UnknownMetric for what needs another birth.

    `{"timestamp": ms, "seq": n, "metrics": […]}`, each metric with `name`, `datatype` and `value`,
    and with `alias`, `timestamp`, `properties` and the rest where it has them.
    """
    return _Decoder(names).payload(payload)


def sequence_number(payload: bytes) -> int | None:
    """Its `seq`, without a look at the metrics; None where it has none, or is no payload."""
    return find_whole(payload, _SEQ)


# Tags, which are the field's number * 8 + its wire type.
_SEQ = 24
_PAYLOAD = {8: "timestamp", _SEQ: "seq", 34: "uuid", 42: "body"}
_METRICS = 18
_METADATA = {
    8: "is_multi_part",
    18: "content_type",
    24: "size",
    32: "seq",
    42: "file_name",
    50: "file_type",
    58: "md5",
    66: "description",
}
_FLAGS = {40: "is_historical", 48: "is_transient"}
# The fields of a `oneof value`: of metrics, of parameters and properties, and in tables.
_OF_METRICS = dict(zip((80, 88, 101, 105, 112, 122, 130, 138, 146), SLOTS, strict=True))
_OF_PROPERTIES = {
    **dict(zip((24, 32, 45, 49, 56, 66), SLOTS[:6], strict=True)),
    74: PROPERTIES,
    82: PROPERTIES_LIST,
}
_OF_CELLS = dict(zip((8, 16, 29, 33, 40, 50), SLOTS[:6], strict=True))
# Values that say by themselves what they are.
_CLEAR = {
    "float": "Float",
    "double": "Double",
    "boolean": "Boolean",
    "string": "String",
    "dataset": "DataSet",
    "template": "Template",
    PROPERTIES: "PropertySet",
    PROPERTIES_LIST: "PropertySetList",
}


class _Decoder:
    """Of one payload."""

    def __init__(self, names: Names) -> None:
        self._names = names
        self._reader = FieldReader()
        self._depth = 0

    def payload(self, data: bytes) -> dict[str, Any]:
        found: dict[str, Any] = {}
        metrics = []
        for tag, raw in self._reader.read(data):
            if tag == _METRICS:
                metrics.append(self._metric(cast(bytes, raw)))
            elif tag in _PAYLOAD:
                found[_PAYLOAD[tag]] = _text(raw) if tag == 34 else raw
        found["metrics"] = metrics
        return found

    def _metric(self, data: bytes) -> dict[str, Any]:
        found: dict[str, Any] = {}
        datatype, null = "", False
        slot: str | None = None
        raw: Raw = b""
        for tag, value in self._reader.read(data):
            if tag in _OF_METRICS:
                slot, raw = _OF_METRICS[tag], value
            elif tag == 10:
                found["name"] = _text(value)
            elif tag == 16:
                found["alias"] = value
            elif tag == 24:
                found["timestamp"] = value
            elif tag == 32:
                datatype = _datatype(value)
            elif tag == 56:
                null = bool(value)
            elif tag in _FLAGS:
                found[_FLAGS[tag]] = bool(value)
            elif tag == 66:
                found["metadata"] = self._metadata(value)
            elif tag == 74:
                found["properties"] = self._nested(self._properties, value)
        if slot is None or null or not datatype or not found.get("name"):
            datatype = self._complete(found, datatype, slot)
        if datatype:
            found["datatype"] = datatype
        found["value"] = None if null or slot is None else self._value(datatype, slot, raw)
        return found

    def _complete(self, metric: dict[str, Any], datatype: str, slot: str | None) -> str:
        """Name and datatype by the birth, as far as the metric lacks them; gives the latter."""
        name, alias = metric.get("name"), metric.get("alias")
        if not name:
            if alias is None:
                raise ValueError("a metric has neither a name nor an alias")
            if alias not in self._names.by_alias:
                raise UnknownMetric(f"the alias {alias} is not known")
            metric["name"], known = self._names.by_alias[alias]
        else:
            known = self._names.datatypes.get(name, "")
        datatype = datatype or known
        if not datatype and slot is not None:
            if slot not in _CLEAR:
                raise UnknownMetric(f"the datatype of {name} is not known")
            return _CLEAR[slot]
        return datatype

    def _value(self, datatype: str, slot: str, raw: Raw) -> Any:
        read = _READERS.get((datatype, slot))
        if read is not None:
            return read(raw)
        if slot == "bytes" and (datatype in ELEMENTS or datatype.endswith("Array")):
            return self._array(datatype, cast(bytes, raw))
        nested = {
            ("DataSet", "dataset"): self._dataset,
            ("Template", "template"): self._template,
            ("PropertySet", PROPERTIES): self._properties,
            ("PropertySetList", PROPERTIES_LIST): self._properties_list,
        }.get((datatype, slot))
        if nested is None:
            raise ValueError(f"a {datatype or 'value'} can't be in the field {slot}_value")
        return self._nested(nested, raw)

    def _nested(self, read: Callable[[bytes], Any], raw: Raw) -> Any:
        self._depth += 1
        if self._depth > MOST_DEPTH:
            raise ValueError(f"it is nested more than {MOST_DEPTH} levels deep")
        value = read(cast(bytes, raw))
        self._depth -= 1
        return value

    def _array(self, datatype: str, data: bytes) -> list[Any]:
        if datatype == "BooleanArray":
            self._reader.spend(8 * len(data))
            return unpack_booleans(data)
        if datatype == "StringArray":
            self._reader.spend(data.count(b"\0"))
            return unpack_strings(data)
        self._reader.spend(len(data) // struct.calcsize(ELEMENTS[datatype]))
        return unpack_numbers(datatype, data)

    def _metadata(self, raw: Raw) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for tag, value in self._reader.read(cast(bytes, raw)):
            if tag in _METADATA:
                plain = _text(value) if isinstance(value, bytes) else value
                found[_METADATA[tag]] = bool(plain) if tag == 8 else plain
        return found

    def _properties(self, data: bytes) -> dict[str, Any]:
        keys, values = [], []
        for tag, raw in self._reader.read(data):
            if tag == 10:
                keys.append(_text(raw))
            elif tag == 18:
                values.append(self._typed(cast(bytes, raw), number_tag=8, null_tag=16))
        if len(keys) != len(values):
            raise ValueError(f"a property set has {len(keys)} keys and {len(values)} values")
        return dict(zip(keys, values, strict=True))

    def _properties_list(self, data: bytes) -> list[dict[str, Any]]:
        fields = self._reader.read(data)
        return [self._properties(cast(bytes, raw)) for tag, raw in fields if tag == 10]

    def _typed(self, data: bytes, number_tag: int, null_tag: int) -> dict[str, Any]:
        """A value of a property or a parameter, with its type; the name of the latter, too."""
        found: dict[str, Any] = {}
        datatype, null = "", False
        slot: str | None = None
        raw: Raw = b""
        for tag, value in self._reader.read(data):
            if tag in _OF_PROPERTIES:
                slot, raw = _OF_PROPERTIES[tag], value
            elif tag == number_tag:
                datatype = _datatype(value)
            elif tag == null_tag:
                null = bool(value)
            elif tag == 10:
                found["name"] = _text(value)
        if not datatype and slot is not None:
            datatype = _CLEAR.get(slot, "UInt64")
        if datatype:
            found["type"] = datatype
        found["value"] = None if null or slot is None else self._value(datatype, slot, raw)
        return found

    def _template(self, data: bytes) -> dict[str, Any]:
        found: dict[str, Any] = {}
        metrics, parameters = [], []
        for tag, raw in self._reader.read(data):
            if tag == _METRICS:
                metrics.append(self._metric(cast(bytes, raw)))
            elif tag == 26:
                parameters.append(self._typed(cast(bytes, raw), number_tag=16, null_tag=0))
            elif tag in (10, 34):
                found["version" if tag == 10 else "template_ref"] = _text(raw)
            elif tag == 40:
                found["is_definition"] = bool(raw)
        return {**found, "metrics": metrics, "parameters": parameters}

    def _dataset(self, data: bytes) -> dict[str, Any]:
        columns: list[str] = []
        types: list[str] = []
        rows = []
        for tag, raw in self._reader.read(data):
            if tag == 18:
                columns.append(_text(raw))
            elif tag == 24:
                types.append(_datatype(raw))
            elif tag == 26:  # packed, as newer compilers have it
                types += [_datatype(byte) for byte in cast(bytes, raw)]
            elif tag == 34:
                rows.append(cast(bytes, raw))
        if len(columns) != len(types):
            raise ValueError(f"a data set has {len(columns)} columns and {len(types)} types")
        table = [list(self._cells(row, types)) for row in rows]
        return {"columns": columns, "types": types, "rows": table}

    def _cells(self, data: bytes, types: list[str]) -> Iterator[Any]:
        cells = [cast(bytes, raw) for tag, raw in self._reader.read(data) if tag == 10]
        if len(cells) != len(types):
            raise ValueError(f"a data set has a row of {len(cells)} in {len(types)} columns")
        for cell, datatype in zip(cells, types, strict=True):
            value = None
            for tag, raw in self._reader.read(cell):
                if tag in _OF_CELLS:
                    value = self._value(datatype, _OF_CELLS[tag], raw)
            yield value


def _text(raw: Raw) -> str:
    return cast(bytes, raw).decode()


def _datatype(raw: Raw) -> str:
    """Empty for 0, which says nothing."""
    number = cast(int, raw)
    if number >= len(DATATYPES):
        raise ValueError(f"the datatype {number} is not one of Sparkplug 3.0's")
    return DATATYPES[number] if number else ""


def _whole(bits: int, signed: bool) -> Callable[[int], int]:
    """Also what was widened to 32 or 64 bits, with its sign or without."""
    mask, sign = (1 << bits) - 1, 1 << (bits - 1) if signed else 0

    def read(raw: int) -> int:
        raw &= mask
        return raw - mask - 1 if raw & sign else raw

    return read


def _float(raw: bytes) -> float:
    return cast(float, _FLOAT(raw)[0])


def _double(raw: bytes) -> float:
    return cast(float, _DOUBLE(raw)[0])


_FLOAT, _DOUBLE = struct.Struct("<f").unpack, struct.Struct("<d").unpack
_WHOLES = {name: _whole(bits, name in SIGNED) for name, bits in BITS.items()}
# What reads the values of each datatype out of each field that may have one.
_READERS: Mapping[tuple[str, str], Callable[[Any], Any]] = {
    **{(name, slot): read for name, read in _WHOLES.items() for slot in ("int", "long")},
    **{(name, "float"): _float for name in ("Float", "Double")},
    **{(name, "double"): _double for name in ("Float", "Double")},
    **{("Boolean", slot): bool for slot in ("boolean", "int")},
    **{(name, "string"): _text for name in TEXTS},
    **{(name, "bytes"): bytes for name in BLOBS},
}
