"""As much of HTTP as an answer without a framework takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pyboot_svc.sockets.lines import encode_line

END_OF_HEAD = b"\r\n\r\n"


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
