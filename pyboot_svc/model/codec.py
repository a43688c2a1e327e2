"""Payloads to Python values and back, strictly by RFC 8259: UTF-8, and no NaN or Infinity.

What firmware adds to JSON is taken off: a byte order mark, and zero bytes at the end, also with
line ends among or behind them.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, StrEnum
from functools import partial
from typing import Any, NoReturn


class PayloadFault(StrEnum):
    """What can be wrong with a message; errors are counted by these."""

    EMPTY = "empty"
    NOT_UTF8 = "not_utf8"
    NOT_JSON = "not_json"
    TOO_DEEP = "too_deep"
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


@dataclass(frozen=True)
class Codec:
    """`decode` makes a payload the model's argument, `encode` its result a payload."""

    decode: Callable[[bytes], Any]
    encode: Callable[[Any], bytes]


def codec_named(name: str) -> Codec:
    """`json`: values in and out; `raw`: bytes in, and bytes that are returned go out as they are.

    Both functions raise PayloadError and nothing else. With orjson installed, it does the work
    wherever its answer is that of the standard library.
    """
    json_codec = fast_json() or standard_json()
    if name == "raw":
        return Codec(_as_is, partial(_encode_raw, json_codec.encode))
    return json_codec


def standard_json() -> Codec:
    """By the standard library alone."""
    return Codec(_decode_json, _encode_json)


def fast_json() -> Codec | None:
    """By orjson, with the same results and errors; None where it is not installed."""
    try:
        import orjson
    except ImportError:
        return None
    return Codec(
        partial(_decode_fast, orjson.loads),
        # What the standard library refuses or says otherwise is left to it.
        partial(
            _encode_fast,
            orjson.dumps,
            orjson.OPT_PASSTHROUGH_DATACLASS
            | orjson.OPT_PASSTHROUGH_DATETIME
            | orjson.OPT_PASSTHROUGH_SUBCLASS,
        ),
    )


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _plain(value: Any) -> Any:
    """What orjson makes of values that the standard library doesn't know."""
    if isinstance(value, Enum):
        return value.value
    kind = type(value)
    if (kind.__module__, kind.__name__) == ("uuid", "UUID"):  # not worth its import
        return str(value)
    raise TypeError(f"Object of type {kind.__name__} is not JSON serializable")


_decoder = json.JSONDecoder(parse_constant=_refuse_constant)
_encoder = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_plain
)
# Makes a run of digits recognisable: a number with so many may not fit into 64 bits.
_DIGITS_TO_0 = bytes.maketrans(b"123456789", b"000000000")
_MANY_DIGITS = b"0" * 19
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_ZEROS_AND_SPACE = b"\0 \t\r\n"


def _decode_fast(loads: Callable[[bytes], Any], payload: bytes) -> Any:
    if _MANY_DIGITS not in payload.translate(_DIGITS_TO_0):
        try:
            return loads(payload)
        except ValueError:
            pass  # the standard library judges, and says why
    return _decode_json(payload)


def _encode_fast(dumps: Callable[..., bytes], options: int, result: Any) -> bytes:
    try:
        encoded = dumps(result, None, options)
    except Exception:  # the result's own methods may raise anything
        return _encode_json(result)
    if b"null" in encoded:
        return _encode_json(result)  # it may have been a NaN
    # A copy: what orjson gives may keep the whole buffer that it was written into, kilobytes for
    # a few bytes, which a queue of results would fill the memory with.
    return b"".join((encoded, b""))


def _decode_json(payload: bytes) -> Any:
    # RFC 8259, section 8.1, lets a parser ignore the mark; C programs send a string's end with it.
    payload = payload.removeprefix(_BYTE_ORDER_MARK)
    text = payload.rstrip(_ZEROS_AND_SPACE)
    if b"\0" in payload[len(text) :]:
        payload = text
    if not payload:
        raise PayloadError(PayloadFault.EMPTY, "the payload is empty")
    try:
        return _decoder.decode(payload.decode())
    except UnicodeDecodeError as error:
        raise PayloadError(PayloadFault.NOT_UTF8, f"the payload is not UTF-8: {error}") from None
    except ValueError as error:
        raise PayloadError(PayloadFault.NOT_JSON, f"the payload is not JSON: {error}") from None
    except RecursionError:
        raise PayloadError(PayloadFault.TOO_DEEP, "the payload is nested too deeply") from None


def _encode_json(result: Any) -> bytes:
    try:
        return _encoder.encode(result).encode()
    except RecursionError:
        text = "the result is nested too deeply"
    except Exception as error:  # the result's own methods may raise anything
        text = f"the result can't be encoded: {error}"
    raise PayloadError(PayloadFault.NOT_ENCODABLE, text)


def _as_is(payload: bytes) -> bytes:
    return payload


def _encode_raw(encode: Callable[[Any], bytes], result: Any) -> bytes:
    if type(result) is bytes:
        return result
    if isinstance(result, bytes | bytearray | memoryview):
        return bytes(result)
    return encode(result)
