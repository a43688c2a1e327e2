"""The TLS layer of a connection. Only a connection that has one loads this: OpenSSL is large."""

from __future__ import annotations

import socket
import ssl
from dataclasses import replace
from pathlib import Path
from typing import Any

from pyboot_svc.config import Tls
from pyboot_svc.config.settings import credential_name
from pyboot_svc.worker.mqtt.link.credentials import delivered, unusable
from pyboot_svc.worker.mqtt.link.opening import Deadline, positive
from pyboot_svc.worker.mqtt.link.peer import address_of, confirm_address

_WANTED = "they must be PEM files; the key must belong to the certificate and have no password"


def delivered_tls(tls: Tls, role: str) -> Tls:
    """`tls` with its files replaced by their copies, where there are some."""
    copies: dict[str, Any] = {
        kind: delivered(file, credential_name(role, kind))
        for kind, file in (("ca", tls.ca), ("cert", tls.cert), ("key", tls.key))
        if file is not None
    }
    return replace(tls, **copies)


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
        raise unusable(file, f"tls: it can't be used: {error}; {_WANTED}") from error
    except OSError as error:
        raise unusable(file, f"tls: it can't be read: {error.strerror}") from error
    return context


def secure(
    sock: socket.socket, context: ssl.SSLContext, host: str, deadline: Deadline
) -> ssl.SSLSocket:
    """The TLS layer on top of `sock`, which is closed when it fails."""
    try:
        tls = context.wrap_socket(sock, server_hostname=host, do_handshake_on_connect=False)
    except BaseException:
        sock.close()
        raise
    try:
        # The time of a handshake, and not that of each of its reads.
        tls.settimeout(positive(deadline.left))
        tls.do_handshake()
        if not context.check_hostname:
            confirm_address(tls, host)
    except TimeoutError:
        tls.close()
        raise deadline.no_answer("the TLS handshake", "does this port speak TLS?") from None
    except BaseException:
        tls.close()
        raise
    return tls
