"""What is said of certificates that can't be used: which file it is, and what it has to be."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.certificates import Authority

from pyboot_svc.errors import UnavailableError
from pyboot_svc.sockets.tls import Certificates, TlsFailure, TlsFiles, connect_tls


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "plant")


@pytest.fixture
def no_pem(tmp_path: Path) -> str:
    file = tmp_path / "no.pem"
    file.write_text("no certificate")
    return str(file)


def refused(files: TlsFiles) -> str:
    with pytest.raises(UnavailableError) as caught:
        Certificates(files, "web.tls")
    said = str(caught.value)
    assert "Errno" not in said
    assert "_ssl.c" not in said
    return said


def test_of_an_authority_that_is_no_pem(authority: Authority, no_pem: str) -> None:
    made = authority.issue("master", "DNS:localhost")
    said = refused(TlsFiles(str(made.cert), str(made.key), no_pem))
    assert said.startswith(f"web.tls: {no_pem} can't be used: ")
    assert said.endswith("it has to have PEM certificates")


def test_of_a_certificate_that_is_no_pem_or_has_no_key(authority: Authority, no_pem: str) -> None:
    made = authority.issue("master", "DNS:localhost")
    said = refused(TlsFiles(no_pem))
    assert said.startswith(f"web.tls: {no_pem} can't be used: ")
    assert said.endswith("it has to be a PEM certificate, with its key in the same file")
    other = authority.issue("other", "DNS:localhost")
    said = refused(TlsFiles(str(made.cert), str(other.key)))
    assert f"{made.cert} can't be used: key values mismatch; " in said
    assert said.endswith(f"with its key in {other.key}")


def test_of_one_that_is_not_there(authority: Authority, tmp_path: Path) -> None:
    made = authority.issue("master", "DNS:localhost")
    said = refused(TlsFiles(str(made.cert), str(tmp_path / "absent")))
    assert said == (
        f"web.tls: {tmp_path / 'absent'} can't be read: No such file or directory; "
        "the master has to be able to read it"
    )


def test_of_a_worker_s_own(tmp_path: Path, no_pem: str) -> None:
    ca = tmp_path / "ca.crt"
    ca.write_bytes(Path(no_pem).read_bytes())
    with pytest.raises(TlsFailure, match=r"ca.crt can't be used: .*PEM certificates$"):
        connect_tls(("localhost", 1), tmp_path)
