"""As much of HTTP as an answer without a framework takes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pyboot_svc.sockets.lines import encode_line

END_OF_HEAD = b"\r\n\r\n"
# RFC 9112, sections 2 to 5: method, path and version, then fields, whose names are tokens. Another
# target than a path is for proxies.
_WELL_FORMED = re.compile(
    rb"[A-Z]+ /(?!/)[\x21-\x7e]* HTTP/1\.[01]\r\n"
    rb"(?:[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t\x20-\x7e\x80-\xff]*\r\n)*\r\n"
)


def is_request(head: bytes) -> bool:
    """Whether all of a request's head is as HTTP/1 has it: a framework stumbles over what isn't."""
    return _WELL_FORMED.fullmatch(head) is not None


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
