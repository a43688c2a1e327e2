"""When the certificates of a PEM file begin and end: as much of X.509 as that takes (RFC 5280)."""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from datetime import UTC, datetime

_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----([^-]*)-----END CERTIFICATE-----")
# Tags of ASN.1: a version in front of all else, and the two ways to write a time.
_VERSION, _UTC_TIME, _GENERALIZED_TIME = 0xA0, 0x17, 0x18
_CENTURY = 1950


@dataclass(frozen=True)
class Validity:
    """From when to when a certificate is good."""

    begin: datetime
    end: datetime


def validities(pem: bytes) -> list[Validity]:
    """Of all certificates of a file, in its order; raises ValueError for what is none."""
    try:
        return [_validity(base64.b64decode(body)) for body in _PEM.findall(pem)]
    except IndexError as error:
        raise ValueError("a certificate ends too soon") from error


def _validity(der: bytes) -> Validity:
    at = _content(der, _content(der, 0))  # within Certificate, within TBSCertificate
    if der[at] == _VERSION:
        at = _end(der, at)
    for _ in ("serial number", "algorithm", "issuer"):
        at = _end(der, at)
    begin = _content(der, at)
    return Validity(_time(der, begin), _time(der, _end(der, begin)))


def _content(der: bytes, at: int) -> int:
    """Where the content of the item begins that begins at `at`."""
    return at + 2 + (der[at + 1] & 0x7F if der[at + 1] & 0x80 else 0)


def _end(der: bytes, at: int) -> int:
    start = _content(der, at)
    length = int.from_bytes(der[at + 2 : start]) if der[at + 1] & 0x80 else der[at + 1]
    return start + length


def _time(der: bytes, at: int) -> datetime:
    text = der[_content(der, at) : _end(der, at)].decode("ascii")
    if der[at] == _UTC_TIME:
        year = (int(text[:2]) - _CENTURY) % 100 + _CENTURY
        text = f"{year}{text[2:]}"
    elif der[at] != _GENERALIZED_TIME:
        raise ValueError("no time where a certificate has one")
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)
