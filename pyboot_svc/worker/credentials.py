"""Reads what a connection needs from the files that the configuration names."""

from __future__ import annotations

import ssl
from pathlib import Path

from pyboot_svc.config import Tls
from pyboot_svc.errors import ConfigError, Problem


def read_password(file: str) -> str:
    """The file's first line."""
    try:
        text = Path(file).read_text(encoding="utf-8")
    except OSError as error:
        raise _unusable(file, f"the password_file can't be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise _unusable(file, "the password_file is not UTF-8 text") from error
    return text.partition("\n")[0].rstrip("\r")


def tls_context(tls: Tls) -> ssl.SSLContext:
    """A client's context that trusts `ca` (or the system) and shows `cert`, if there is one."""
    file = tls.ca or ""
    try:
        context = ssl.create_default_context(cafile=tls.ca)
        if tls.cert is not None:
            file = tls.cert
            # An encrypted key must not make a service ask for its password on a terminal.
            context.load_cert_chain(tls.cert, tls.key, password=lambda: b"")
    except OSError as error:  # ssl.SSLError is one, too
        reason = error.strerror if error.filename or not isinstance(error, ssl.SSLError) else error
        raise _unusable(file, f"tls: the certificates can't be used: {reason}") from error
    return context


def _unusable(file: str, message: str) -> ConfigError:
    return ConfigError([Problem(file, 0, 0, "", message)])
