"""The formats of payloads beside JSON, by the names that `codec` and `compression` take.

Others come by the entry-point group `pyboot.codecs`: an object with `decode` and `encode`, or what
makes one when it is called.
"""

from __future__ import annotations

import importlib
import io
import math
import re
import zlib
from collections.abc import Callable, Mapping, Sequence, Set
from datetime import UTC
from functools import partial
from typing import Any

from pyboot_svc.config import Edge
from pyboot_svc.config.settings import CODEC_GROUP
from pyboot_svc.errors import ModelError
from pyboot_svc.model.codec import Codec, PayloadError, PayloadFault, codec_named
from pyboot_svc.model.plain import Nan, NotPlain, plain, simpler, type_name

_BYTE_ORDER_MARK = "\ufeff"
_GZIP_BITS, _ZLIB_BITS = 31, 15
# CBOR's tags 25, 28, 29 and 256, in any length; or what looks like one, within a text.
_CBOR_REFERENCE = re.compile(
    rb"(?:\xd8|\xd9\0|\xda\0\0\0|\xdb\0{7})[\x19\x1c\x1d]|(?:\xd9|\xda\0\0|\xdb\0{6})\x01\0"
)
# In bytes. A step may become 30,000 times as much, or 1000 times with zlib.
_MOST_ZSTD_WINDOW, _ZSTD_STEP, _ZLIB_STEP = 8 * 1024**2, 64, 2048
# What brings a library: Debian's package, and pip's extra.
_LIBRARIES = {
    "msgpack": ("python3-msgpack", "msgpack"),
    "cbor2": ("python3-cbor2", "cbor"),
    "zstandard": ("python3-zstandard", "zstd"),
}


def codec_of(edge: Edge) -> Codec:
    """What the edge says of payloads in both directions; raises ModelError for what is missing.

    Its functions raise PayloadError and nothing else.
    """
    nan = Nan(edge.nan)
    codec = _named(edge.codec, nan)
    if edge.codec_out is not None and edge.codec_out != edge.codec:
        codec = Codec(codec.decode, _named(edge.codec_out, nan).encode)
    decode, encode = codec.decode, codec.encode
    if edge.compression is not None:
        decode = _after(_decompressor(edge.compression, edge.max_message), decode)
    if edge.compression_out is not None:
        encode = _after(encode, _compressor(edge.compression_out))
    return codec if (decode, encode) == (codec.decode, codec.encode) else Codec(decode, encode)


