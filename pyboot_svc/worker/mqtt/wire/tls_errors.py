"""The errors of TLS, told apart without loading it: with OpenSSL it takes 4 MB of each worker.

While nobody has loaded the module `ssl`, no error can be one of its own.
"""

from __future__ import annotations

import re
import sys
import time
from typing import TypeGuard

_AUTHORITY = "name the authority that signed it: `tls: {ca: FILE}`"
_NAME = "name the host as its certificate does, or that name in `tls: {server_name: NAME}`"
# By OpenSSL's numbers (x509_vfy.h).
_NOT_YET_VALID, _EXPIRED = 9, 10
_OF_TIME = (_NOT_YET_VALID, _EXPIRED)
_REMEDIES = {
    _NOT_YET_VALID: "if its dates are right, set the clock.",
    _EXPIRED: "the broker needs a new one, or a `ca` has expired.",
    18: "it is signed by itself: trust it by `tls: {ca: FILE}`",
    19: _AUTHORITY,
    20: _AUTHORITY,
    21: f"{_AUTHORITY}, or have the broker send the certificates between",
    62: _NAME,
    64: _NAME,
}
# What the broker's side says; the first that fits.
_ALERT_HINTS = (
    ("certificate required", "it wants ours: `tls: {cert: FILE, key: FILE}`"),
    ("certificate expired", "it says so of ours: `tls: {cert}` needs a new one"),
    ("unknown ca", "it doesn't trust who signed ours: is `tls: {cert}` right?"),
    ("bad certificate", "it doesn't take ours: is `tls: {cert}` right?"),
    ("no application protocol", "it speaks none of `tls: {alpn}`"),
    ("protocol version", "it speaks other versions of TLS, see `tls: {min_version}`"),
    ("unsupported protocol", "it speaks other versions of TLS, see `tls: {min_version}`"),
)


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
        remedy = _remedy(getattr(error, "verify_code", 0))
        return f"its certificate is not trusted: {untrusted}{remedy}"
    return explain_alert(str(error)) or f"TLS failed: {error}"


def explain_alert(text: str) -> str | None:
    """The reason in OpenSSL's `[SSL: TLSV13_ALERT_CERTIFICATE_REQUIRED] …`; None without one."""
    found = re.search(r"\[SSL: (\w+)\]", text)
    if not found:
        return None
    words = found[1].replace("_", " ").lower()
    hints = (hint for sign, hint in _ALERT_HINTS if sign in words)
    return f"TLS failed: {words}" + next((f" ({hint})" for hint in hints), "")


def _remedy(verify_code: int) -> str:
    """What helps against one of OpenSSL's X509_V_ERR_…, in brackets."""
    hint = _REMEDIES.get(verify_code, "")
    if verify_code in _OF_TIME:
        # Only the day: with the time it would be another reason, to be told, each time.
        hint = f"{hint} This host's clock says {time.strftime('%Y-%m-%d', time.gmtime())}"
    return f" ({hint})" if hint else ""


def _classes(*names: str) -> tuple[type[BaseException], ...]:
    loaded = sys.modules.get("ssl")
    return () if loaded is None else tuple(getattr(loaded, name) for name in names)
