"""Whether a certificate is that of the broker, where the broker is named by its address.

Python looks for addresses among alternative names of their own kind only. Certificates that people
make for 192.168.1.10 often have it in their subject, or as DNS:192.168.1.10, and mosquitto's
clients take them.
"""

from __future__ import annotations

import socket
import ssl
from contextlib import suppress

from pyboot_svc.text import printable


def address_of(host: str) -> bytes | None:
    """`host` as bytes when it is an address, None when it is a name."""
    for family in (socket.AF_INET, socket.AF_INET6):
        with suppress(OSError, ValueError):
            return socket.inet_pton(family, host.strip())
    return None


def confirm_address(tls: ssl.SSLSocket | ssl.SSLObject, host: str) -> None:
    """Raise unless the certificate, which is verified otherwise, is that of the address `host`.

    The subject counts where there are no alternative names, as it does for names of hosts.
    """
    certificate = tls.getpeercert() or {}
    # Typed as nested tuples of anything.
    alternatives: list[tuple[str, str]] = list(certificate.get("subjectAltName", ()))  # type: ignore[arg-type]
    if alternatives:
        named = [value for kind, value in alternatives if kind in ("IP Address", "DNS")]
    else:
        subject: list[tuple[tuple[str, str], ...]] = list(certificate.get("subject", ()))  # type: ignore[arg-type]
        named = [value for part in subject for key, value in part if key == "commonName"]
    if address_of(host) not in map(address_of, named):
        error = ssl.SSLCertVerificationError(1, "certificate verify failed")
        error.verify_code = 64
        error.verify_message = (
            f"IP address mismatch, certificate is not valid for '{host}' "
            f"but for {printable(', '.join(named)) or 'nothing'}"
        )
        raise error
