"""Tokens that are made: each its own, kept, and readable by who made them alone."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from pyboot_svc.errors import UnavailableError
from pyboot_svc.identity import InstanceId
from pyboot_svc.metrics.tokens import hashes_file, read_hashes, read_token, token_file
from pyboot_svc.services.tokens import issue_tokens, withdraw_tokens

ONE, TWO = InstanceId("a", 1), InstanceId("a", 2)


def test_each_has_its_own_and_keeps_it(tmp_path: Path) -> None:
    hashes = issue_tokens(tmp_path, [ONE, TWO])
    tokens = {str(one): read_token(token_file(tmp_path, one)) for one in (ONE, TWO)}
    assert {len(token) for token in tokens.values()} == {64}
    assert len(set(tokens.values())) == 2
    assert hashes == {
        name: hashlib.sha256(token.encode()).hexdigest() for name, token in tokens.items()
    }
    assert read_hashes(hashes_file(tmp_path)) == hashes
    assert issue_tokens(tmp_path, [ONE]) == hashes


def test_pods_that_come_and_go_share_one(tmp_path: Path) -> None:
    hashes = issue_tokens(tmp_path, [ONE, "a-any"])
    assert hashes.keys() == {"a-1", "a-any"}
    (tmp_path / "tokens" / "-any").write_text("x")
    assert issue_tokens(tmp_path, []) == hashes


def test_nobody_else_can_read_them(tmp_path: Path) -> None:
    issue_tokens(tmp_path, [ONE])
    file = token_file(tmp_path, ONE)
    assert [place.stat().st_mode & 0o777 for place in (file.parent, file)] == [0o700, 0o600]


def test_who_is_gone_keeps_none(tmp_path: Path) -> None:
    issue_tokens(tmp_path, [ONE, TWO])
    (tmp_path / "tokens" / "else").write_text("x")
    withdraw_tokens(tmp_path, [TWO])
    assert [file.name for file in (tmp_path / "tokens").iterdir()] == ["a-2"]
    assert set(read_hashes(hashes_file(tmp_path)) or {}) == {"a-2"}


def test_one_that_was_cut_off_is_made_anew(tmp_path: Path) -> None:
    issue_tokens(tmp_path, [ONE])
    token_file(tmp_path, ONE).write_text("")
    issue_tokens(tmp_path, [ONE])
    assert read_token(token_file(tmp_path, ONE))


def test_a_folder_that_can_not_be_written(tmp_path: Path) -> None:
    (tmp_path / "tokens").write_text("")
    with pytest.raises(UnavailableError, match="can't be written"):
        issue_tokens(tmp_path, [ONE])
