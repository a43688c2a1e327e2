"""Payloads to Python values and back, by RFC 8259: UTF-8, and no NaN or infinity but on request.

What firmware adds to JSON is taken off: a byte order mark, and zero bytes at the end, also with
line ends among or behind them. So is what C's printf writes of numbers that are none: `nan`, `inf`.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from enum import StrEnum
from functools import partial
from typing import Any, NamedTuple

from pyboot_svc.model.plain import Nan, NotPlain, plain, repeats_a_key, simpler


class PayloadFault(StrEnum):
    """What can be wrong with a message; errors are counted by these."""

    EMPTY = "empty"
    NOT_UTF8 = "not_utf8"
    NOT_JSON = "not_json"
    TOO_DEEP = "too_deep"
    NOT_DECODABLE = "not_decodable"
    UNKNOWN_ALIAS = "unknown_alias"
    NOT_ENCODABLE = "not_encodable"
    MODEL = "model"
    TIMEOUT = "timeout"
    POISON = "poison"
    BAD_TOPIC = "bad_topic"
    MALFORMED = "malformed"
    TOO_LARGE = "too_large"


class PayloadError(Exception):
    """A payload can't be decoded, or a result can't be encoded."""

    def __init__(self, fault: PayloadFault, text: str) -> None:
        super().__init__(text)
        self.fault = fault


class Codec(NamedTuple):
    """`decode` makes a payload the model's argument, `encode` its result a payload."""

    decode: Callable[[bytes], Any]
    encode: Callable[[Any], bytes]


def codec_named(name: str, nan: Nan = Nan.NULL) -> Codec:
    """`json`: values in and out; `raw`: bytes in, and bytes that are returned go out as they are.

    Both functions raise PayloadError and nothing else. With orjson installed, it does the work
    wherever its answer is that of the standard library.
    """
    json_codec = fast_json(nan) or standard_json(nan)
    if name == "raw":
        return Codec(_as_is, partial(_encode_raw, json_codec.encode))
    return json_codec


def standard_json(nan: Nan = Nan.NULL) -> Codec:
    """By the standard library alone."""
    standard = _StandardJson(nan)
    return Codec(standard.decode, standard.encode)


def fast_json(nan: Nan = Nan.NULL) -> Codec | None:
    """By orjson, with the same results and errors; None where it is not installed."""
    try:
        import orjson
    except ImportError:
        return None
    standard = _StandardJson(nan)
    # What the standard library refuses or says otherwise is left to it.
    options = (
        orjson.OPT_PASSTHROUGH_DATACLASS
        | orjson.OPT_PASSTHROUGH_DATETIME
        | orjson.OPT_PASSTHROUGH_SUBCLASS
    )
    encode = _fast_encoder(orjson.dumps, options, standard.encode)
    if nan is not Nan.NULL:
        encode = partial(_encode_without_null, encode, standard.encode)
    return Codec(partial(_decode_fast, orjson.loads, standard.decode), encode)


# Makes a run of digits recognisable: a number with so many may not fit into 64 bits.
_DIGITS_TO_0 = bytes.maketrans(b"123456789", b"000000000")
_MANY_DIGITS = b"0" * 19
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_ZEROS_AND_SPACE = b"\0 \t\r\n"
# Texts, which are left alone, and what is no number, as C and others write it: `nan(ind)` and
# `1.#INF` are Windows' own. A text without an end goes as far as there is something, once: looked
# for from each quote on, 2 MB take hours.
_NO_NUMBERS = re.compile(
    r'"(?:[^"\\]|\\.)*+"?|(?<![\w.])[-+]?'
    r"(?:nan(?:\(\w*\))?|inf(?:inity)?|1\.#(?:[qs]nan|ind|inf)0*)(?![\w.])",
    re.I | re.S,
)


