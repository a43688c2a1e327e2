"""Payloads to Python values and back, strictly by RFC 8259: UTF-8, and no NaN or Infinity."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
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

    Both functions raise PayloadError and nothing else.
    """
    return Codec(_as_is, _encode_raw) if name == "raw" else Codec(_decode_json, _encode_json)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_decoder = json.JSONDecoder(parse_constant=_refuse_constant)
_encoder = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _decode_json(payload: bytes) -> Any:
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


def _encode_raw(result: Any) -> bytes:
    if type(result) is bytes:
        return result
    if isinstance(result, bytes | bytearray | memoryview):
        return bytes(result)
    return _encode_json(result)
