"""Payloads both ways, beside Google's protobuf library with the schema of the specification."""

from __future__ import annotations

import math
import re
import struct
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyboot_svc.model.sparkplug.datatypes import BITS, DATATYPES, ELEMENTS, NUMBERS, SIGNED
from pyboot_svc.model.sparkplug.decoder import Names, UnknownMetric, decode, sequence_number
from pyboot_svc.model.sparkplug.encoder import encode

# Distributions have older ones, whose interface is another.
pytest.importorskip("google.protobuf", minversion="5.26")
Payload = pytest.importorskip("support.sparkplug").payload_class()
LONGS = st.integers(0, 2**64 - 1)
TEXT = st.text(max_size=8)


def numbers(datatype: str) -> st.SearchStrategy[int]:
    bits = BITS[datatype]
    if datatype in SIGNED:
        return st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    return st.integers(0, 2**bits - 1)


def of_type(datatype: str, values: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[str, Any]]:
    return values.map(lambda value: (datatype, value))


FLOATS = st.floats(width=32, allow_nan=False)
DOUBLES = st.floats(allow_nan=False)
SCALARS = st.one_of(
    *(of_type(name, numbers(name)) for name in BITS),
    of_type("Float", FLOATS),
    of_type("Double", DOUBLES),
    of_type("Boolean", st.booleans()),
    *(of_type(name, TEXT) for name in ("String", "Text", "UUID")),
)
ARRAYS = st.one_of(
    *(
        of_type(f"{name}Array", st.lists(numbers(name), max_size=4))
        for name in BITS
        if name != "DateTime"
    ),
    of_type("DateTimeArray", st.lists(st.integers(0, 2**62), max_size=4)),
    of_type("FloatArray", st.lists(FLOATS, max_size=4)),
    of_type("DoubleArray", st.lists(DOUBLES, max_size=4)),
    of_type("BooleanArray", st.lists(st.booleans(), max_size=20)),
    of_type("StringArray", st.lists(TEXT.filter(lambda one: "\0" not in one), max_size=4)),
    of_type("Bytes", st.binary(max_size=9)),
    of_type("File", st.binary(max_size=9)),
)


@st.composite
def data_sets(draw: st.DrawFn) -> tuple[str, Any]:
    cells = draw(st.lists(SCALARS, max_size=3))
    rows = [[value for _, value in cells], [None] * len(cells)]
    columns = [f"column {number}" for number in range(len(cells))]
    return "DataSet", {"columns": columns, "types": [name for name, _ in cells], "rows": rows}