class _StandardJson:
    """The standard library's JSON, with what `nan` says becomes of NaN and the infinities."""

    def __init__(self, nan: Nan) -> None:
        self._nan = nan
        self._decoder = json.JSONDecoder(
            parse_float=float if nan is Nan.KEEP else self._float,
            parse_constant=self._constant,
        )
        self._encoder = json.JSONEncoder(
            ensure_ascii=False,
            allow_nan=nan is Nan.KEEP,
            separators=(",", ":"),
            default=simpler,
        )

    def decode(self, payload: bytes) -> Any:
        # RFC 8259, section 8.1, lets a parser ignore the mark; C programs send a string's end
        # with it.
        payload = payload.removeprefix(_BYTE_ORDER_MARK)
        text = payload.rstrip(_ZEROS_AND_SPACE)
        if b"\0" in payload[len(text) :]:
            payload = text
        if not payload:
            raise PayloadError(PayloadFault.EMPTY, "the payload is empty")
        try:
            return self._loads(payload.decode())
        except UnicodeDecodeError as error:
            reason = f"the payload is not UTF-8: {error}"
            raise PayloadError(PayloadFault.NOT_UTF8, reason) from None
        except ValueError as error:
            reason = f"the payload is not JSON: {error}"
            raise PayloadError(PayloadFault.NOT_JSON, reason) from None
        except RecursionError:
            raise PayloadError(PayloadFault.TOO_DEEP, "the payload is nested too deeply") from None

    def encode(self, result: Any) -> bytes:
        try:
            text = self._encoder.encode(result)
            if not repeats_a_key(text):
                return text.encode()
        except Exception:  # its own methods may raise anything; what it is, the walk finds out
            pass
        try:
            return self._encoder.encode(plain(result, self._nan)).encode()
        except RecursionError:
            text = "the result is nested too deeply"
        except NotPlain as error:
            text = f"the result can't be encoded: {error}"
        except Exception as error:
            text = f"the result can't be encoded: {type(error).__name__}: {error}"
        raise PayloadError(PayloadFault.NOT_ENCODABLE, text)

    def _loads(self, text: str) -> Any:
        try:
            return self._decoder.decode(text)
        except ValueError:
            spelt = _NO_NUMBERS.sub(_spell, text)
            if spelt == text:
                raise
        return self._decoder.decode(spelt)

    def _float(self, digits: str) -> float | None:
        value = float(digits)
        return value if math.isfinite(value) else self._constant(digits)

    def _constant(self, name: str) -> float | None:
        if self._nan is Nan.ERROR:
            raise ValueError(f"{name[:40]} is no number; `nan: null` or `nan: keep` accepts it")
        return None if self._nan is Nan.NULL else float(name)


def _spell(found: re.Match[str]) -> str:
    word = found[0]
    if word[0] == '"':
        return word
    said = word.lower()
    if "nan" in said or "ind" in said:
        return "NaN"
    return "-Infinity" if word[0] == "-" else "Infinity"


def _decode_fast(
    loads: Callable[[bytes], Any], standard: Callable[[bytes], Any], payload: bytes
) -> Any:
    if _MANY_DIGITS not in payload.translate(_DIGITS_TO_0):
        try:
            return loads(payload)
        except ValueError:
            pass  # the standard library judges, and says why
    return standard(payload)


def _fast_encoder(
    dumps: Callable[..., bytes], options: int, standard: Callable[[Any], bytes]
) -> Callable[[Any], bytes]:
    def encode(result: Any) -> bytes:
        try:
            encoded = dumps(result, simpler, options)
        except Exception:  # the result's own methods may raise anything
            return standard(result)
        # A copy: what orjson gives may keep the whole buffer that it was written into, kilobytes
        # for a few bytes, which a queue of results would fill the memory with.
        return b"".join((encoded, b""))

    return encode


def _encode_without_null(
    encode: Callable[[Any], bytes], standard: Callable[[Any], bytes], result: Any
) -> bytes:
    """`encode` makes null of NaN, too: where a null comes out, `standard` tells what it was."""
    encoded = encode(result)
    return standard(result) if b"null" in encoded else encoded


def _as_is(payload: bytes) -> bytes:
    return payload


def _encode_raw(encode: Callable[[Any], bytes], result: Any) -> bytes:
    if type(result) is bytes:
        return result
    if isinstance(result, bytes | bytearray | memoryview):
        return bytes(result)
    return encode(result)
