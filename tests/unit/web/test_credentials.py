"""Passwords and tokens: hashes in a file, which is read again when it changes."""

from __future__ import annotations

import base64
import os
import threading
from pathlib import Path

import pytest
from support.poll import until

from pyboot_svc.errors import UsageError
from pyboot_svc.web.credentials import Busy, Credentials, new_token, trouble_in, with_entry


def basic(name: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """With a user, ada, whose password is p:w, and the token abc."""
    file = tmp_path / "who"
    file.write_text(with_entry(with_entry("", "ada", "p:w"), "", "abc"))
    return file


@pytest.mark.parametrize("header", [basic("ada", "p:w"), "Bearer abc", "bearer abc"])
def test_who_knows_it_may_and_may_again(file: Path, header: str) -> None:
    credentials = Credentials(file)
    assert credentials.allow(header)
    assert credentials.allow(header)


BAD = {
    "nothing": "",
    "a wrong password": basic("ada", "x"),
    "no password": basic("ada", ""),
    "a user that there isn't": basic("bob", "p:w"),
    "a token as a password": basic("", "abc"),
    "a password as a token": "Bearer p:w",
    "no token": "Bearer ",
    "no Base64": "Basic ä",
    "no colon": "Basic " + base64.b64encode(b"ada").decode(),
    "a hash": "Bearer scrypt$00$00",
    "another way": "Digest abc",
    "endless": "Bearer " + "x" * 5000,
    "not encodable": "Bearer \ud800",
}


@pytest.mark.parametrize("header", BAD.values(), ids=BAD)
def test_nobody_else_may(file: Path, header: str) -> None:
    assert not Credentials(file).allow(header)


def test_no_secret_stands_in_the_file(file: Path) -> None:
    text = file.read_text()
    assert "abc" not in text.split(":")[-1].split("$")[0]
    assert "p:w" not in text
    assert [line.partition("$")[0] for line in text.splitlines()] == ["ada:scrypt", ":scrypt"]


def test_the_file_is_read_again_when_it_changes(file: Path) -> None:
    credentials = Credentials(file)
    assert credentials.allow(basic("ada", "p:w"))
    file.write_text(with_entry(file.read_text(), "ada", "new one"))
    assert not credentials.allow(basic("ada", "p:w"))
    assert credentials.allow(basic("ada", "new one"))
    assert credentials.allow("Bearer abc")
    file.unlink()
    assert not credentials.allow("Bearer abc")


def test_tokens_are_added_and_differ(file: Path) -> None:
    token = new_token()
    assert len(token) > 40
    assert token != new_token()
    file.write_text(with_entry(file.read_text(), "", token))
    credentials = Credentials(file)
    assert credentials.allow(f"Bearer {token}")
    assert credentials.allow("Bearer abc")


def test_lines_that_are_no_entries_let_nobody_in(tmp_path: Path) -> None:
    file = tmp_path / "who"
    file.write_text("# a remark\nada:plain\nada:scrypt$zz$zz\n:\n\n:scrypt$$\n")
    credentials = Credentials(file)
    for header in (basic("ada", "plain"), "Bearer ", "Bearer x", basic("# a remark", "")):
        assert not credentials.allow(header)


@pytest.mark.parametrize("name", ["a:b", "a\nb", "ä", "a\0"])
def test_a_name_that_the_file_cannot_hold_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="without a colon"):
        with_entry("", name, "x")


def test_guesses_are_looked_at_one_at_a_time_and_keep_nobody_out_who_is_known(file: Path) -> None:
    credentials = Credentials(file)
    assert credentials.allow("Bearer abc")
    results: list[object] = []

    def guess(number: int) -> None:
        try:
            results.append(credentials.allow(basic("ada", str(number))))
        except Busy:
            results.append(Busy)

    threads = [threading.Thread(target=guess, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    assert credentials.allow("Bearer abc")
    for thread in threads:
        thread.join()
    until(lambda: len(results) == 16, "all have been answered")
    assert set(results) <= {False, Busy}


def test_a_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=os.strerror(2)):
        Credentials(tmp_path / "nowhere")


def test_a_byte_order_mark_keeps_nobody_out(file: Path) -> None:
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes().replace(b"\n", b"\r\n"))
    credentials = Credentials(file)
    assert credentials.allow(basic("ada", "p:w"))
    assert credentials.allow("Bearer abc")
    assert trouble_in(file) == ""


UNUSABLE = {
    "empty": b"",
    "a remark alone": b"# nobody yet\n",
    "junk": b"hello\n",
    "a digest that was cut": b"ada:scrypt$00$00\n",
    "UTF-16": with_entry("", "", "abc").encode("utf-16"),
    "a zero byte at the end": with_entry("", "", "abc").strip().encode() + b"\0",
}


@pytest.mark.parametrize("data", UNUSABLE.values(), ids=UNUSABLE)
def test_a_file_without_any_entry_is_named_at_the_start(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, data: bytes
) -> None:
    file = tmp_path / "who"
    file.write_bytes(data)
    assert not Credentials(file).allow("Bearer abc")
    said = f"{file} has no entry of `pyboot web password`: nobody can log in"
    assert caplog.messages == [f"web.auth: {said}"]
    assert trouble_in(file) == said


def test_lines_without_an_entry_are_named_by_their_numbers(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file.write_text("# people\n\nbob:secret\n" + file.read_text() + "x\n" * 9)
    assert Credentials(file).allow("Bearer abc")
    said = (
        f"web.auth: {file} has lines that are no entries of `pyboot web password`: 3, 6, 7, 8, 9, …"
    )
    assert caplog.messages == [said]


def test_what_a_file_has_become_is_said_once(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    credentials = Credentials(file)
    good = file.read_text()
    assert caplog.messages == []
    for spoilt in ("junk\n", None):
        caplog.clear()
        file.unlink() if spoilt is None else file.write_text(spoilt)
        assert not credentials.allow("Bearer abc")
        assert not credentials.allow("Bearer abc")
        assert len(caplog.messages) == 1
        file.write_text(good)
        assert credentials.allow("Bearer abc")
        assert len(caplog.messages) == 1


def test_a_file_that_is_not_there_or_for_others_to_read(tmp_path: Path) -> None:
    file = tmp_path / "who"
    assert trouble_in(file) == f"{file} isn't there: `pyboot web password` makes it"
    assert trouble_in(tmp_path) == ""
