"""What a model returns to payloads of Sparkplug B."""

from __future__ import annotations

import struct
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from pyboot_svc.model.plain import simpler, type_name
from pyboot_svc.model.sparkplug.datatypes import (
    BITS,
    BLOBS,
    ELEMENTS,
    NUMBERS,
    SIGNED,
    TEXTS,
    pack_booleans,
    pack_numbers,
    pack_strings,
)
from pyboot_svc.model.sparkplug.wire import MOST_DEPTH, chunk, fixed, whole

_METADATA = {
    "is_multi_part": 1,
    "content_type": 2,
    "size": 3,
    "seq": 4,
    "file_name": 5,
    "file_type": 6,
    "md5": 7,
    "description": 8,
}
_METRIC_KEYS = frozenset(
    ("name", "alias", "timestamp", "datatype", "is_historical", "is_transient", "metadata")
) | {"properties", "value"}
_PAYLOAD_KEYS = frozenset(("timestamp", "metrics", "seq", "uuid", "body"))
_TEMPLATE_KEYS = frozenset(("version", "metrics", "parameters", "template_ref", "is_definition"))
_64_BITS = 64
# The number of the first field of each `oneof value`.
_OF_METRICS, _OF_PROPERTIES, _OF_CELLS = 10, 3, 1
_ADVICE = (
    "return a dict of values by the names of their metrics, or one with `metrics`, as it is decoded"
)


def encode(result: Any) -> bytes:
    """A payload of a dict: of values by name, with datatypes as they are and the time; or in the
    shape that `decode` gives. Raises ValueError, with the place of what can't be encoded."""
    try:
        value = result if isinstance(result, Mapping) else simpler(result)
    except TypeError:
        value = None
    if not isinstance(value, Mapping):
        raise ValueError(f"{type_name(result)}: {_ADVICE}")
    return _Encoder().payload(value)


