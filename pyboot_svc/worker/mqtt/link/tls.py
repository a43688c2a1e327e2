"""The TLS layer of a connection. Only a connection that has one loads this: OpenSSL is large."""

from __future__ import annotations

import socket
import ssl

from pyboot_svc.config import Tls
from pyboot_svc.config.settings import credential_name
from pyboot_svc.credentials import delivered, read_credential
from pyboot_svc.worker.mqtt.link.credentials import (
    LONGEST_KEY_PASSWORD_BYTES,
    read_password,
    unusable,
)
from pyboot_svc.worker.mqtt.link.opening import Deadline, positive
from pyboot_svc.worker.mqtt.link.peer import address_of, confirm_address

_WANTED = (
    "they must be PEM files; the key must belong to the certificate, and its password, if it has "
    "one, stand in `key_password_file`"
)
_WANTED_OF_CA = "it must be a PEM file of certificates"
_VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


def delivered_tls(tls: Tls, role: str) -> Tls:
    """`tls` with its files replaced by their copies, where there are some."""
    return tls.with_files(
        {kind: delivered(file, credential_name(role, kind)) for kind, file in tls.files.items()}
    )


def name_of(tls: Tls, host: str) -> str:
    """What the broker's certificate is to be for. In one, no name ends with a dot."""
    return tls.server_name or host.removesuffix(".")


def tls_context(tls: Tls, host: str) -> ssl.SSLContext:
    """A client's context that trusts `ca` (or the system) and shows `cert`, if there is one.

    Of a `host` that is an address it does not check the name: `peer.confirm_address` does.
    """
    file = ""
    try:
        for file in tls.files.values():
            read_credential(file)  # ssl doesn't say which one it can't read
        file = tls.ca or ""
        context = ssl.create_default_context(cafile=tls.ca)
        if tls.min_version is not None:
            context.minimum_version = _VERSIONS[tls.min_version]
        if tls.alpn:
            context.set_alpn_protocols(list(tls.alpn))
        # From Python 3.13 on it is set: the authorities that people make themselves, as mosquitto's
        # manual has it, would not be good enough, while mosquitto's own clients take them.
        if tls.strict:
            context.verify_flags |= ssl.VERIFY_X509_STRICT
        else:
            context.verify_flags &= ~ssl.VERIFY_X509_STRICT
            context.check_hostname = address_of(name_of(tls, host)) is None
        if tls.cert is not None:
            file = tls.cert
            # An encrypted key must not make a service ask for its password on a terminal.
            key_file = tls.key_password_file
            password = ""
            if key_file:
                key = "tls.key_password_file"
                password = read_password(key_file, key, LONGEST_KEY_PASSWORD_BYTES)
            context.load_cert_chain(tls.cert, tls.key, password=lambda: password)
    except ssl.SSLError as error:
        # Its text names a line of Python's own source.
        why = (error.reason or "no PEM").lower().replace("_", " ")
        wanted = _WANTED_OF_CA if file == tls.ca else _WANTED
        raise unusable(file, f"tls: it can't be used: {why}; {wanted}") from error
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
