"""Payloads in other formats than JSON, and compressed ones."""

from __future__ import annotations

import gzip
import math
import sys
import zlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from importlib.metadata import EntryPoint
from typing import Any

import cbor2
import msgpack
import numpy as np
import pandas as pd
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from support.store import configured

from pyboot_svc.errors import ModelError
from pyboot_svc.model.codec import Codec, PayloadError
from pyboot_svc.model.formats import codec_of


def codec(name: str = "json", **more: Any) -> Codec:
    return codec_of(configured(codec=name, **more).edge)


def fault(call: Any, value: Any) -> str:
    with pytest.raises(PayloadError) as caught:
        call(value)
    return f"{caught.value.fault}: {caught.value}"


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


@pytest.mark.parametrize("name", ["msgpack", "cbor"])
@given(value=values)
def test_what_is_encoded_is_decoded(name: str, value: Any) -> None:
    both = codec(name)
    assert both.decode(both.encode(value)) == value


@pytest.mark.parametrize(("name", "theirs"), [("msgpack", msgpack.unpackb), ("cbor", cbor2.loads)])
def test_what_scientists_return(name: str, theirs: Any) -> None:
    result = {
        "mean": np.float32(0.5),
        "values": np.arange(3),
        "table": pd.DataFrame({"a": [1, 2]}),
        "span": timedelta(minutes=1),
    }
    assert theirs(codec(name).encode(result)) == {
        "mean": 0.5,
        "values": [0, 1, 2],
        "table": [{"a": 1}, {"a": 2}],
        "span": 60.0,
    }


@pytest.mark.parametrize(
    ("name", "payload", "said"),
    [
        ("msgpack", b"\xc1", "not_decodable: the payload is not MessagePack: "),
        ("msgpack", b"\x01\x02", "not_decodable: the payload is not MessagePack: "),
        ("msgpack", b"\x81", "not_decodable: the payload is not MessagePack: "),
        ("cbor", b"\x1c", "not_decodable: the payload is not CBOR: "),
        ("cbor", b"\x01\x02", "not_decodable: the payload is not CBOR: ValueError: there is more"),
        ("cbor", b"", "not_decodable: the payload is not CBOR: "),
        ("csv", b'a"b,"c', "not_decodable: the payload is not CSV: "),
        ("csv", b"\xff", "not_utf8: the payload is not UTF-8: "),
        ("text", b"\xff", "not_utf8: the payload is not UTF-8: "),
    ],
)
def test_payloads_that_are_none(name: str, payload: bytes, said: str) -> None:
    assert fault(codec(name).decode, payload).startswith(said)


@pytest.mark.parametrize("name", ["msgpack", "cbor"])
def test_results_that_can_not_be_encoded(name: str) -> None:
    assert fault(codec(name).encode, {"a": object()}).startswith("not_encodable: the result can't")


@given(st.binary(max_size=60))
def test_no_payload_is_another_error(payload: bytes) -> None:
    for name in ("text", "csv", "msgpack", "cbor"):
        try:
            codec(name).decode(payload)
        except PayloadError:
            pass


@pytest.mark.parametrize(
    ("result", "payload"),
    [
        ("grün", "grün".encode()),
        (21.5, b"21.5"),
        (np.int64(7), b"7"),
        (True, b"true"),
        (b"\xff", b"\xff"),
    ],
)
def test_text(result: Any, payload: bytes) -> None:
    assert codec("text").encode(result) == payload
    assert codec("text").decode("\ufeffgrün".encode()) == "grün"


def test_the_zero_at_the_end_of_a_string_of_c_is_no_part_of_it() -> None:
    assert codec("text").decode(b"21.5\0") == "21.5"
    assert codec("csv").decode(b"1,2\0") == [[1, 2]]
    assert codec("csv").decode(b"1,2\r\n\0\0") == [[1, 2]]


@pytest.mark.parametrize("result", [{"a": 1}, [1], math.nan, 1j])
def test_what_is_no_text(result: Any) -> None:
    assert fault(codec("text").encode, result).startswith("not_encodable: ")


def test_csv() -> None:
    both = codec("csv")
    payload = b'time,"a, b",c\r\n2026-01-02,1.5,-3\r\n,1_000,1e3\r\n'
    assert both.decode(payload) == [
        ["time", "a, b", "c"],
        ["2026-01-02", 1.5, -3],
        ["", "1_000", 1000.0],
    ]
    assert both.decode(b"") == []


@pytest.mark.parametrize(
    ("nan", "row"),
    [("null", "[['x', None, None]]"), ("keep", "[['x', nan, -inf]]")],
    ids=["null", "keep"],
)
def test_nan_in_csv_is_as_in_json(nan: str, row: str) -> None:
    assert repr(codec("csv", nan=nan).decode(b"x,nan,-Infinity")) == row


def test_nan_in_csv_may_be_an_error() -> None:
    said = fault(codec("csv", nan="error").decode, b"1,NaN")
    assert said == (
        "not_decodable: the payload is not CSV: NaN is no number; "
        "`nan: null` or `nan: keep` accepts it"
    )


