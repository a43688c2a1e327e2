"""What packages are built of is the commit's, the same wherever and by whomever it is unpacked."""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
from io import BytesIO
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
EPOCH = 1_600_000_000
CHANGELOG = "pyboot-svc (1.0) x; urgency=low\n\n -- x <x@x>  Sun, 13 Sep 2020 12:26:40 +0000\n"


def git(tree: Path, *arguments: str) -> bytes:
    who = ("-c", "user.name=x", "-c", "user.email=x@x", "-c", "commit.gpgsign=false")
    when = {"GIT_AUTHOR_DATE": f"{EPOCH} +0000", "GIT_COMMITTER_DATE": f"{EPOCH} +0000"}
    command = ["git", "-C", str(tree), *who, *arguments]
    return subprocess.run(
        command, stdout=subprocess.PIPE, check=True, timeout=30, env={**os.environ, **when}
    ).stdout


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A small tree with the script, committed."""
    tree = tmp_path / "clone"
    (tree / "packaging" / "debian").mkdir(parents=True)
    (tree / "packaging" / "debian" / "changelog").write_text(CHANGELOG)
    shutil.copy(ROOT / "packaging" / "source.sh", tree / "packaging")
    (tree / ".gitignore").write_text("/build/\n")
    (tree / "a name").write_text("here")
    git(tree, "init", "--quiet")
    git(tree, "add", "--all")
    git(tree, "commit", "--quiet", "--message", "all")
    (tree / "build").mkdir()
    (tree / "build" / "ignored").write_text("")
    return tree


def copy(tree: Path, folder: Path, umask: int = 0o022) -> tuple[int, str]:
    """Gives the time that the script prints, and what it complains of."""
    environment = {key: value for key, value in os.environ.items() if key != "SOURCE_DATE_EPOCH"}
    done = subprocess.run(
        [tree / "packaging" / "source.sh", folder],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
        env=environment,
        umask=umask,
    )
    return int(done.stdout), done.stderr


def described(tree: Path) -> dict[str, tuple[int, int, bytes]]:
    """Mode, time and content of each file."""
    return {
        str(file.relative_to(tree)): (
            file.stat().st_mode & 0o7777,
            int(file.stat().st_mtime),
            file.read_bytes(),
        )
        for file in tree.rglob("*")
        if file.is_file()
    }


def test_a_clean_clone_gives_what_git_archive_gives(clone: Path, tmp_path: Path) -> None:
    assert copy(clone, tmp_path / "copy") == (EPOCH, "")
    found = described(tmp_path / "copy")
    with tarfile.open(fileobj=BytesIO(git(clone, "archive", "HEAD"))) as archive:
        wanted = {member.name for member in archive if member.isfile()}
    assert found.keys() == wanted
    assert {(mode, when) for mode, when, _ in found.values()} == {(0o644, EPOCH), (0o755, EPOCH)}


def test_the_umask_and_a_clones_own_times_make_no_difference(clone: Path, tmp_path: Path) -> None:
    copy(clone, tmp_path / "one")
    for file in clone.glob("a*"):
        file.chmod(0o664)
        os.utime(file, (1, 1))
    copy(clone, tmp_path / "two", umask=0o077)
    assert described(tmp_path / "one") == described(tmp_path / "two")


def test_changes_are_built_in_and_said(clone: Path, tmp_path: Path) -> None:
    (clone / "a name").write_text("changed")
    (clone / "new").write_text("new")
    (clone / ".gitignore").unlink()
    (clone / "build" / "ignored").unlink()
    epoch, said = copy(clone, tmp_path / "copy")
    assert epoch == EPOCH
    assert "the work tree has changes" in said
    found = described(tmp_path / "copy")
    assert (found["a name"][2], found["new"][2]) == (b"changed", b"new")
    assert ".gitignore" not in found


def test_without_git_the_time_is_the_changelogs(clone: Path, tmp_path: Path) -> None:
    copy(clone, tmp_path / "one")
    assert copy(tmp_path / "one", tmp_path / "two") == (EPOCH, "")
    assert described(tmp_path / "one") == described(tmp_path / "two")


def test_it_writes_into_no_folder_that_is_there(clone: Path, tmp_path: Path) -> None:
    with pytest.raises(subprocess.CalledProcessError):
        copy(clone, tmp_path)
