"""Reads what a connection needs from the files that the configuration names."""

from __future__ import annotations

import os
import ssl
from dataclasses import replace
from pathlib import Path
from typing import Any

from pyboot_svc.config import Tls
from pyboot_svc.config.settings import credential_name
from pyboot_svc.errors import ConfigError, Problem
from pyboot_svc.worker.mqtt.link.peer import address_of

_WANTED = "they must be PEM files; the key must belong to the certificate and have no password"


def delivered(file: str, name: str) -> str:
    """The file's copy in the credentials directory, when the service manager made one there.

    A worker of systemd can't read what belongs to root; `LoadCredential=` hands it over.
    """
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    if folder is not None and os.path.exists(os.path.join(folder, name)):
        return os.path.join(folder, name)
    return file


def delivered_tls(tls: Tls, role: str) -> Tls:
    """`tls` with its files replaced by their copies, where there are some."""
    copies: dict[str, Any] = {
        kind: delivered(file, credential_name(role, kind))
        for kind, file in (("ca", tls.ca), ("cert", tls.cert), ("key", tls.key))
        if file is not None
    }
    return replace(tls, **copies)


def read_password(file: str) -> str:
    """The file's first line."""
    try:
        # An editor may have put a byte order mark in front.
        text = Path(file).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise _unusable(file, f"the password_file can't be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise _unusable(file, "the password_file is not UTF-8 text") from error
    return text.partition("\n")[0].rstrip("\r")


def tls_context(tls: Tls, host: str) -> ssl.SSLContext:
    """A client's context that trusts `ca` (or the system) and shows `cert`, if there is one.

    Of a `host` that is an address it does not check the name: `peer.confirm_address` does.
    """
    file = ""
    try:
        for file in filter(None, (tls.ca, tls.cert, tls.key)):
            Path(file).read_bytes()  # ssl doesn't say which one it can't read
        file = tls.ca or ""
        context = ssl.create_default_context(cafile=tls.ca)
        # From Python 3.13 on it is set: the authorities that people make themselves, as mosquitto's
        # manual has it, would not be good enough, while mosquitto's own clients take them.
        if tls.strict:
            context.verify_flags |= ssl.VERIFY_X509_STRICT
        else:
            context.verify_flags &= ~ssl.VERIFY_X509_STRICT
            context.check_hostname = address_of(host) is None
        if tls.cert is not None:
            file = tls.cert
            # An encrypted key must not make a service ask for its password on a terminal.
            context.load_cert_chain(tls.cert, tls.key, password=lambda: b"")
    except ssl.SSLError as error:
        raise _unusable(file, f"tls: it can't be used: {error}; {_WANTED}") from error
    except OSError as error:
        raise _unusable(file, f"tls: it can't be read: {error.strerror}") from error
    return context


def _unusable(file: str, message: str) -> ConfigError:
    return ConfigError([Problem(file, 0, 0, "", message)])
