"""What tells that a secret's file is another one, and that nothing of it is told."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pyboot_svc.services.secret_files import UNSEEN, versions_of


def test_another_content_is_another_version(tmp_path: Path) -> None:
    file, link = tmp_path / "password", tmp_path / "link"
    files = {"pre.password": str(link)}
    link.symlink_to(file)
    absent = versions_of(files)
    file.write_text("hunter2\n")
    first = versions_of(files)
    assert first == versions_of(files)
    file.write_text("hunter3\n")
    os.utime(file, (1, 1))
    later = versions_of(files)
    assert len({str(found) for found in (absent, first, later)}) == 3
    assert later == {"pre.password": "1970-01-01T00:00:01.000000000Z 8"}
    other = tmp_path / "other"  # as by a rename, or certbot's link to the next one
    other.write_text("hunter44\n")
    os.utime(other, (1, 1))
    other.replace(file)
    assert versions_of(files) != later


def test_what_may_not_be_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbid(file: str) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "stat", forbid)
    assert versions_of({"pre.password": "/etc/x"}) == {"pre.password": UNSEEN}
