"""Passwords on standard input and tokens in files, as editors and shells leave them."""

from __future__ import annotations

import argparse
import base64
import io
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pyboot_svc.cli import main
from pyboot_svc.cli.master_client import token_of
from pyboot_svc.errors import UsageError
from pyboot_svc.web.credentials import Credentials

Give = Callable[[bytes], tuple[int, str]]

BOM = b"\xef\xbb\xbf"


@pytest.fixture
def who(tmp_path: Path) -> Path:
    return tmp_path / "who"


@pytest.fixture
def give(who: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Give:
    def give(data: bytes) -> tuple[int, str]:
        """Exit code and complaint of `pyboot web password` for ada with this standard input."""
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data), encoding="ascii"))
        code = main(["web", "password", "--user", "ada", "--file", str(who)])
        return code, capsys.readouterr().err

    return give


def lets_in(who: Path, password: str) -> bool:
    login = base64.b64encode(f"ada:{password}".encode()).decode()
    return Credentials(who).allow(f"Basic {login}")


@pytest.mark.parametrize(
    "data", [b"p\xc3\xa9", b"p\xc3\xa9\r\n", BOM + b"p\xc3\xa9\n", b"p\xc3\xa9\nmore\n"]
)
def test_the_password_is_what_one_types_at_the_login(who: Path, give: Give, data: bytes) -> None:
    assert give(data) == (0, "")
    assert lets_in(who, "pé")


UNUSABLE = {
    "Latin-1": ("pé\n".encode("latin-1"), "is not UTF-8 text"),
    "UTF-16": ("pw\n".encode("utf-16"), "is not UTF-8 text"),
    "UTF-16 without a mark": ("pw\n".encode("utf-16-le"), "has control characters"),
    "nothing": (BOM + b"\r\n", "is empty"),
}


@pytest.mark.parametrize(("data", "why"), UNUSABLE.values(), ids=UNUSABLE)
def test_a_password_that_no_login_could_be_is_refused(
    who: Path, give: Give, data: bytes, why: str
) -> None:
    code, complaint = give(data)
    assert (code, complaint.startswith(f"pyboot: the password {why}")) == (64, True), complaint
    assert not who.exists()


def test_a_file_with_a_mark_and_remarks_gets_another_entry(who: Path, give: Give) -> None:
    give(b"old\n")
    who.write_bytes(BOM + who.read_bytes() + "# für ada\n".encode())
    assert give(b"new\n") == (0, "")
    assert lets_in(who, "new")
    assert not lets_in(who, "old")
    assert "# für ada" in who.read_text("utf-8").splitlines()


def test_a_file_that_is_no_text_is_left_alone(who: Path, give: Give) -> None:
    data = ":scrypt$00$00\n".encode("utf-16")
    who.write_bytes(data)
    said = f"pyboot: {who} is not UTF-8 text: save it as that, or remove it\n"
    assert give(b"new\n") == (64, said)
    assert who.read_bytes() == data


@pytest.mark.parametrize("data", [b"abc", b" abc \r\n", BOM + b"abc\n"])
def test_a_token_file_is_read_as_an_editor_leaves_it(tmp_path: Path, data: bytes) -> None:
    file = tmp_path / "token"
    file.write_bytes(data)
    assert token_of(argparse.Namespace(token_file=file)) == "abc"


@pytest.mark.parametrize("data", [b"", b"abc\0", b"\nabc", "ä".encode(), "abc".encode("utf-16")])
def test_a_file_without_a_token_is_named(tmp_path: Path, data: bytes) -> None:
    file = tmp_path / "token"
    file.write_bytes(data)
    with pytest.raises(UsageError, match=r"token file .*/token (is no|is not)"):
        token_of(argparse.Namespace(token_file=file))


def test_a_token_file_that_cant_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"can't be read: Is a directory"):
        token_of(argparse.Namespace(token_file=tmp_path))
