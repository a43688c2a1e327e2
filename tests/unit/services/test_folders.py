"""The folders below /run/pyboot are root's, whatever somebody has made in their place."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from pyboot_svc.errors import UnavailableError
from pyboot_svc.services.folders import FOLDERS, OPENRC_FOLDERS, make_folders

ALL = {**FOLDERS, **OPENRC_FOLDERS}
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def modes(run_dir: Path) -> dict[str, int]:
    return {folder.name: stat.S_IMODE(folder.stat().st_mode) for folder in run_dir.iterdir()}


def test_each_has_its_mode_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        make_folders(tmp_path / "run", ALL)
    finally:
        os.umask(before)
    assert modes(tmp_path / "run") == dict(ALL)
    assert stat.S_IMODE((tmp_path / "run").stat().st_mode) == 0o755


def test_what_is_there_stays(tmp_path: Path) -> None:
    make_folders(tmp_path)
    (tmp_path / "instances" / "a-1.json").write_text("{}")
    (tmp_path / "instances").chmod(0o777)
    tmp_path.chmod(0o1777)
    make_folders(tmp_path)
    assert (tmp_path / "instances" / "a-1.json").exists()
    assert modes(tmp_path) == dict(FOLDERS)
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755


@pytest.mark.parametrize("kind", ["file", "link"])
def test_what_is_no_folder_is_replaced(tmp_path: Path, kind: str) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    if kind == "file":
        (run_dir / "locks").write_text("")
    else:
        (run_dir / "workers").symlink_to(elsewhere)
    make_folders(run_dir)
    assert modes(run_dir) == dict(FOLDERS)
    assert stat.S_IMODE(elsewhere.stat().st_mode) == 0o700


@as_root
def test_somebody_elses_is_removed_with_what_is_in_it(tmp_path: Path) -> None:
    """What root would source from it, say."""
    (tmp_path / "openrc").mkdir()
    (tmp_path / "openrc" / "a-1").write_text("touch /tmp/broken")
    (tmp_path / "openrc" / "link").symlink_to(tmp_path / "precious")
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "file").write_text("")
    os.chown(tmp_path / "openrc", 4711, 4711)
    make_folders(tmp_path, OPENRC_FOLDERS)
    assert list((tmp_path / "openrc").iterdir()) == []
    assert (tmp_path / "openrc").stat().st_uid == 0
    assert (tmp_path / "precious" / "file").exists()


@as_root
def test_where_all_is_somebody_elses_root_does_nothing(tmp_path: Path) -> None:
    os.chown(tmp_path, 4711, 4711)
    with pytest.raises(UnavailableError, match="belongs to another user: choose another"):
        make_folders(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UnavailableError, match="can't be made: Not a directory"):
        make_folders(tmp_path / "file" / "run")