def _after(first: Callable[[Any], Any], then: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda value: then(first(value))


def _named(name: str, nan: Nan) -> Codec:
    if name in ("json", "raw"):
        return codec_named(name, nan)
    make = {
        "text": _text,
        "csv": _csv,
        "msgpack": _msgpack,
        "cbor": _cbor,
        "sparkplug_b": _sparkplug_b,
    }.get(name)
    return make(nan) if make is not None else _brought(name)


def _brought(name: str) -> Codec:
    from importlib.metadata import entry_points  # which takes a while

    found = next(iter(entry_points(group=CODEC_GROUP, name=name)), None)
    if found is None:
        raise ModelError(f"there is no codec {name!r}: no installed package brings it")
    try:
        codec = found.load()
        codec = codec() if isinstance(codec, type) else codec
        decode, encode = codec.decode, codec.encode
    except Exception as error:  # another's code
        raise ModelError(f"the codec {name!r} ({found.value}) can't be loaded: {error}") from error
    return Codec(partial(_decoded, decode, name), partial(_encoded, encode, name))


def _decoded(decode: Callable[[bytes], Any], name: str, payload: bytes) -> Any:
    try:
        return decode(payload)
    except Exception as error:  # whatever a library says of what it can't read
        reason = f"the payload is not {name}: {type(error).__name__}: {error}"
        raise PayloadError(PayloadFault.NOT_DECODABLE, reason) from None


def _encoded(encode: Callable[[Any], Any], name: str, result: Any) -> bytes:
    try:
        return bytes(encode(result))
    except Exception as error:
        reason = f"the result can't be encoded as {name}: {type(error).__name__}: {error}"
        raise PayloadError(PayloadFault.NOT_ENCODABLE, reason) from None


def _library(module: str, what: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError:
        package, extra = _LIBRARIES[module]
        raise ModelError(
            f"{what} needs {module}: apt install {package}, or pip install 'pyboot-svc[{extra}]'"
        ) from None


def _text(nan: Nan) -> Codec:
    def encode(result: Any) -> bytes:
        if isinstance(result, bytes | bytearray | memoryview):
            return bytes(result)
        try:
            value = plain(result, nan)
        except (NotPlain, RecursionError) as error:
            reason = f"the result can't be encoded: {error}"
            raise PayloadError(PayloadFault.NOT_ENCODABLE, reason) from None
        if value is None or isinstance(value, dict | list):
            reason = f"`codec: text` takes text or a number, not {type_name(result)}: return a text"
            raise PayloadError(PayloadFault.NOT_ENCODABLE, reason)
        return (str(value).lower() if isinstance(value, bool) else str(value)).encode()

    return Codec(_as_text, partial(_written, encode))


def _written(encode: Callable[[Any], bytes], result: Any) -> bytes:
    try:
        return encode(result)
    except PayloadError:
        raise
    except Exception as error:  # an integer of more digits than Python writes; the result's own
        reason = f"the result can't be encoded: {error}"
        raise PayloadError(PayloadFault.NOT_ENCODABLE, reason) from None


def _as_text(payload: bytes) -> str:
    try:
        # Firmware that sends a string of C's often sends the zero at its end, too.
        return payload.rstrip(b"\0").decode().removeprefix(_BYTE_ORDER_MARK)
    except UnicodeDecodeError as error:
        reason = f"the payload is not UTF-8: {error}"
        raise PayloadError(PayloadFault.NOT_UTF8, reason) from None


def _csv(nan: Nan) -> Codec:
    import csv

    value = partial(_value, nan)

    def decode(payload: bytes) -> list[list[Any]]:
        text = _as_text(payload)
        try:
            return [list(map(value, row)) for row in csv.reader(io.StringIO(text), strict=True)]
        except (csv.Error, ValueError) as error:
            reason = f"the payload is not CSV: {error}"
            raise PayloadError(PayloadFault.NOT_DECODABLE, reason) from None

    def encode(result: Any) -> bytes:
        try:
            rows = [list(map(_cell, row)) for row in _rows(plain(result, nan))]
        except (NotPlain, RecursionError) as error:
            reason = f"the result can't be encoded: {error}"
            raise PayloadError(PayloadFault.NOT_ENCODABLE, reason) from None
        written = io.StringIO()
        csv.writer(written, lineterminator="\n").writerows(rows)
        return written.getvalue().removesuffix("\n").encode()

    return Codec(decode, partial(_written, encode))


def _value(nan: Nan, cell: str) -> Any:
    """A number where it reads like one, as text that it is else; raises ValueError for NaN."""
    if "_" in cell:  # Python takes 1_000 for a number; nobody else does
        return cell
    try:
        return int(cell)
    except ValueError:
        pass
    try:
        value = float(cell)
    except ValueError:
        return cell
    if nan is Nan.KEEP or math.isfinite(value):
        return value
    if nan is Nan.NULL:
        return None
    raise ValueError(f"{cell[:40]} is no number; `nan: null` or `nan: keep` accepts it")


def _cell(value: Any) -> Any:
    if isinstance(value, dict | list):
        raise NotPlain(f"a {type_name(value)} in a cell of CSV: return a text or a number for each")
    return value


def _rows(value: Any) -> Sequence[Sequence[Any]]:
    """Objects become rows below their keys; a list of single values is one row."""
    if isinstance(value, Mapping):
        value = [value]
    if not isinstance(value, list):
        return [[value]]
    if value and all(isinstance(row, Mapping) for row in value):
        names = list(dict.fromkeys(name for row in value for name in row))
        return [names, *([row.get(name) for name in names] for row in value)]
    return value if value and all(isinstance(row, list) for row in value) else [value]


def _msgpack(nan: Nan) -> Codec:
    msgpack = _library("msgpack", "`codec: msgpack`")
    decode = partial(msgpack.unpackb, strict_map_key=False, timestamp=3)

    def default(value: Any) -> Any:
        if isinstance(value, int):
            raise TypeError("an integer of more than 64 bits: return a float or a text")
        return simpler(value)

    encode = partial(msgpack.packb, default=default)
    return Codec(partial(_decoded, decode, "MessagePack"), partial(_encoded, encode, "MessagePack"))


def _cbor(nan: Nan) -> Codec:
    cbor2 = _library("cbor2", "`codec: cbor`")

    def decode(payload: bytes) -> Any:
        source = io.BytesIO(payload)
        value = cbor2.load(source)
        if source.read(1):
            raise ValueError("there is more behind it")
        if _CBOR_REFERENCE.search(payload) and _is_larger(value, len(payload)):
            raise ValueError("it repeats parts of itself by reference")
        return value

    def default(encoder: Any, value: Any) -> None:
        encoder.encode(simpler(value))

    # CBOR has no time without a zone.
    encode = partial(cbor2.dumps, default=default, timezone=UTC)
    return Codec(partial(_decoded, decode, "CBOR"), partial(_encoded, encode, "CBOR"))


def _sparkplug_b(nan: Nan) -> Codec:
    from pyboot_svc.model.sparkplug.codec import sparkplug_b  # which others don't need

    return sparkplug_b(codec_named("json", nan).decode)


def _is_larger(value: Any, most: int) -> bool:
    """Whether it would take more than `most` bytes if each part were written where it is.

    Of references to references 200 bytes may stand for gigabytes, which a result made of it has to
    spell out; one to what it is in never ends.
    """
    left, waiting = most, [value]
    while waiting:
        one = waiting.pop()
        left -= 1 + (len(one) if isinstance(one, str | bytes) else 0)
        if left < 0:
            return True
        if isinstance(one, Mapping):
            waiting += one.keys()
            waiting += one.values()
        elif isinstance(one, list | tuple | Set):
            waiting += one
        elif hasattr(one, "tag"):
            waiting.append(one.value)
    return False


class _TooLarge(Exception):
    """There is more than may be."""


def _decompressor(name: str, most: int) -> Callable[[bytes], bytes]:
    """Gives no more than `most` bytes: a few may stand for gigabytes."""
    read = _zstd_reader() if name == "zstd" else partial(_inflate, name)

    def decompress(payload: bytes) -> bytes:
        try:
            return read(payload, most + 1)
        except _TooLarge:
            reason = f"the payload is more than {most} bytes when it is decompressed: `max_message`"
            raise PayloadError(PayloadFault.TOO_LARGE, reason) from None
        except Exception as error:  # whatever the library says
            reason = f"the payload is not {name}: {error}"
            raise PayloadError(PayloadFault.NOT_DECODABLE, reason) from None

    return decompress


def _inflate(name: str, payload: bytes, most: int) -> bytes:
    bits = _GZIP_BITS if name == "gzip" else _ZLIB_BITS
    begin = partial(zlib.decompressobj, bits)
    return _unpacked(begin, payload, most, _ZLIB_STEP, several=name == "gzip")


def _zstd_reader() -> Callable[[bytes, int], bytes]:
    zstandard = _library("zstandard", "`compression: zstd`")

    def read(payload: bytes, most: int) -> bytes:
        reader = zstandard.ZstdDecompressor(max_window_size=_MOST_ZSTD_WINDOW)
        return _unpacked(reader.decompressobj, payload, most, _ZSTD_STEP)

    return read


def _unpacked(
    begin: Callable[[], Any], payload: bytes, most: int, step: int, several: bool = True
) -> bytes:
    """One stream, or `several` behind each other, as RFC 1952 and RFC 8878 have them. Zeros behind
    one are padding, as gzip has it.

    Little by little: a step may become much, and what is behind a stream is copied with it.
    """
    data, stream, what = bytearray(), begin(), "it"
    for start in range(0, len(payload), step):
        piece = payload[start : start + step]
        while piece:
            if stream.eof:
                piece = piece.lstrip(b"\0")
                if not piece:
                    break
                if not several:
                    raise ValueError("there is more behind it")
                stream, what = begin(), "what is behind it"
            data += stream.decompress(piece)
            if len(data) >= most:
                raise _TooLarge
            piece = stream.unused_data if stream.eof else b""
    if not stream.eof:
        raise ValueError(f"{what} ends too early")
    return bytes(data)


def _compressor(name: str) -> Callable[[bytes], bytes]:
    if name == "zstd":
        zstandard = _library("zstandard", "`compression: zstd`")
        return lambda data: bytes(zstandard.ZstdCompressor().compress(data))
    bits = _GZIP_BITS if name == "gzip" else _ZLIB_BITS

    def compress(data: bytes) -> bytes:
        stream = zlib.compressobj(wbits=bits)
        return stream.compress(data) + stream.flush()

    return compress