@pytest.mark.parametrize(
    ("result", "payload"),
    [
        ([1, "a,b", None], b'1,"a,b",'),
        ([[1, 2], [3, 4]], b"1,2\n3,4"),
        (np.array([[1, 2], [3, 4]]), b"1,2\n3,4"),
        ({"a": 1, "b": 2}, b"a,b\n1,2"),
        ([{"a": 1}, {"b": 2}], b"a,b\n1,\n,2"),
        (pd.DataFrame({"t": [1, 2], "v": [0.5, math.nan]}), b"t,v\n1,0.5\n2,"),
        (5, b"5"),
        ([], b""),
    ],
)
def test_results_as_csv(result: Any, payload: bytes) -> None:
    assert codec("csv").encode(result) == payload


@pytest.mark.parametrize(
    ("result", "said"),
    [
        ({"a": [1, 2]}, "a list in a cell of CSV: return a text or a number for each"),
        ([1, {"b": 2}], "a dict in a cell of CSV: return a text or a number for each"),
        ([{"a": 1}, [2]], "a dict in a cell of CSV: return a text or a number for each"),
    ],
)
def test_what_is_no_cell(result: Any, said: str) -> None:
    assert said in fault(codec("csv").encode, result)


def test_an_integer_that_messagepack_does_not_have() -> None:
    said = fault(codec("msgpack").encode, {"a": 10**30})
    assert said.endswith("an integer of more than 64 bits: return a float or a text")


def test_a_time_without_a_zone_is_one_of_utc_in_cbor() -> None:
    both = codec("cbor")
    naive = datetime(2026, 1, 2, 3, 4, 5)
    assert both.decode(both.encode({"at": naive})) == {"at": naive.replace(tzinfo=UTC)}


def test_one_format_in_and_another_one_out() -> None:
    both = codec("msgpack", codec_out="text")
    assert both.decode(msgpack.packb({"a": 1})) == {"a": 1}
    assert both.encode("done") == b"done"


LIBRARIES: dict[str, tuple[Callable[[bytes], bytes], Callable[[bytes], bytes]]] = {
    "gzip": (gzip.compress, gzip.decompress),
    "zlib": (zlib.compress, zlib.decompress),
    "zstd": (zstandard.compress, zstandard.decompress),
}


@pytest.mark.parametrize("name", LIBRARIES)
def test_compression(name: str) -> None:
    compress, decompress = LIBRARIES[name]
    both = codec(compression=name, compression_out=name)
    assert both.decode(compress(b'{"a": 1}')) == {"a": 1}
    assert decompress(both.encode({"a": 1})) == b'{"a":1}'
    one = codec(compression=name)
    assert (one.decode(compress(b"1")), one.encode(1)) == (1, b"1")


@pytest.mark.parametrize("name", LIBRARIES)
@pytest.mark.parametrize("size", [2 * 1024**2 + 1, 300 * 1024**2])
def test_a_payload_that_becomes_too_large_is_not_unpacked(name: str, size: int) -> None:
    compress, _ = LIBRARIES[name]
    bomb = compress(b"\0" * size)
    said = fault(codec("raw", compression=name).decode, bomb)
    assert said.startswith("too_large: the payload is more than 2097152 bytes when it is")


def test_a_stream_that_does_not_say_its_size_is_bounded_too() -> None:
    pack = zstandard.ZstdCompressor(write_content_size=False).compress
    both = codec("raw", compression="zstd")
    assert both.decode(pack(b"\0" * 2 * 1024**2)) == b"\0" * 2 * 1024**2
    assert fault(both.decode, pack(b"\0" * 3 * 1024**2)).startswith("too_large: ")


@pytest.mark.parametrize("name", LIBRARIES)
def test_what_is_cut_or_something_else(name: str) -> None:
    compress, _ = LIBRARIES[name]
    both = codec("raw", compression=name)
    whole = compress(b"some words that are long enough to be cut" * 20)
    for payload in (whole[:-3], b"plain words", b""):
        assert fault(both.decode, payload).startswith(f"not_decodable: the payload is not {name}: ")


@pytest.mark.parametrize("name", LIBRARIES)
@pytest.mark.parametrize("more", [b"\n", b"\0\n", b"x" * 100], ids=["line", "both", "words"])
@pytest.mark.parametrize("size", [1, 1000])
def test_what_stands_behind_the_compressed_is_not_passed_over(
    name: str, more: bytes, size: int
) -> None:
    compress, _ = LIBRARIES[name]
    both = codec("raw", compression=name)
    said = fault(both.decode, compress(bytes(range(250)) * size) + more)
    assert said.startswith(f"not_decodable: the payload is not {name}: ")
    assert not said.endswith(": it ends too early")


