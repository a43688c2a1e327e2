"""The properties of a PUBLISH packet of MQTT 5 (section 3.3.2.3), as bytes and as what they say."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

_SHORT = 0x80
LONGEST_STRING = 65_535
_FORMAT, _EXPIRY, _CONTENT_TYPE, _RESPONSE_TOPIC, _CORRELATION = 0x01, 0x02, 0x03, 0x08, 0x09
_SUBSCRIPTION, _ALIAS, _USER = 0x0B, 0x23, 0x26
# Bytes of those that we have no use for.
_FIXED = {_FORMAT: 1, _ALIAS: 2}


@dataclass(frozen=True, slots=True)
class PublishProperties:
    """`expiry` is in seconds; `user` has names and values in their order, a name maybe twice."""

    expiry: int | None = None
    content_type: str | None = None
    response_topic: str | None = None
    correlation: bytes | None = None
    user: tuple[tuple[str, str], ...] = ()

    def encode(self) -> bytes:
        """Without their length in front."""
        encoded = b""
        if self.expiry is not None:
            encoded += bytes((_EXPIRY,)) + self.expiry.to_bytes(4)
        if self.content_type is not None:
            encoded += bytes((_CONTENT_TYPE,)) + _string(self.content_type)
        if self.response_topic is not None:
            encoded += bytes((_RESPONSE_TOPIC,)) + _string(self.response_topic)
        if self.correlation is not None:
            encoded += bytes((_CORRELATION,)) + len(self.correlation).to_bytes(2) + self.correlation
        return encoded + encode_user(self.user)


def encode_user(pairs: Iterable[tuple[str, str]]) -> bytes:
    lead = bytes((_USER,))
    return b"".join(lead + _string(key) + _string(value) for key, value in pairs)


def encode_length(value: int) -> bytes:
    """A variable byte integer."""
    if value < _SHORT:
        return bytes((value,))
    found = bytearray()
    while value >= _SHORT:
        found.append(value & 0x7F | _SHORT)
        value >>= 7
    found.append(value)
    return bytes(found)


def decode_properties(encoded: bytes) -> PublishProperties:
    """Of what `encode` makes, and of a broker's. Where it is malformed, what stands before that:
    no message is worth less for it."""
    reader = _Reader(encoded)
    found: dict[int, int | str | bytes] = {}
    user: list[tuple[str, str]] = []
    try:
        while reader.more:
            kind = reader.number(1)
            if kind == _EXPIRY:
                found[kind] = reader.number(4)
            elif kind in (_CONTENT_TYPE, _RESPONSE_TOPIC):
                found[kind] = reader.data().decode()
            elif kind == _CORRELATION:
                found[kind] = reader.data()
            elif kind == _USER:
                user.append((reader.data().decode(), reader.data().decode()))
            elif kind == _SUBSCRIPTION:
                while reader.number(1) >= _SHORT:
                    pass
            elif kind in _FIXED:
                reader.number(_FIXED[kind])
            else:
                break
    except (EOFError, UnicodeDecodeError):
        pass
    return PublishProperties(
        found.get(_EXPIRY),  # type: ignore[arg-type]
        found.get(_CONTENT_TYPE),  # type: ignore[arg-type]
        found.get(_RESPONSE_TOPIC),  # type: ignore[arg-type]
        found.get(_CORRELATION),  # type: ignore[arg-type]
        tuple(user),
    )


class _Reader:
    """Raises EOFError at the end."""

    def __init__(self, encoded: bytes) -> None:
        self._encoded = encoded
        self._at = 0

    @property
    def more(self) -> bool:
        return self._at < len(self._encoded)

    def number(self, size: int) -> int:
        return int.from_bytes(self._take(size))

    def data(self) -> bytes:
        return self._take(self.number(2))

    def _take(self, size: int) -> bytes:
        start, self._at = self._at, self._at + size
        if self._at > len(self._encoded):
            raise EOFError
        return self._encoded[start : self._at]


def _string(text: str) -> bytes:
    encoded = text.encode()
    return len(encoded).to_bytes(2) + encoded
