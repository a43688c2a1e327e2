"""Payloads of any bytes: a value or a PayloadError, and of a value a payload, not much larger."""

from __future__ import annotations

import gzip
import zlib
from contextlib import suppress
from functools import cache
from itertools import product

import cbor2
import msgpack
import zstandard
from support.store import configured

from fuzz.target import Cursor, Target
from pyboot_svc.model.codec import Codec, PayloadError
from pyboot_svc.model.formats import codec_of

MOST = 100_000
CODECS = ("json", "text", "csv", "msgpack", "cbor", "raw")
COMPRESSIONS = (None, "gzip", "zlib", "zstd")
PAIRS = list(product(CODECS, CODECS))
# What a byte of a payload may become in another format: `\\u0000` and a key's quotes of one.
MOST_PER_BYTE, MOST_BESIDE = 64, 4096


@cache
def codec(codec_in: str, codec_out: str, compression: str | None = None) -> Codec:
    return codec_of(
        configured(
            codec=codec_in, codec_out=codec_out, compression=compression, max_message=MOST
        ).edge
    )


def translate(data: bytes) -> None:
    """By a model that returns what it gets."""
    source = Cursor(data)
    pair = codec(*source.choice(PAIRS))
    payload = source.rest()
    with suppress(PayloadError):
        result = pair.encode(pair.decode(payload))
        assert len(result) <= MOST_PER_BYTE * len(payload) + MOST_BESIDE


def decompress(data: bytes) -> None:
    source = Cursor(data)
    raw = codec("raw", "raw", source.choice(COMPRESSIONS[1:]))
    with suppress(PayloadError):
        assert len(raw.decode(source.rest())) <= MOST


def _chosen(codec_in: str, codec_out: str, payload: bytes) -> bytes:
    return bytes([PAIRS.index((codec_in, codec_out))]) + payload


DOCUMENT = {"a": [1, 2.5, -3, None, True, "温"], "b": {"c": "x" * 40}, "d": 2**64}
JSON = b'\xef\xbb\xbf{"a": [1, -2.5e3, null, true, "\\u6e29\\n"], "n": nan, "i": -Infinity}\x00'
CSV = b'a,b\n1,"x ""y"", z"\n-2.5,\n'
PLAIN = DOCUMENT | {"d": 7}

TARGETS = [
    Target(
        "codecs",
        translate,
        [
            *(_chosen("json", out, JSON) for out in CODECS),
            *(_chosen("csv", out, CSV) for out in CODECS),
            *(_chosen("msgpack", out, msgpack.packb(PLAIN)) for out in CODECS),
            *(_chosen("cbor", out, cbor2.dumps(DOCUMENT)) for out in CODECS),
            *(_chosen("cbor", out, bytes.fromhex("c48202c24119c11a5f5e1000")) for out in CODECS),
            _chosen("text", "json", "温".encode()),
        ],
        [
            *(b'"', b"\\", b'\\"' * 3000, b"[" * 3000, b"{", b'{"a":', b"1" * 5000, b"1e999"),
            *(b"nan", b"-inf", b"Infinity", b"\\ud800", b"\xed\xa0\x80", b",", b'""', b"\r\n"),
            # CBOR's tags, and lengths without an end.
            *(b"\xc0", b"\xc2", b"\xc4\x82", b"\xc5\x82", b"\xd8\x1c", b"\xd8\x1d\x00", b"\x9f"),
            *(b"\xbf", b"\xff", b"\xd8\x1e\x82", b"\xd9\x01\x00", b"\xd8\x19\x00", b"\x1a"),
            *(b"\xd8\x23", b"\xd8\x24", b"\xd8\x25", b"\xd9\x01\x02", b"\xfb\x7f\xf0", b"\xf7"),
            # MessagePack's extensions and lengths.
            *(b"\xd6\xff", b"\xc7\x0c\xff", b"\xdd", b"\xdf", b"\xc6", b"\xdb", b"\xd9"),
        ],
        4000,
    ),
    Target(
        "compression",
        decompress,
        [
            b"\0" + gzip.compress(JSON, mtime=0),
            b"\0" + gzip.compress(bytes(MOST * 5), mtime=0),
            b"\1" + zlib.compress(JSON),
            b"\1" + zlib.compress(bytes(MOST)),
            b"\2" + zstandard.ZstdCompressor().compress(JSON),
            b"\2" + zstandard.ZstdCompressor(write_content_size=False).compress(bytes(MOST * 5)),
        ],
        [b"\x28\xb5\x2f\xfd", b"\x1f\x8b\x08", b"\x78\x9c", b"\x50\x2a\x4d\x18"],
        3000,
    ),
]
