"""Which certificates are those of a broker that is named by its address."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
from support.certificates import Authority, Certificate, PlainAuthority

from pyboot_svc.worker.mqtt.link.peer import address_of, confirm_address


def connected(ca: Path, own: Certificate) -> ssl.SSLObject:
    """The client's end of a handshake, without a network."""
    client = ssl.create_default_context(cafile=ca)
    client.check_hostname = False
    client.verify_flags &= ~ssl.VERIFY_X509_STRICT
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(own.cert, own.key)
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        client.wrap_bio(back, there, server_hostname="any"),
        server.wrap_bio(there, back, server_side=True),
    ]
    waiting = list(ends)
    while waiting:
        end = waiting.pop(0)
        try:
            end.do_handshake()
        except ssl.SSLWantReadError:
            waiting.append(end)
    return ends[0]


@pytest.mark.parametrize(
    ("names", "host", "good"),
    [
        ("IP:10.0.0.1", "10.0.0.1", True),
        ("DNS:10.0.0.1", "10.0.0.1", True),
        ("IP:::1", "::1", True),
        ("IP:fe80::a:b", "fe80:0:0:0:0:0:A:B", True),
        ("DNS:plant,IP:10.0.0.2,IP:10.0.0.1", "10.0.0.1", True),
        ("IP:10.0.0.1", "10.0.0.2", False),
        ("IP:::1", "::2", False),
        ("DNS:*.0.0.1", "10.0.0.1", False),
        ("DNS:plant", "10.0.0.1", False),
        ("email:10.0.0.1", "10.0.0.1", False),
        ("URI:10.0.0.1", "10.0.0.1", False),
    ],
)
def test_alternative_names(names: str, host: str, good: bool, tmp_path: Path) -> None:
    authority = Authority(tmp_path, "authority")
    # The subject says the right one each time, and doesn't count.
    end = connected(authority.ca, authority.issue(host.replace(":", "-"), names))
    if good:
        confirm_address(end, host)
        return
    with pytest.raises(ssl.SSLCertVerificationError) as caught:
        confirm_address(end, host)
    said = f"IP address mismatch, certificate is not valid for '{host}' but for "
    assert caught.value.verify_message.startswith(said)


@pytest.mark.parametrize(
    ("subject", "good"), [("10.0.0.1", True), ("10.0.0.12", False), ("elsewhere", False)]
)
def test_the_subject_where_there_are_no_alternative_names(
    subject: str, good: bool, tmp_path: Path
) -> None:
    authority = PlainAuthority(tmp_path)
    end = connected(authority.ca, authority.issue(subject))
    if good:
        confirm_address(end, "10.0.0.1")
        return
    with pytest.raises(ssl.SSLCertVerificationError):
        confirm_address(end, "10.0.0.1")


@pytest.mark.parametrize("name", ["plant", "10.0.0.1.example", "10.0.0", "1", "", "a\0b"])
def test_names_are_no_addresses(name: str) -> None:
    assert address_of(name) is None
