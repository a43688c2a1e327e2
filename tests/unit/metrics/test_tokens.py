"""Where tokens and their hashes are found, and what is made of files that aren't theirs."""

from __future__ import annotations

from pathlib import Path

import pytest

from pyboot_svc.identity import InstanceId
from pyboot_svc.metrics.tokens import (
    hashes_file,
    read_hashes,
    read_token,
    token_file,
    worker_token,
)

ONE = InstanceId("a", 1)


def test_a_worker_has_it_from_its_service_manager_or_from_the_run_dir(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    assert worker_token(tmp_path, ONE) == token_file(tmp_path, ONE)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert worker_token(tmp_path, ONE) == token_file(tmp_path, ONE)
    (tmp_path / "report-token").write_text("t")
    assert worker_token(tmp_path, ONE) == tmp_path / "report-token"


@pytest.mark.parametrize(
    ("content", "token"),
    [
        (b"abc\n", "abc"),
        (b"\xef\xbb\xbfabc\r\n", "abc"),
        (b"", ""),
        (b"\xff\n", ""),
        ("ä".encode(), ""),
        (b"a" * 10_000, "a" * 200),
    ],
    ids=["line", "mark", "empty", "no-text", "no-token", "long"],
)
def test_a_token_is_the_first_line(tmp_path: Path, content: bytes, token: str) -> None:
    (tmp_path / "token").write_bytes(content)
    assert read_token(tmp_path / "token") == token
    assert read_token(tmp_path / "absent") == ""


@pytest.mark.parametrize("content", [b"", b"[1]", b"\xff", b"{"])
def test_hashes_that_can_not_be_read_are_nobodys(tmp_path: Path, content: bytes) -> None:
    file = hashes_file(tmp_path)
    assert read_hashes(file) is None
    file.write_bytes(content)
    assert read_hashes(file) == {}
