"""Payloads that other libraries have made: pysparkplug 0.6.1, and Eclipse Tahu's own (0.1.2)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pyboot_svc.model.sparkplug.births import Births, PlacedPayload
from pyboot_svc.model.sparkplug.decoder import UnknownMetric, decode
from pyboot_svc.model.sparkplug.encoder import encode

RECORDED = Path(__file__).with_name("recorded")
AT = 1_777_636_800_000
BITS = [bool(one) for one in (0, 0, 1, 1, 0, 1, 0, 0, 1, 1, 0, 1)]
VALUES = [
    ("Int8", -128),
    ("Int16", -32768),
    ("Int32", -(2**31)),
    ("Int64", -(2**63)),
    ("UInt8", 255),
    ("UInt16", 65535),
    ("UInt32", 2**32 - 1),
    ("UInt64", 2**64 - 1),
    ("Float", 1.5),
    ("Double", -2.25),
    ("Boolean", True),
    ("String", "grün"),
    ("DateTime", AT),
    ("Text", ""),
    ("UUID", "00000000-0000-0000-0000-000000000001"),
    ("Bytes", b"\0\xff"),
    ("File", b"x"),
    ("Int8Array", [-23, 123]),
    ("Int16Array", [-30000, 30000]),
    ("Int32Array", [-1, 1]),
    ("Int64Array", [-(2**63)]),
    ("UInt8Array", [23, 250]),
    ("UInt16Array", [30, 52360]),
    ("UInt32Array", [52]),
    ("UInt64Array", [2**64 - 1]),
    ("FloatArray", [1.5]),
    ("DoubleArray", [12.25]),
    ("BooleanArray", BITS),
    ("StringArray", ["ABC", "hello"]),
    ("DateTimeArray", [AT]),
    ("Int32", None),
]


def recorded(name: str) -> bytes:
    return bytes.fromhex((RECORDED / f"{name}.hex").read_text())


def values_of(payload: dict[str, Any]) -> list[tuple[str, Any]]:
    return [(metric["datatype"], metric["value"]) for metric in payload["metrics"]]


def test_a_birth_of_each_datatype() -> None:
    found = decode(recorded("pysparkplug-birth"))
    assert (found["timestamp"], found["seq"]) == (AT, 0)
    assert values_of(found) == VALUES
    assert found["metrics"][3]["name"] == "m/3"
    assert found["metrics"][-1] == {
        "name": "none",
        "alias": 99,
        "timestamp": AT,
        "is_historical": True,
        "datatype": "Int32",
        "value": None,
    }
    assert encode(found) == recorded("pysparkplug-birth")


def test_data_by_alias_without_datatypes() -> None:
    births = Births()
    data = recorded("pysparkplug-data")
    with pytest.raises(UnknownMetric):
        decode(data)
    births.arrived("spBv1.0/G/NBIRTH/N", recorded("pysparkplug-birth"))
    placed = births.arrived("spBv1.0/G/NDATA/N", data)
    assert isinstance(placed, PlacedPayload)
    found = decode(placed, placed.names)
    assert values_of(found) == VALUES
    assert [metric["name"] for metric in found["metrics"]] == [
        *(f"m/{number}" for number in range(len(VALUES) - 1)),
        "none",
    ]


def test_what_has_parts() -> None:
    found = decode(recorded("tahu-data"))
    table, pump, small, old, none = found["metrics"]
    assert table["value"] == {
        "columns": ["Int8s", "Floats", "Texts"],
        "types": ["Int8", "Double", "String"],
        "rows": [[1, 2.5, "x"], [7, -0.5, "y"]],
    }
    members = [(one["name"], one["datatype"], one["value"]) for one in pump["value"]["metrics"]]
    assert members == [("RPMs", "Int32", 123), ("AMPs", "Float", 1.5)]
    assert pump["value"]["template_ref"] == "Pump"
    assert pump["value"]["parameters"] == [{"name": "Index", "type": "String", "value": "0"}]
    assert small["properties"] == {"engUnit": {"type": "String", "value": "MyUnits"}}
    assert (old["value"], old["is_historical"]) == (True, True)
    assert (none["datatype"], none["value"]) == ("Int16", None)
    assert decode(encode(found)) == found
