"""As much of HTTP as an answer without a framework takes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pyboot_svc.sockets.lines import encode_line

END_OF_HEAD = b"\r\n\r\n"
# RFC 9112, sections 2 to 5: method, target and version, then fields, whose names are tokens.
_REQUEST = re.compile(
    rb"(?P<method>[A-Z]+) "
    rb"(?:(?i:https?)://(?P<host>(?:\[[0-9A-Fa-f:.]+\]|[0-9A-Za-z._~%!$&'()*+,;=-]+)(?::[0-9]*)?))?"
    rb"(?P<path>(?:(?(host)[/?]|/)[\x21-\x7e]*)?) (?P<version>HTTP/1\.[01])\r\n"
    rb"(?P<fields>(?:[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t\x20-\x7e\x80-\xff]*\r\n)*)\r\n"
)
_HOST_FIELD = re.compile(rb"(?im:^host:.*\r\n)")


def plain_request(head: bytes) -> bytes | None:
    """A request's head as a framework reads it without stumbling: one that asks for a path, which
    starts with one slash; None of what HTTP/1 doesn't have so.

    The absolute form, of which servers have to take it, too (RFC 9112, section 3.2.2), says the
    host that counts.
    """
    found = _REQUEST.fullmatch(head)
    if found is None or not (found["host"] or found["path"]):
        return None
    fields = found["fields"]
    if found["host"]:
        fields = b"Host: " + found["host"] + b"\r\n" + _HOST_FIELD.sub(b"", fields)
    path = b"/" + found["path"].lstrip(b"/")
    return b"%b %b %b\r\n%b\r\n" % (found["method"], path, found["version"], fields)


def request_line(head: bytes) -> tuple[bytes, str]:
    """Method and path of a request, without its query."""
    method, _, rest = head.partition(b"\r\n")[0].partition(b" ")
    return method, rest.partition(b" ")[0].partition(b"?")[0].decode("latin-1")


def response(status: str, document: Mapping[str, Any], *more: str, method: bytes = b"GET") -> bytes:
    """A whole answer, after which the connection ends; `more` are further headers."""
    body = encode_line(document)
    head = (
        f"HTTP/1.1 {status}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        "Cache-Control: no-store",
        "X-Content-Type-Options: nosniff",
        "Connection: close",
        *more,
    )
    return "\r\n".join([*head, "", ""]).encode() + (b"" if method == b"HEAD" else body)
