"""Payloads in, results out: strict JSON, or bytes as they are."""

from __future__ import annotations

import datetime
import json
import math
import resource
import sys
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, IntEnum
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyboot_svc.model.codec import (
    Codec,
    PayloadError,
    PayloadFault,
    codec_named,
    fast_json,
    standard_json,
)

JSON = standard_json()
RAW = codec_named("raw")
FAST = fast_json()

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    # A lone surrogate is no text that UTF-8 can say.
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner),
    max_leaves=20,
)


@pytest.fixture(params=["standard", "orjson"])
def codec(request: pytest.FixtureRequest) -> Codec:
    """With orjson and without, all has to be the same."""
    if request.param == "standard":
        return JSON
    if FAST is None:
        pytest.skip("orjson is not installed")
    return FAST


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


def circular() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


class Hostile(dict[str, Any]):
    """A result whose own methods fail; not empty, or json wouldn't ask it."""

    def __init__(self) -> None:
        super().__init__(a=1)

    def items(self) -> Any:
        raise LookupError("no items today")


@pytest.mark.parametrize(
    ("payload", "fault"),
    [
        (b"", PayloadFault.EMPTY),
        (b"\xff", PayloadFault.NOT_UTF8),
        (b'"\xc3"', PayloadFault.NOT_UTF8),
        (b'"\xed\xa0\x80"', PayloadFault.NOT_UTF8),  # a surrogate
        (b'"\xc0\xaf"', PayloadFault.NOT_UTF8),  # overlong
        ('{"a": 1}'.encode("utf-16"), PayloadFault.NOT_UTF8),
        ('{"a": 1}'.encode("utf-16-le"), PayloadFault.NOT_JSON),  # UTF-8 as such, with zero bytes
        ('{"a": 1}'.encode("utf-32-be"), PayloadFault.NOT_JSON),
        (b"\xef\xbb\xbf\xef\xbb\xbf1", PayloadFault.NOT_JSON),  # one byte order mark, not two
        (b"\xfe\xff1", PayloadFault.NOT_UTF8),
        (b"\xef\xbb\xbf", PayloadFault.EMPTY),
        (b"\0\0", PayloadFault.EMPTY),
        (b"\x001", PayloadFault.NOT_JSON),
        (b"1\x002", PayloadFault.NOT_JSON),
        (b'"a\0"', PayloadFault.NOT_JSON),
        (b"1\0 2", PayloadFault.NOT_JSON),
        (b"1\0;", PayloadFault.NOT_JSON),
        (b"\0\r\n", PayloadFault.EMPTY),
        (b" ", PayloadFault.NOT_JSON),
        (b"23.5 C", PayloadFault.NOT_JSON),
        (b"{", PayloadFault.NOT_JSON),
        (b"{'a': 1}", PayloadFault.NOT_JSON),
        (b"[1,]", PayloadFault.NOT_JSON),
        (b"1 2", PayloadFault.NOT_JSON),
        (b"01", PayloadFault.NOT_JSON),
        (b'"a\nb"', PayloadFault.NOT_JSON),
        (b"nano", PayloadFault.NOT_JSON),
        (b"nan1", PayloadFault.NOT_JSON),
        (b"nan(ind", PayloadFault.NOT_JSON),
        (b"nan(a b)", PayloadFault.NOT_JSON),
        (b"inf(ind)", PayloadFault.NOT_JSON),
        (b"21.#INF", PayloadFault.NOT_JSON),
        (b"1.#INF5", PayloadFault.NOT_JSON),
        (b"9" * 5000, PayloadFault.NOT_JSON),
        (b"[" * 100_000 + b"]" * 100_000, PayloadFault.TOO_DEEP),
        (b'{"a":' * 100_000, PayloadFault.TOO_DEEP),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_what_is_no_payload(codec: Codec, payload: bytes, fault: PayloadFault) -> None:
    with pytest.raises(PayloadError) as caught:
        codec.decode(payload)
    assert caught.value.fault is fault


@pytest.mark.parametrize(
    ("payload", "value"),
    [
        (b"null", None),
        (b"0", 0),
        (b"-23.5e1", -235.0),
        (b' {"a": [true, false]} \r\n', {"a": [True, False]}),
        # As firmware sends it: with a string's end, a buffer's rest, or a byte order mark.
        (b'{"t":21.5}\0', {"t": 21.5}),
        (b'{"t":21.5}\r\n\0\0\0', {"t": 21.5}),
        (b'{"t":21.5}\0\r\n', {"t": 21.5}),
        (b'\xef\xbb\xbf{"t":21.5}\0\0\n\0 ', {"t": 21.5}),
        (b'\xef\xbb\xbf{"t":21.5}', {"t": 21.5}),
        (b"\xef\xbb\xbf1234567890123456789012\0", 1234567890123456789012),
        ('"温度 🌡"'.encode(), "温度 🌡"),
        (rb'"\u6e29\ud83c\udf21"', "温🌡"),
    ],
)
def test_payloads(codec: Codec, payload: bytes, value: Any) -> None:
    assert codec.decode(payload) == value


@pytest.mark.parametrize(
    ("result", "payload"),
    [
        (1.5, b"1.5"),
        ({"a": [1, None, True]}, b'{"a":[1,null,true]}'),
        ((1, 2), b"[1,2]"),
        ("温度", '"温度"'.encode()),
        ("", b'""'),
    ],
)
def test_results(codec: Codec, result: Any, payload: bytes) -> None:
    assert codec.encode(result) == payload


@pytest.mark.parametrize(
    "result",
    [
        *({math.inf: 1}, {math.nan: 1}),
        *({1j, 2}, object(), b"bytes", 1j, {(1, 2): 3}, len, int, iter([1])),
        *("\ud800", {"\udfff": 1}, 10**5000),
        *(circular(), nested(100_000), Hostile()),
    ],
    ids=lambda value: type(value).__name__,
)
def test_results_that_cannot_be_encoded(codec: Codec, result: Any) -> None:
    with pytest.raises(PayloadError) as caught:
        codec.encode(result)
    assert caught.value.fault is PayloadFault.NOT_ENCODABLE
    assert str(caught.value)


def test_moderate_nesting_is_fine() -> None:
    value = nested(100)
    assert JSON.decode(JSON.encode(value)) == value


def test_ten_megabytes_there_and_back() -> None:
    value = {"samples": [0.123456789] * 800_000}
    payload = JSON.encode(value)
    assert len(payload) > 9_500_000
    assert JSON.decode(payload) == value


def test_raw_bytes_pass_untouched() -> None:
    payload = bytes(range(256)) * 40_960  # 10 MB, of no encoding
    assert RAW.decode(payload) is payload
    assert RAW.encode(payload) is payload
    assert RAW.decode(b"") == b""


@pytest.mark.parametrize("result", [bytearray(b"a\x00"), memoryview(b"a\x00"), b"a\x00"])
def test_raw_results_of_bytes(result: Any) -> None:
    encoded = RAW.encode(result)
    assert type(encoded) is bytes
    assert encoded == b"a\x00"


@pytest.mark.parametrize("result", ["text", 1, {"a": 1}, [1.5]])
def test_other_results_of_a_raw_model_are_json(result: Any) -> None:
    assert RAW.encode(result) == JSON.encode(result)


@settings(deadline=None, max_examples=100)
@given(json_values)
def test_every_json_value_survives(value: Any) -> None:
    payload = JSON.encode(value)
    assert JSON.decode(payload) == value
    assert json.loads(payload) == value


@settings(deadline=None, max_examples=200)
@given(st.binary())
def test_arbitrary_bytes_give_a_value_or_a_payload_error(payload: bytes) -> None:
    fault: PayloadFault | None = None
    try:
        decoded = JSON.decode(payload)
        assert decoded == json.loads(payload.removeprefix(b"\xef\xbb\xbf").rstrip(b"\0"))
    except PayloadError as error:
        fault = error.fault
    assert fault in {None, PayloadFault.EMPTY, PayloadFault.NOT_UTF8, PayloadFault.NOT_JSON}


class Colour(Enum):
    RED = "red"


class Level(IntEnum):
    HIGH = 3


class Name(str):
    pass


class Pair(NamedTuple):
    a: int
    b: int


@dataclass
class Point:
    x: int


UUID = uuid.UUID("12345678123456781234567812345678")


def verdict(function: Callable[[Any], Any], value: Any) -> Any:
    """What comes of it: a value, or the kind of error."""
    try:
        return repr(function(value))
    except PayloadError as error:
        return error.fault


def said(codec: Codec, result: Any) -> Any:
    return verdict(lambda value: json.loads(codec.encode(value)), result)


@pytest.mark.parametrize(
    "result",
    [
        *(Colour.RED, [Level.HIGH], Name("n"), Pair(1, 2), UUID, {"id": UUID}, Point(1)),
        *({1: 2}, {Level.HIGH: 1}, {None: 1}, {1.5: 2}, {True: 1}, {Colour.RED: 1}),
        *(2**63, 2**64, -(2**63) - 1, 10**30, 1e16, 1e-7, 5e-324, -0.0, 123456789.123456789),
        *(datetime.date(2026, 1, 1), datetime.datetime(2026, 1, 1), None, [None, 1.5]),
        *({"a": math.nan, "b": None}, "null", {"null": 1}, "\u2028", "\x7f"),
    ],
    ids=repr,
)
def test_orjson_says_what_the_standard_library_says(result: Any) -> None:
    assert FAST is not None, "orjson is one of the tests' requirements"
    assert said(FAST, result) == said(JSON, result)


@settings(deadline=None, max_examples=200)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
        lambda inner: (
            st.lists(inner)
            | st.tuples(inner)
            | st.dictionaries(st.text() | st.integers() | st.floats() | st.none(), inner)
        ),
        max_leaves=10,
    )
)
def test_orjson_encodes_whatever_comes_as_the_standard_library(result: Any) -> None:
    assert FAST is not None
    assert said(FAST, result) == said(JSON, result)