class _Encoder:
    """Of one payload."""

    def __init__(self) -> None:
        self._depth = 0

    def payload(self, value: Mapping[str, Any]) -> bytes:
        if not _is_payload(value):
            value = {
                "timestamp": time.time_ns() // 1_000_000,
                "metrics": [{"name": name, "value": item} for name, item in value.items()],
            }
        parts = _Parts("result", value, _PAYLOAD_KEYS)
        parts.whole(1, "timestamp")
        parts.add(self._metrics(2, value["metrics"], "result"))
        parts.whole(3, "seq")
        parts.text(4, "uuid")
        if value.get("body") is not None:
            parts.add(chunk(5, memoryview(value["body"]).tobytes()))
        return parts.joined()

    def _metrics(self, number: int, metrics: Sequence[Any], place: str) -> bytes:
        return b"".join(
            chunk(number, self._metric(metric, f'{place}["metrics"][{index}]'))
            for index, metric in enumerate(metrics)
        )

    def _metric(self, metric: Mapping[str, Any], place: str) -> bytes:
        parts = _Parts(place, metric, _METRIC_KEYS)
        name = metric.get("name")
        if name is None and metric.get("alias") is None:
            raise ValueError(f"{place}: needs a `name`, or an `alias`")
        place = f"{place} ({name})" if name is not None else place
        parts.text(1, "name")
        parts.whole(2, "alias")
        parts.whole(3, "timestamp")
        datatype, value = _typed(metric, "datatype", place)
        if datatype:
            parts.add(whole(4, NUMBERS[datatype]))
        parts.flag(5, "is_historical")
        parts.flag(6, "is_transient")
        if value is None:
            parts.add(whole(7, 1))
        if metric.get("metadata") is not None:
            parts.add(chunk(8, _metadata(metric["metadata"], place)))
        if metric.get("properties") is not None:
            parts.add(chunk(9, self._properties(metric["properties"], place)))
        if value is not None:
            parts.add(self._value(_OF_METRICS, datatype, value, place))
        return parts.joined()

    def _value(self, first: int, datatype: str, value: Any, place: str) -> bytes:
        """The field of a `oneof value` whose whole numbers begin at the number `first`."""
        try:
            simple = _simple_value(first, datatype, value)
            if simple is not None:
                return simple
            if first == _OF_METRICS:
                return self._large_value(datatype, value, place)
            if first == _OF_PROPERTIES and datatype == "PropertySet":
                return chunk(9, self._nested(self._properties, value, place))
            if first == _OF_PROPERTIES and datatype == "PropertySetList":
                sets = (self._nested(self._properties, item, place) for item in value)
                return chunk(10, b"".join(chunk(1, one) for one in sets))
        except (TypeError, KeyError, AttributeError, struct.error, OverflowError) as error:
            problem = f"{type(error).__name__}: {error}"
            raise ValueError(f"{place}: {type_name(value)} is no {datatype}: {problem}") from None
        raise ValueError(f"{place}: a value of the datatype {datatype} has no place here")

    def _large_value(self, datatype: str, value: Any, place: str) -> bytes:
        """One that metrics alone can have."""
        if datatype == "DataSet":
            return chunk(17, self._nested(self._dataset, value, place))
        if datatype == "Template":
            return chunk(18, self._nested(self._template, value, place))
        if datatype in BLOBS:
            return chunk(16, memoryview(value).tobytes())
        if datatype.endswith("Array"):
            return chunk(16, _array(datatype, value))
        raise ValueError(f"{place}: a metric is no {datatype}")

    def _nested(self, write: Any, value: Any, place: str) -> bytes:
        self._depth += 1
        if self._depth > MOST_DEPTH:
            raise ValueError(f"{place}: is nested more than {MOST_DEPTH} levels deep")
        made: bytes = write(value, place)
        self._depth -= 1
        return made

    def _template(self, template: Mapping[str, Any], place: str) -> bytes:
        parts = _Parts(place, template, _TEMPLATE_KEYS)
        parts.text(1, "version")
        parts.add(self._metrics(2, template.get("metrics", ()), place))
        for parameter in template.get("parameters", ()):
            datatype, value = _typed(parameter, "type", place)
            named = chunk(1, parameter["name"].encode())
            typed = whole(2, NUMBERS[datatype]) if datatype else b""
            given = b"" if value is None else self._value(_OF_PROPERTIES, datatype, value, place)
            parts.add(chunk(3, named + typed + given))
        parts.text(4, "template_ref")
        parts.flag(5, "is_definition")
        return parts.joined()

    def _dataset(self, table: Mapping[str, Any], place: str) -> bytes:
        columns, types = table["columns"], table["types"]
        if len(columns) != len(types):
            raise ValueError(f"{place}: {len(columns)} columns and {len(types)} types")
        made = [whole(1, len(columns))]
        made += [chunk(2, column.encode()) for column in columns]
        made += [whole(3, NUMBERS[datatype]) for datatype in types]
        for row in table["rows"]:
            if len(row) != len(types):
                raise ValueError(f"{place}: a row of {len(row)} in {len(types)} columns")
            cells = (
                b"" if cell is None else self._value(_OF_CELLS, datatype, cell, place)
                for cell, datatype in zip(row, types, strict=True)
            )
            made.append(chunk(4, b"".join(chunk(1, cell) for cell in cells)))
        return b"".join(made)

    def _properties(self, properties: Mapping[str, Any], place: str) -> bytes:
        keys, values = b"", b""
        for key, given in properties.items():
            inner = f"{place}: property {key}"
            typed = given if isinstance(given, Mapping) else {"value": given}
            datatype, value = _typed(typed, "type", inner)
            keys += chunk(1, key.encode())
            kind = whole(1, NUMBERS[datatype]) if datatype else b""
            what = (
                whole(2, 1)
                if value is None
                else self._value(_OF_PROPERTIES, datatype, value, inner)
            )
            values += chunk(2, kind + what)
        return keys + values


class _Parts:
    """The fields of one message, taken from a dict by their keys."""

    def __init__(self, place: str, given: Any, keys: frozenset[str]) -> None:
        if not isinstance(given, Mapping):
            raise ValueError(f"{place}: must be a dict, not {type_name(given)}")
        if unknown := sorted(map(str, given.keys() - keys)):
            known = ", ".join(sorted(keys))
            raise ValueError(f"{place}: has the key {unknown[0]!r}; it may have {known}")
        self._place = place
        self._given = given
        self._made: list[bytes] = []

    def add(self, made: bytes) -> None:
        self._made.append(made)

    def joined(self) -> bytes:
        return b"".join(self._made)

    def whole(self, number: int, key: str) -> None:
        value = self._given.get(key)
        if isinstance(value, datetime):
            value = _milliseconds(value)
        if value is not None:
            self.add(whole(number, _in_range(value, _64_BITS, False, f'{self._place}["{key}"]')))

    def text(self, number: int, key: str) -> None:
        value = self._given.get(key)
        if value is not None:
            if not isinstance(value, str):
                raise ValueError(f'{self._place}["{key}"]: must be text, not {type_name(value)}')
            self.add(chunk(number, value.encode()))

    def flag(self, number: int, key: str) -> None:
        if self._given.get(key) is not None:
            self.add(whole(number, bool(self._given[key])))


