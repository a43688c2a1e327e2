"""The JSON Schema of a record as it is told outside, each field with what it means."""

from __future__ import annotations

from collections.abc import Mapping
from types import NoneType, UnionType
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from pyboot_svc.metrics.meaning import Meaning
from pyboot_svc.metrics.snapshot import name_of

COUNT: dict[str, Any] = {"type": "integer", "minimum": 0}
_SIMPLE: Mapping[Any, dict[str, Any]] = {
    int: COUNT,
    float: {"type": "number"},
    bool: {"type": "boolean"},
    str: {"type": "string"},
}


def record_schema(record: type) -> dict[str, Any]:
    """An object, none of whose keys is required: a worker of another version may tell less."""
    types = get_type_hints(record, include_extras=True)
    properties = {name_of(name): _schema(kind) for name, kind in types.items()}
    return {"type": "object", "properties": properties}


def whole(schema: Mapping[str, Any]) -> dict[str, Any]:
    """An object that has all of its keys."""
    return {**schema, "required": list(schema["properties"])}


def nullable(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {**schema, "type": [schema["type"], "null"]}


def _schema(kind: Any) -> dict[str, Any]:
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _described(_schema(inner[0]), inner[1])
    if origin is UnionType:
        [there] = [one for one in inner if one is not NoneType]
        return nullable(_schema(there))
    if origin is list:
        return {"type": "array", "items": _schema(inner[0])}
    if origin is Mapping:
        return {"type": "object", "additionalProperties": _schema(inner[1])}
    return dict(_SIMPLE[kind]) if kind in _SIMPLE else record_schema(kind)


def _described(schema: dict[str, Any], meaning: Meaning) -> dict[str, Any]:
    if meaning.bounds:
        counts = schema["properties"]["counts"]
        size = len(meaning.bounds) + 1
        counts |= {"minItems": size, "maxItems": size}
        schema = whole(schema)
    unit = {"x-unit": meaning.unit} if meaning.unit else {}
    return {"description": meaning.text, **schema, **unit}