@settings(deadline=None, max_examples=500)
@given(
    st.text('0123456789+-.eE[],{}": \\u00ndatrfls', max_size=40)
    | st.from_regex(r"-?\d{1,25}(\.\d{1,25})?([eE][+-]?\d{1,4})?", fullmatch=True)
)
def test_orjson_decodes_whatever_comes_as_the_standard_library(text: str) -> None:
    assert FAST is not None
    assert verdict(FAST.decode, text.encode()) == verdict(JSON.decode, text.encode())


@settings(deadline=None, max_examples=300)
@given(
    st.sampled_from([b"", b"\xef\xbb\xbf", b"\xef\xbb", b"\xff\xfe", b"\0"]),
    st.sampled_from([b"", b"1", b'{"t":21.5}', b" [] ", b'"\\u0000"', b"9" * 25, b"NaN", b"{"]),
    st.text("\0 \n", max_size=4).map(str.encode),
)
def test_orjson_takes_off_what_the_standard_library_takes_off(
    before: bytes, payload: bytes, after: bytes
) -> None:
    assert FAST is not None
    payload = before + payload + after
    assert verdict(FAST.decode, payload) == verdict(JSON.decode, payload)


def test_without_orjson_the_standard_library_does_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "orjson", None)
    assert fast_json() is None
    assert codec_named("json").decode(b"[1]") == [1]


def test_results_that_wait_take_little_memory() -> None:
    """Held to the bytes that the process has, since a buffer behind a result shows nowhere else."""
    pytest.importorskip("orjson")
    encode = codec_named("json").encode
    kept = [encode(number) for number in range(1000)]
    before = resident_kib()
    kept += [encode(number) for number in range(20_000)]
    assert resident_kib() - before < 500 * len(kept) / 1024


def resident_kib() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1024


@pytest.mark.parametrize(
    "payload",
    [b'"' + b'\\"' * 500_000, b"[nan" + b',"' * 500_000, b"[" + b'"\\\n' * 500_000],
    ids=["a text without an end", "texts of commas", "line ends that are escaped"],
)
def test_what_is_no_json_is_seen_in_one_pass(codec: Codec, payload: bytes) -> None:
    """From each quote on anew, this would take hours."""
    with pytest.raises(PayloadError, match="the payload is not JSON"):
        codec.decode(payload)
