"""Passwords and certificates from files, and what is said about files that can't be used."""

from __future__ import annotations

import os
import ssl
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from pyboot_svc.config import Tls
from pyboot_svc.errors import ConfigError, Problem
from pyboot_svc.worker.mqtt.link.credentials import read_password
from pyboot_svc.worker.mqtt.link.tls import name_of, tls_context

NO_FILE = "it is a pipe or a device, and no file"
# For these tests alone; nothing trusts it. Good until 2126.
CERT = """\
-----BEGIN CERTIFICATE-----
MIIBgzCCASmgAwIBAgIUHyhoUGzY1HHjRbbQbPeeTKGkws4wCgYIKoZIzj0EAwIw
FjEUMBIGA1UEAwwLcHlib290IHRlc3QwIBcNMjYxMTI0MTExMjEyWhgPMjEyNjEw
MzExMTEyMTJaMBYxFDASBgNVBAMMC3B5Ym9vdCB0ZXN0MFkwEwYHKoZIzj0CAQYI
KoZIzj0DAQcDQgAEw3gABtSsHn1tjDvfMT6Wg7kIsiVrxZB+QYqEELkWANlfnzO6
qWzMUs8OyIb0x2ujaT9xcwYmCIi1p+CWEEuzAaNTMFEwHQYDVR0OBBYEFGVFGjVH
fVSnk8fae12zIDWGt37vMB8GA1UdIwQYMBaAFGVFGjVHfVSnk8fae12zIDWGt37v
MA8GA1UdEwEB/wQFMAMBAf8wCgYIKoZIzj0EAwIDSAAwRQIgKw+Jz8wWJ5abLkC4
/85w/kpH64thX/5Camtnu+gMhNgCIQD/iZA6ej/37wRcCmVXHDY4wvZ5FFv0THpn
MnUvYibtyA==
-----END CERTIFICATE-----
"""
KEY = """\
-----BEGIN EC PRIVATE KEY-----
MHcCAQEEICPXb4pda3/RQQGlK9qwHH3wkbOS/mCcu0mLEJfE9OFvoAoGCCqGSM49
AwEHoUQDQgAEw3gABtSsHn1tjDvfMT6Wg7kIsiVrxZB+QYqEELkWANlfnzO6qWzM
Us8OyIb0x2ujaT9xcwYmCIi1p+CWEEuzAQ==
-----END EC PRIVATE KEY-----
"""
ENCRYPTED_KEY = """\
-----BEGIN ENCRYPTED PRIVATE KEY-----
MIHsMFcGCSqGSIb3DQEFDTBKMCkGCSqGSIb3DQEFDDAcBAhS7UTrotaGqQICCAAw
DAYIKoZIhvcNAgkFADAdBglghkgBZQMEASoEEKr2GaodXvivwwwu+3Cs7y0EgZDn
A8iP/1CGAM3Mq+u4rrQT/WLvwtRFatt1sdF778g9x3319LilJsTekXbtaSb8KEaC
Ec+0SvnFgPRe2slVM/z+35pFsxLNV6NCTegnU9PDaqvMdYfg4XJIugUiSAcjbekR
hCT/wGOH1tkDPYXtYcoj53kBz2H6dIieLWh0NleKc8MP8YFV2ITFI5P6JielHig=
-----END ENCRYPTED PRIVATE KEY-----
"""
SOMEBODY_ELSES_KEY = """\
-----BEGIN EC PRIVATE KEY-----
MHcCAQEEICci04FCT+wLrrLE+HPbAJJCxJcdbTeK0RDsoQ8wF5DaoAoGCCqGSM49
AwEHoUQDQgAEIhVhLAMyTPfESBXyJ8y7xt9BzQFDndpXy43kf5LpeDZf319RwMiF
PNlQBDhVd2M6FjwEfPCQLLqyQgCVflEjHg==
-----END EC PRIVATE KEY-----
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    texts = {
        "cert.pem": CERT,
        "key.pem": KEY,
        "encrypted.pem": ENCRYPTED_KEY,
        "other.pem": SOMEBODY_ELSES_KEY,
        "garbage.pem": "hello",
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def problem(call: Callable[[], object]) -> Problem:
    with pytest.raises(ConfigError) as caught:
        call()
    [only] = caught.value.problems
    return only


@pytest.mark.parametrize(
    ("content", "password"),
    [
        (b"secret\n", "secret"),
        (b"secret", "secret"),
        (b"secret\r\n", "secret"),
        (b" with blanks \nsecond line\n", " with blanks "),
        ("pässwörd\n".encode(), "pässwörd"),
        (b"", ""),
        (b"\xef\xbb\xbfsecret\r\n", "secret"),
        (b"\xef\xbb\xbf", ""),
    ],
)
def test_the_password_is_the_first_line(tmp_path: Path, content: bytes, password: str) -> None:
    file = tmp_path / "password"
    file.write_bytes(content)
    assert read_password(str(file)) == password


def test_password_files_that_cannot_be_used(tmp_path: Path) -> None:
    absent = str(tmp_path / "absent")
    found = problem(lambda: read_password(absent))
    assert (found.file, found.message) == (
        absent,
        "the password_file can't be read: No such file or directory",
    )
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe")
    found = problem(lambda: read_password(str(binary)))
    assert (found.file, found.message) == (str(binary), "the password_file is not UTF-8 text")


def test_what_never_ends_is_no_password_and_no_certificate(tmp_path: Path) -> None:
    pipe = str(tmp_path / "pipe")
    os.mkfifo(pipe)
    for file in ("/dev/zero", pipe):
        found = problem(partial(read_password, file))
        assert found == Problem(file, 0, 0, "", f"the password_file can't be read: {NO_FILE}")
        found = problem(partial(tls_context, Tls(ca=file), "h"))
        assert found == Problem(file, 0, 0, "", f"tls: it can't be read: {NO_FILE}")


@pytest.mark.parametrize("most", [1024, 65_535])
def test_a_password_that_nobody_could_be_told_is_of_another_file(tmp_path: Path, most: int) -> None:
    file = tmp_path / "password"
    file.write_text("x" * most + "\nmore")
    assert read_password(str(file), most_bytes=most) == "x" * most
    file.write_text("x" * most + "ä")
    found = problem(lambda: read_password(str(file), most_bytes=most))
    assert found.file == str(file)
    assert f"has more than {most} bytes in its first line" in found.message


@pytest.mark.usefixtures("folder")
def test_brokers_are_verified_and_the_named_authority_is_the_only_one() -> None:
    context = tls_context(Tls(ca="cert.pem"), "plant")
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
    [trusted] = context.get_ca_certs()
    assert trusted["subject"] == ((("commonName", "pyboot test"),),)


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("usual", [True, False])
def test_every_version_of_python_verifies_alike(
    strict: bool, usual: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = ssl.create_default_context

    def as_of_313(cafile: str | None = None) -> ssl.SSLContext:
        context = make(cafile=cafile)
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        return context

    if not usual:
        monkeypatch.setattr(ssl, "create_default_context", as_of_313)
    flags = tls_context(Tls(ca="cert.pem", strict=strict), "plant").verify_flags
    assert bool(flags & ssl.VERIFY_X509_STRICT) == strict


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("host", "strict", "by_python"),
    [
        ("plant", False, True),
        ("10.0.0.1.example", False, True),
        ("10.0.0.1", True, True),
        ("10.0.0.1", False, False),
        ("::1", False, False),
    ],
)
def test_names_are_checked_by_python_and_addresses_by_us(
    host: str, strict: bool, by_python: bool
) -> None:
    context = tls_context(Tls(ca="cert.pem", strict=strict), host)
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, by_python)


@pytest.mark.usefixtures("folder")
def test_a_client_certificate_is_taken() -> None:
    context = tls_context(Tls(cert="cert.pem", key="key.pem"), "plant")
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("tls", "file", "message"),
    [
        (Tls(ca="absent.pem"), "absent.pem", "can't be read: No such file"),
        (Tls(ca="."), ".", "can't be read: Is a directory"),
        (Tls(ca="garbage.pem"), "garbage.pem", "it must be a PEM file of certificates"),
        (Tls(cert="absent.pem", key="key.pem"), "absent.pem", "can't be read: No such file"),
        (Tls(cert="cert.pem", key="absent.pem"), "absent.pem", "can't be read: No such file"),
        (Tls(cert="garbage.pem", key="key.pem"), "garbage.pem", "they must be PEM files"),
        (Tls(cert="cert.pem", key="garbage.pem"), "cert.pem", "they must be PEM files"),
        (Tls(cert="cert.pem"), "cert.pem", "the key must belong"),
        (Tls(cert="cert.pem", key="other.pem"), "cert.pem", "the key must belong"),
        (Tls(cert="cert.pem", key="encrypted.pem"), "cert.pem", "stand in `key_password_file`"),
    ],
)
def test_certificates_that_cannot_be_used(tls: Tls, file: str, message: str) -> None:
    found = problem(lambda: tls_context(tls, "plant"))
    assert (found.file, found.message[:5]) == (file, "tls: ")
    assert message in found.message


@pytest.mark.usefixtures("folder")
def test_a_key_with_a_password(folder: Path) -> None:
    """Made of the other key here, by the password it is given."""
    (folder / "password").write_text("tomato\n")
    command = ["openssl", "pkey", "-in", "key.pem", "-aes256", "-passout", "file:password"]
    subprocess.run([*command, "-out", "locked.pem"], check=True, capture_output=True)
    tls = Tls(cert="cert.pem", key="locked.pem", key_password_file="password")
    assert tls_context(tls, "plant").verify_mode == ssl.CERT_REQUIRED
    (folder / "password").write_text("potato\n")
    assert problem(lambda: tls_context(tls, "plant")).file == "cert.pem"
    (folder / "password").unlink()
    found = problem(lambda: tls_context(tls, "plant"))
    assert (found.file, found.message) == (
        "password",
        "tls: it can't be read: No such file or directory",
    )


@pytest.mark.parametrize(
    ("tls", "host", "name"),
    [
        (Tls(), "plant", "plant"),
        (Tls(), "plant.example.", "plant.example"),
        (Tls(server_name="broker.example"), "10.0.0.1", "broker.example"),
    ],
)
def test_what_the_certificate_is_to_be_for(tls: Tls, host: str, name: str) -> None:
    assert name_of(tls, host) == name


def test_the_oldest_version_of_tls() -> None:
    assert tls_context(Tls(min_version="1.3"), "plant").minimum_version == ssl.TLSVersion.TLSv1_3
    usual = ssl.create_default_context().minimum_version
    assert tls_context(Tls(), "plant").minimum_version == usual


def test_a_name_for_a_host_that_is_an_address_is_checked() -> None:
    assert tls_context(Tls(server_name="broker.example"), "10.0.0.1").check_hostname