@pytest.mark.parametrize("name", LIBRARIES)
@pytest.mark.parametrize("zeros", [b"\0", bytes(100_000)], ids=["one", "many"])
def test_zeros_behind_the_compressed_are_padding(name: str, zeros: bytes) -> None:
    """As firmware sends it, and as gzip reads it."""
    compress, _ = LIBRARIES[name]
    both = codec("raw", compression=name)
    assert both.decode(compress(b"words") + zeros) == b"words"


@pytest.mark.parametrize("name", ["gzip", "zstd"])
@pytest.mark.parametrize("size", [0, 1, 1000])
def test_what_was_compressed_in_parts_is_whole(name: str, size: int) -> None:
    compress, _ = LIBRARIES[name]
    both = codec("raw", compression=name)
    parts = [b"a" * size, bytes(range(250)) * size, b"b"]
    assert both.decode(b"".join(map(compress, parts))) == b"".join(parts)
    assert fault(both.decode, b"".join(map(compress, parts))[:-1]).startswith("not_decodable: ")
    bomb = compress(b"\0" * 1024**2) * 3
    assert fault(both.decode, bomb).startswith("too_large: ")


def test_zlib_has_no_parts() -> None:
    both = codec("raw", compression="zlib")
    said = fault(both.decode, zlib.compress(b"a") * 2)
    assert said == "not_decodable: the payload is not zlib: there is more behind it"


@pytest.mark.parametrize(
    ("module", "settings", "said"),
    [
        ("msgpack", {"codec": "msgpack"}, "`codec: msgpack` needs msgpack: apt install "),
        (
            "cbor2",
            {"codec": "cbor"},
            "`codec: cbor` needs cbor2: apt install python3-cbor2",
        ),
        ("zstandard", {"compression": "zstd"}, "`compression: zstd` needs zstandard: apt install"),
    ],
)
def test_a_library_that_is_missing_is_named(
    monkeypatch: pytest.MonkeyPatch, module: str, settings: dict[str, Any], said: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ModelError, match=said):
        codec_of(configured(**settings).edge)


class Upper:
    """A codec that a package may bring."""

    def decode(self, payload: bytes) -> str:
        return payload.decode().upper()

    def encode(self, result: Any) -> bytes:
        return str(result).lower().encode()


def bring(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    point = EntryPoint("upper", value, "pyboot.codecs")
    monkeypatch.setattr("importlib.metadata.entry_points", lambda **_: (point,))


def test_a_codec_that_a_package_brings(monkeypatch: pytest.MonkeyPatch) -> None:
    bring(monkeypatch, f"{__name__}:Upper")
    both = codec("upper")
    assert (both.decode(b"abc"), both.encode("ABC")) == ("ABC", b"abc")
    assert fault(both.decode, b"\xff").startswith("not_decodable: the payload is not upper: ")


@pytest.mark.parametrize("value", ["no_such_module:f", "json:nothing", "json:loads"])
def test_a_codec_that_can_not_be_loaded(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    bring(monkeypatch, value)
    with pytest.raises(ModelError, match=r"the codec 'upper' .* can't be loaded: "):
        codec("upper")


def test_a_codec_that_nobody_brings() -> None:
    with pytest.raises(ModelError, match="there is no codec 'upper': no installed package"):
        codec("upper")


@pytest.mark.parametrize("name", ["json", "text", "csv", "msgpack", "cbor"])
def test_a_number_that_is_too_large_is_the_messages_trouble(name: str) -> None:
    """Nine bytes of CBOR say 1E+999999999: made an integer, it would take hours."""
    value = codec("cbor").decode(bytes.fromhex("c4821a3b9ac9ff01"))
    if name == "cbor":
        assert codec("cbor").encode(value)
    else:
        assert fault(codec(name).encode, [value]).startswith("not_encodable: the result can't be")
    with pytest.raises(PayloadError):
        codec("text" if name == "cbor" else name).encode(10**5000)


def nested(depth: int) -> Any:
    value: Any = ["ha"] * 10
    for _ in range(depth):
        value = [value] * 10
    return value


def test_references_that_make_a_payload_larger_are_refused() -> None:
    """200 bytes of CBOR may stand for gigabytes, and be their own part."""
    said = "not_decodable: the payload is not CBOR: ValueError: it repeats parts of itself"
    larger = cbor2.dumps(nested(8), value_sharing=True)
    assert len(larger) < 500
    strings = cbor2.dumps(["a long text" * 50] * 500, string_referencing=True)
    for payload in (
        larger,
        strings,
        bytes.fromhex("d81c81d81d00"),
        bytes.fromhex("d9001c81d81d00"),
    ):
        assert fault(codec("cbor").decode, payload).startswith(said)


def test_what_only_looks_like_a_reference_is_read() -> None:
    value = {"a": b"\xd8\x1c", "b": ["\x19", "text"], "c": (b"\xd9\x01\x00",)}
    assert codec("cbor").decode(cbor2.dumps(value)) == {**value, "c": [b"\xd9\x01\x00"]}
    once = cbor2.dumps(["x"], value_sharing=True)
    assert codec("cbor").decode(once) == ["x"]
