"""What root takes is root's alone, all the way up."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pyboot_svc.services.trust import Untrusted, require_roots_own, trouble_with

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root has to take care")
HERE = "/run"


@pytest.fixture
def folder() -> Iterator[Path]:
    """Where nobody but root can write, all the way up."""
    made = Path(tempfile.mkdtemp(dir=HERE, prefix="pyboot-test-"))
    (made / "a" / "b").mkdir(parents=True, mode=0o755)
    (made / "a" / "b" / "file").write_text("")
    yield made
    shutil.rmtree(made)


def file(folder: Path) -> Path:
    return folder / "a" / "b" / "file"


def test_what_is_roots_alone(folder: Path) -> None:
    assert trouble_with(file(folder)) == ""
    file(folder).chmod(0o664)  # of root's own group
    (folder / "a").chmod(0o775)
    (folder / "link").symlink_to("a/../a/b")
    assert trouble_with(folder / "link" / "file") == ""
    assert trouble_with(folder / "none") == ""


def open_to_group(folder: Path) -> None:
    os.chown(folder, 0, 4711)
    folder.chmod(0o775)


def somebodys_tmp(folder: Path) -> None:
    folder.chmod(0o1777)
    os.chown(folder, 4711, 0)


CHANGES: dict[str, tuple[Callable[[Path], None], str]] = {
    "the file is somebody's": (lambda f: os.chown(file(f), 4711, 0), "belongs to user 4711"),
    "its folder is somebody's": (lambda f: os.chown(f / "a" / "b", 4711, 0), "chown root"),
    "a folder above is somebody's": (lambda f: os.chown(f / "a", 4711, 0), "belongs to"),
    "anybody may write it": (lambda f: file(f).chmod(0o646), "chmod go-w"),
    "a group may write": (lambda f: open_to_group(f / "a"), "others can write to"),
    "anybody may write a folder above": (lambda f: (f / "a").chmod(0o777), "chmod go-w"),
    "a folder above that anybody keeps is somebody's": (
        lambda f: somebodys_tmp(f / "a"),
        "belongs",
    ),
}


@pytest.mark.parametrize("kind", sorted(CHANGES))
def test_what_somebody_else_could_change(folder: Path, kind: str) -> None:
    change, said = CHANGES[kind]
    change(folder)
    assert said in trouble_with(file(folder))
    assert trouble_with(file(folder)).startswith(f"{file(folder)} isn't root's alone: ")


def test_a_link_is_as_good_as_where_it_leads(folder: Path) -> None:
    (folder / "safe").mkdir()
    (folder / "open").mkdir()
    (folder / "open" / "hop").symlink_to(file(folder))
    (folder / "safe" / "link").symlink_to(folder / "open" / "hop")
    (folder / "open").chmod(0o777)
    assert "others can write" in trouble_with(folder / "safe" / "link")


def test_in_a_folder_as_tmp_is_what_is_roots_is_roots_alone(folder: Path) -> None:
    (folder / "a").chmod(0o1777)
    assert trouble_with(file(folder)) == ""
    assert "anybody can make files in" in trouble_with(file(folder), for_good=True)
    os.chown(folder / "a" / "b", 4711, 0)
    assert "belongs to user 4711" in trouble_with(file(folder))


@pytest.mark.parametrize("way", ["a", "a/b/..", "a/here", "a/b/../here"])
def test_such_a_folder_itself_is_not(folder: Path, way: str) -> None:
    """Whatever is imported from it may be anybody's."""
    (folder / "a").chmod(0o1777)
    (folder / "a" / "here").symlink_to(".")
    assert "anybody can make files in" in trouble_with(folder / way)


def test_a_link_in_such_a_folder_may_be_anybodys(folder: Path) -> None:
    (folder / "safe").mkdir()
    (folder / "a").chmod(0o1777)
    (folder / "a" / "link").symlink_to(folder / "safe")
    assert trouble_with(folder / "a" / "link") == ""
    os.chown(folder / "a" / "link", 4711, 0, follow_symlinks=False)
    assert "belongs to user 4711" in trouble_with(folder / "a" / "link")


def test_links_in_a_circle_end(folder: Path) -> None:
    (folder / "one").symlink_to("two")
    (folder / "two").symlink_to("one")
    assert trouble_with(folder / "one") == ""  # it can't be read, either


def test_all_that_is_not_is_said_once(folder: Path) -> None:
    (folder / "a").chmod(0o777)
    with pytest.raises(Untrusted) as raised:
        require_roots_own([file(folder), file(folder), folder / "a" / "b"])
    assert len(str(raised.value).splitlines()) == 2
    require_roots_own([folder])


def test_who_is_not_root_takes_what_he_likes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "a").chmod(0o777)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert trouble_with(file(folder)) == ""