def _is_payload(value: Mapping[str, Any]) -> bool:
    metrics = value.get("metrics")
    return isinstance(metrics, list | tuple) and all(isinstance(one, Mapping) for one in metrics)


def _typed(given: Mapping[str, Any], key: str, place: str) -> tuple[str, Any]:
    """Datatype and value: the former by the latter, where it is not given."""
    datatype, value = given.get(key), given.get("value")
    if datatype is None:
        return _inferred(value, place)
    if datatype not in NUMBERS or datatype == "Unknown":
        raise ValueError(f"{place}: {datatype!r} is no datatype of Sparkplug's")
    return datatype, value


def _inferred(value: Any, place: str) -> tuple[str, Any]:
    if value is None:
        return "", None
    if isinstance(value, list | tuple):
        return _inferred_array(value, place)
    datatype = _datatype_of(value)
    if datatype:
        return datatype, value
    if isinstance(value, Mapping):
        raise ValueError(f"{place}: a dict: give each value in it a metric of its own")
    return _inferred(_simpler(value, place), place)


def _inferred_array(values: Sequence[Any], place: str) -> tuple[str, Any]:
    values = [value if _datatype_of(value) else _simpler(value, place) for value in values]
    kinds = {_datatype_of(value) for value in values}
    if not kinds or kinds == {"Int64", "Double"}:
        return "DoubleArray", values
    found = f"{kinds.pop()}Array"
    if kinds or found not in (*ELEMENTS, "BooleanArray", "StringArray"):
        raise ValueError(f"{place}: an array has numbers, texts, times or truth values alone")
    return found, values


def _datatype_of(value: Any) -> str:
    """Of a single value; empty for what has none."""
    if isinstance(value, bool):
        return "Boolean"
    if isinstance(value, int):
        return "Int64" if value < 1 << 63 else "UInt64"
    kinds = {
        float: "Double",
        str: "String",
        bytes: "Bytes",
        bytearray: "Bytes",
        datetime: "DateTime",
        UUID: "UUID",
    }
    return next((name for kind, name in kinds.items() if isinstance(value, kind)), "")


def _simple_value(first: int, datatype: str, value: Any) -> bytes | None:
    """Of a number, a truth value or a text; None for anything else."""
    if datatype in BITS:
        bits = BITS[datatype]
        if isinstance(value, datetime):
            value = _milliseconds(value)
        wide = bits == _64_BITS
        raw = _in_range(value, bits, datatype in SIGNED, datatype) & ((1 << bits) - 1)
        return whole(first + wide, raw)
    if datatype == "Float":
        return fixed(first + 2, struct.pack("<f", value))
    if datatype == "Double":
        return fixed(first + 3, struct.pack("<d", value))
    if datatype == "Boolean":
        if value not in (0, 1):
            raise TypeError("it is neither true nor false")
        return whole(first + 4, bool(value))
    if datatype in TEXTS:
        text = str(value) if isinstance(value, UUID) else value
        return chunk(first + 5, text.encode())
    return None


def _array(datatype: str, values: Sequence[Any]) -> bytes:
    if datatype == "BooleanArray":
        return pack_booleans(values)
    if datatype == "StringArray":
        return pack_strings(values)
    if datatype == "DateTimeArray":
        values = [_milliseconds(one) if isinstance(one, datetime) else one for one in values]
    return pack_numbers(datatype, values)


def _in_range(value: Any, bits: int, signed: bool, place: str) -> int:
    value = value if isinstance(value, int) else _simpler(value, place)
    least, most = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)
    if not isinstance(value, int) or not least <= value <= most:
        raise ValueError(f"{place}: must be a whole number from {least} to {most}, not {value!r}")
    return int(value)


def _milliseconds(value: datetime) -> int:
    """Of UNIX time; one without a time zone is taken as UTC."""
    known = value if value.tzinfo is not None else value.replace(tzinfo=UTC)
    return round(known.timestamp() * 1000)


def _metadata(metadata: Mapping[str, Any], place: str) -> bytes:
    parts = _Parts(f"{place}: metadata", metadata, frozenset(_METADATA))
    for key, number in _METADATA.items():
        if key in ("size", "seq"):
            parts.whole(number, key)
        elif key == "is_multi_part":
            parts.flag(number, key)
        else:
            parts.text(number, key)
    return parts.joined()


def _simpler(value: Any, place: str) -> Any:
    try:
        found = simpler(value)
    except TypeError as error:
        raise ValueError(f"{place}: {error}") from None
    if found is value:
        raise ValueError(f"{place}: {type_name(value)} has no datatype of Sparkplug's")
    return found