def typed(values: st.SearchStrategy[tuple[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    given_ = values.map(lambda one: {"type": one[0], "value": one[1]})
    return given_ | st.just({"type": "Int32", "value": None})


def property_sets(depth: int = 1) -> st.SearchStrategy[dict[str, Any]]:
    values = SCALARS
    if depth:
        inner = property_sets(depth - 1)
        values |= of_type("PropertySet", inner)
        values |= of_type("PropertySetList", st.lists(inner, max_size=2))
    return st.dictionaries(TEXT, typed(values), max_size=3)


@st.composite
def metrics(draw: st.DrawFn, depth: int = 1) -> dict[str, Any]:
    values = SCALARS | ARRAYS | data_sets()
    if depth:
        values |= of_type("Template", templates(depth - 1))
    datatype, value = draw(values)
    metric = {"name": draw(TEXT.filter(bool)), "datatype": datatype}
    metric["value"] = draw(st.sampled_from((value, value, None)))
    more = {
        "alias": LONGS,
        "timestamp": LONGS,
        "is_historical": st.booleans(),
        "is_transient": st.booleans(),
        "metadata": st.fixed_dictionaries(
            {}, optional={"is_multi_part": st.booleans(), "size": LONGS, "md5": TEXT}
        ),
        "properties": property_sets(),
    }
    return {**metric, **draw(st.fixed_dictionaries({}, optional=more))}


def templates(depth: int) -> st.SearchStrategy[dict[str, Any]]:
    parameters = st.tuples(TEXT, typed(SCALARS)).map(lambda one: {"name": one[0], **one[1]})
    return st.fixed_dictionaries(
        {
            "metrics": st.lists(metrics(depth), max_size=2),
            "parameters": st.lists(parameters, max_size=2),
        },
        optional={"version": TEXT, "template_ref": TEXT, "is_definition": st.booleans()},
    )


PAYLOADS = st.fixed_dictionaries(
    {"metrics": st.lists(metrics(), max_size=3)},
    optional={"timestamp": LONGS, "seq": LONGS, "uuid": TEXT, "body": st.binary(max_size=9)},
)


@given(PAYLOADS)
def test_what_is_decoded_is_encoded_and_the_other_way_round(payload: dict[str, Any]) -> None:
    assert decode(encode(payload)) == payload


@given(PAYLOADS)
def test_the_reference_library_says_the_same(payload: dict[str, Any]) -> None:
    """It parses what we write, and we parse what it writes."""
    theirs = Payload.FromString(encode(payload))
    assert described(theirs) == payload
    assert decode(theirs.SerializeToString()) == payload


@given(st.binary(max_size=60))
def test_any_bytes_are_a_payload_or_an_error_in_words(data: bytes) -> None:
    with suppress(ValueError):
        encode(decode(data))


@given(PAYLOADS, st.data())
def test_a_payload_that_is_cut_or_damaged(payload: dict[str, Any], data: st.DataObject) -> None:
    encoded = bytearray(encode(payload))
    if encoded:
        encoded[data.draw(st.integers(0, len(encoded) - 1))] = data.draw(st.integers(0, 255))
    with suppress(ValueError):
        decode(bytes(encoded[: data.draw(st.integers(0, len(encoded)))]))


def described(message: Any) -> dict[str, Any]:
    """A message of the reference library in the shape of `decode`."""
    found = plain_fields(message, ("timestamp", "seq", "uuid", "body"))
    return {**found, "metrics": [metric_of(one) for one in message.metrics]}


def plain_fields(message: Any, names: tuple[str, ...]) -> dict[str, Any]:
    return {name: getattr(message, name) for name in names if message.HasField(name)}


def metric_of(message: Any) -> dict[str, Any]:
    names = ("name", "alias", "timestamp", "is_historical", "is_transient")
    found = {**plain_fields(message, names), "datatype": DATATYPES[message.datatype]}
    if message.HasField("metadata"):
        found["metadata"] = plain_fields(message.metadata, ("is_multi_part", "size", "md5"))
    if message.HasField("properties"):
        found["properties"] = properties_of(message.properties)
    found["value"] = value_of(message, DATATYPES[message.datatype])
    return found


def properties_of(message: Any) -> dict[str, Any]:
    values = [typed_of(value) for value in message.values]
    return dict(zip(message.keys, values, strict=True))


def typed_of(message: Any) -> dict[str, Any]:
    datatype = DATATYPES[message.type]
    return {"type": datatype, "value": value_of(message, datatype)}


def value_of(message: Any, datatype: str) -> Any:
    field = message.WhichOneof("value")
    if field is None:
        return None
    value = getattr(message, field)
    if datatype in SIGNED and value >= 2 ** (BITS[datatype] - 1):
        return value - 2 ** BITS[datatype]
    if datatype == "DataSet":
        types = [DATATYPES[number] for number in value.types]
        rows = [
            [value_of(cell, kind) for cell, kind in zip(row.elements, types, strict=True)]
            for row in value.rows
        ]
        return {"columns": list(value.columns), "types": types, "rows": rows}
    if datatype == "Template":
        found = plain_fields(value, ("version", "template_ref", "is_definition"))
        parameters = [{"name": one.name, **typed_of(one)} for one in value.parameters]
        members = [metric_of(one) for one in value.metrics]
        return {**found, "metrics": members, "parameters": parameters}
    if datatype == "PropertySet":
        return properties_of(value)
    if datatype == "PropertySetList":
        return [properties_of(one) for one in value.propertyset]
    return array_of(datatype, value) if datatype.endswith("Array") else value


def array_of(datatype: str, data: bytes) -> list[Any]:
    """By the specification's words, section 6.4.16."""
    if datatype == "StringArray":
        return [one.decode() for one in data.split(b"\0")[:-1]]
    if datatype == "BooleanArray":
        (count,) = struct.unpack_from("<I", data)
        return [bool(data[4 + at // 8] >> (7 - at % 8) & 1) for at in range(count)]
    return [value for (value,) in struct.iter_unpack(f"<{ELEMENTS[datatype]}", data)]


@pytest.mark.parametrize(
    ("datatype", "value", "data"),
    [
        ("Int8Array", [-23, 123], "E9 7B"),  # there it is EF, which is -17
        ("Int16Array", [-30000, 30000], "D0 8A 30 75"),
        ("Int32Array", [-1, 315338746], "FF FF FF FF FA AF CB 12"),
        ("BooleanArray", [*map(bool, (0, 0, 1, 1, 0, 1, 0, 0, 1, 1, 0, 1))], "0C 00 00 00 34 D0"),
        ("StringArray", ["ABC", "hello"], "41 42 43 00 68 65 6c 6c 6f 00"),
    ],
    ids=["Int8Array", "Int16Array", "Int32Array", "BooleanArray", "StringArray"],
)
def test_the_examples_of_the_specification(datatype: str, value: Any, data: str) -> None:
    encoded = encode({"metrics": [{"name": "a", "datatype": datatype, "value": value}]})
    message = Payload.FromString(encoded)
    assert message.metrics[0].bytes_value == bytes.fromhex(data)
    assert decode(encoded)["metrics"][0]["value"] == value


@pytest.mark.parametrize("raw", [0xFF, 0xFFFF, 0xFFFF_FFFF], ids=["8", "16", "32"])
def test_a_sign_may_be_of_its_own_width_or_of_the_field(raw: int) -> None:
    message = Payload()
    message.metrics.add(name="a", datatype=NUMBERS["Int8"], int_value=raw)
    assert decode(message.SerializeToString())["metrics"][0]["value"] == -1


def test_a_whole_number_may_be_in_the_longer_field() -> None:
    message = Payload()
    message.metrics.add(name="a", datatype=NUMBERS["Int32"], long_value=2**64 - 5)
    message.metrics.add(name="b", datatype=NUMBERS["UInt32"], long_value=7)
    assert [one["value"] for one in decode(message.SerializeToString())["metrics"]] == [-5, 7]


NAMES = Names({1: ("speed", "Int16")}, {"speed": "Int16"})


def data_of(**metric: Any) -> bytes:
    message = Payload()
    message.metrics.add(**metric)
    encoded: bytes = message.SerializeToString()
    return encoded


@pytest.mark.parametrize("metric", [{"alias": 1}, {"name": "", "alias": 1}, {"name": "speed"}])
def test_a_birth_says_name_and_datatype(metric: dict[str, Any]) -> None:
    [found] = decode(data_of(int_value=0xFFFE, **metric), NAMES)["metrics"]
    assert (found["name"], found["datatype"], found["value"]) == ("speed", "Int16", -2)


@pytest.mark.parametrize(
    ("metric", "problem"),
    [
        ({"alias": 2, "int_value": 1}, "the alias 2 is not known"),
        ({"alias": 2, "is_null": True}, "the alias 2 is not known"),
        ({"name": "other", "int_value": 1}, "the datatype of other is not known"),
        ({"name": "other", "bytes_value": b""}, "the datatype of other is not known"),
    ],
    ids=["alias", "null", "whole number", "bytes"],
)
def test_what_only_a_birth_can_say(metric: dict[str, Any], problem: str) -> None:
    with pytest.raises(UnknownMetric, match=problem):
        decode(data_of(**metric), NAMES)


def test_values_that_need_no_birth() -> None:
    message = Payload()
    message.metrics.add(name="a", double_value=1.5)
    message.metrics.add(name="b", boolean_value=True)
    message.metrics.add(name="c", string_value="x")
    message.metrics.add(name="d", is_null=True)
    values = [one["value"] for one in decode(message.SerializeToString())["metrics"]]
    assert values == [1.5, True, "x", None]


def metric_bytes(hexadecimal: str) -> bytes:
    data = bytes.fromhex(hexadecimal)
    return b"\x12" + bytes((len(data),)) + data


def deep_template(levels: int) -> bytes:
    """`levels` of them, each in the one before."""
    message = Payload()
    metric = message.metrics.add(name="a", datatype=NUMBERS["Template"])
    for _ in range(levels):
        metric = metric.template_value.metrics.add(name="a", datatype=NUMBERS["Template"])
    encoded: bytes = message.SerializeToString()
    return encoded


@pytest.mark.parametrize(
    ("payload", "problem"),
    [
        (b'{"value": 1}', "wire type 3"),
        (bytes(8), "without a number"),
        (b"\x12\x05\x0a", "in the middle of a field"),
        (b"\x08", "in the middle of a field"),
        (b"\x08" + b"\xff" * 11, "a number of more than 10 bytes"),
        (metric_bytes("0a 01 ff"), "utf-8"),
        (metric_bytes("20 0a"), "neither a name nor an alias"),
        (metric_bytes("0a 01 61 20 63 50 01"), "the datatype 99 is not one"),
        (metric_bytes("0a 01 61 20 0c 50 01"), "a String can't be in the field int_value"),
        (metric_bytes("0a 01 61 20 17 82 01 01 00"), "no whole number of elements"),
        (metric_bytes("0a 01 61 20 20 82 01 04 ff ff ff ff"), "BooleanArray of 4 bytes"),
        (metric_bytes("0a 01 61 20 21 82 01 01 61"), "doesn't end with a zero byte"),
        (metric_bytes("0a 01 61 20 10 8a 01 03 12 01 61"), "1 columns and 0 types"),
        (metric_bytes("0a 01 61 20 10 8a 01 07 12 01 61 18 03 22 00"), "a row of 0 in 1 columns"),
        (metric_bytes("0a 01 61 4a 03 0a 01 61"), "1 keys and 0 values"),
        (deep_template(17), "more than 16 levels"),
    ],
    ids=[
        *("JSON", "zeros", "cut", "no value", "long number", "text", "no name", "datatype"),
        *("wrong field", "half an element", "booleans", "strings", "columns", "row", "keys"),
        "depth",
    ],
)
def test_what_is_no_payload(payload: bytes, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        decode(payload)


@pytest.mark.parametrize(
    "payload",
    [
        b"\x12\x02\x10\x01" * 200_000,
        b"\xf8\x01\x00" * 1_100_000,
        data_of(name="a", datatype=NUMBERS["BooleanArray"], bytes_value=bytes(500_000)),
        data_of(name="a", datatype=NUMBERS["StringArray"], bytes_value=bytes(1_100_000)),
        data_of(name="a", datatype=NUMBERS["Int8Array"], bytes_value=bytes(1_100_000)),
    ],
    ids=["metrics", "unknown fields", "booleans", "strings", "numbers"],
)
def test_a_few_bytes_do_not_fill_the_memory(payload: bytes) -> None:
    with pytest.raises(ValueError, match="more than 1000000 fields"):
        decode(payload, NAMES)


def test_a_whole_dict_of_values() -> None:
    noon = datetime(2026, 5, 1, 12, tzinfo=UTC)
    values = {
        "flag": True,
        "count": 3,
        "large": 2**63,
        "mean": 2.5,
        "text": "x",
        "blob": b"\0",
        "at": noon,
        "naive": noon.replace(tzinfo=None),
        "id": UUID(int=1),
        "none": None,
        "whole": [1, 2],
        "mixed": (1, 2.5),
        "empty": [],
        "flags": [True, False],
        "texts": ["a", "b"],
        "times": [noon],
    }
    found = decode(encode(values))
    assert found["timestamp"] > 1_700_000_000_000
    milliseconds = 1_777_636_800_000
    assert {one["name"]: (one.get("datatype"), one["value"]) for one in found["metrics"]} == {
        "flag": ("Boolean", True),
        "count": ("Int64", 3),
        "large": ("UInt64", 2**63),
        "mean": ("Double", 2.5),
        "text": ("String", "x"),
        "blob": ("Bytes", b"\0"),
        "at": ("DateTime", milliseconds),
        "naive": ("DateTime", milliseconds),
        "id": ("UUID", str(UUID(int=1))),
        "none": (None, None),
        "whole": ("Int64Array", [1, 2]),
        "mixed": ("DoubleArray", [1.0, 2.5]),
        "empty": ("DoubleArray", []),
        "flags": ("BooleanArray", [True, False]),
        "texts": ("StringArray", ["a", "b"]),
        "times": ("DateTimeArray", [milliseconds]),
    }


def test_values_of_numpy() -> None:
    numpy = pytest.importorskip("numpy")
    values = {"a": numpy.float32(1.5), "b": numpy.int16(3), "c": numpy.arange(3.0)}
    found = decode(encode({**values, "nan": numpy.float64("nan")}))["metrics"]
    assert [(one["datatype"], one["value"]) for one in found[:3]] == [
        ("Double", 1.5),
        ("Int64", 3),
        ("DoubleArray", [0.0, 1.0, 2.0]),
    ]
    assert math.isnan(found[3]["value"])


def metric(datatype: str, value: Any, **more: Any) -> dict[str, Any]:
    return {"metrics": [{"name": "a", "datatype": datatype, "value": value, **more}]}


@pytest.mark.parametrize(
    ("result", "problem"),
    [
        (3, "int: return a dict of values"),
        ([1], "list: return a dict of values"),
        ({"a": {"b": 1}}, "(a): a dict: give each value in it a metric of its own"),
        ({"a": ["x", 1]}, "(a): an array has numbers, texts"),
        ({"a": [[1]]}, "(a): an array has numbers, texts"),
        ({"a": 1j}, "(a): complex"),
        ({"a": 2**64}, "must be a whole number from 0 to"),
        ({1: 1}, '["name"]: must be text, not int'),
        ({"metrics": [{"value": 1}]}, "needs a `name`, or an `alias`"),
        ({"metrics": [], "sequence": 1}, "has the key 'sequence'"),
        ({"metrics": [{"name": "a", "type": "Int8"}]}, "has the key 'type'"),
        ({"metrics": [], "seq": -1}, '["seq"]: must be a whole number'),
        (metric("Int", 1), "'Int' is no datatype of Sparkplug's"),
        (metric("Int8", 128), "must be a whole number from -128 to 127, not 128"),
        (metric("Int8", "1"), "str"),
        (metric("Double", "1"), "(a): str is no Double"),
        (metric("Float", 1e40), "(a): float is no Float"),
        (metric("Boolean", "false"), "it is neither true nor false"),
        (metric("String", 1), "(a): int is no String"),
        (metric("Bytes", 5), "(a): int is no Bytes"),
        (metric("Int8Array", [300]), "Int8Array"),
        (metric("StringArray", ["a\0b"]), "can't have a zero character"),
        (metric("PropertySet", {}), "a metric is no PropertySet"),
        (metric("DataSet", {"columns": ["a"], "types": []}), "1 columns and 0 types"),
        (metric("DataSet", {"columns": [], "types": [], "rows": [[1]]}), "a row of 1"),
        (metric("Int8", 1, properties={"p": b"x"}), "Bytes has no place here"),
        (metric("Int8", 1, metadata={"length": 1}), "has the key 'length'"),
        (metric("Int8", 1, metadata=1), "must be a dict, not int"),
    ],
)
def test_what_can_not_be_encoded(result: Any, problem: str) -> None:
    with pytest.raises(ValueError, match=re.escape(problem)):
        encode(result)


def test_a_template_in_itself() -> None:
    template: dict[str, Any] = {"metrics": []}
    template["metrics"].append({"name": "a", "datatype": "Template", "value": template})
    with pytest.raises(ValueError, match="nested more than 16 levels"):
        encode({"metrics": template["metrics"]})


def test_a_property_may_be_a_plain_value() -> None:
    [found] = decode(encode(metric("Int8", 1, properties={"Quality": 192})))["metrics"]
    assert found["properties"] == {"Quality": {"type": "Int64", "value": 192}}


def test_the_number_of_a_payload() -> None:
    assert sequence_number(encode({"seq": 200, "metrics": []})) == 200
    assert sequence_number(encode({"metrics": []})) is None
    assert sequence_number(b"\xff") is None
