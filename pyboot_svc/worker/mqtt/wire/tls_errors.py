"""The errors of TLS, told apart without loading it: with OpenSSL it takes 4 MB of each worker.

While nobody has loaded the module `ssl`, no error can be one of its own.
"""

from __future__ import annotations

import re
import sys
from typing import TypeGuard


def is_of_tls(error: object) -> TypeGuard[OSError]:
    return isinstance(error, _classes("SSLError"))


def cut_off_by_tls(error: object) -> bool:
    """Whether the other side ended it without a word."""
    return isinstance(error, _classes("SSLEOFError"))


def would_block() -> tuple[type[BaseException], ...]:
    """What says that a connection takes, or has, nothing more for now; for an `except`."""
    return (BlockingIOError, *_classes("SSLWantReadError", "SSLWantWriteError"))


def explain_tls(error: Exception) -> str:
    """In a user's words."""
    untrusted: str | None = getattr(error, "verify_message", None)
    if untrusted is not None:
        return f"its certificate is not trusted: {untrusted}"
    return explain_alert(str(error)) or f"TLS failed: {error}"


def explain_alert(text: str) -> str | None:
    """The reason in OpenSSL's `[SSL: TLSV13_ALERT_CERTIFICATE_REQUIRED] …`; None without one."""
    found = re.search(r"\[SSL: (\w+)\]", text)
    return f"TLS failed: {found[1].replace('_', ' ').lower()}" if found else None


def _classes(*names: str) -> tuple[type[BaseException], ...]:
    loaded = sys.modules.get("ssl")
    return () if loaded is None else tuple(getattr(loaded, name) for name in names)
