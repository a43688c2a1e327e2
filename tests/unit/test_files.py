"""A file is the old one or the new one, never something between."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from support.locked import locked

from pyboot_svc.errors import UnavailableError
from pyboot_svc.files import names_in, read_all, read_regular, replace_text


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "settings"
    file.write_text("old")
    return file


def others(file: Path) -> list[Path]:
    return [found for found in file.parent.iterdir() if found != file]


@pytest.mark.parametrize("durable", [False, True])
def test_a_reader_keeps_what_it_has_opened(file: Path, durable: bool) -> None:
    with file.open() as reader:
        replace_text(file, "neu: 温度", durable=durable)
        assert reader.read() == "old"
    assert file.read_text(encoding="utf-8") == "neu: 温度"
    assert others(file) == []


def test_a_new_file(tmp_path: Path) -> None:
    replace_text(tmp_path / "new", "text")
    assert (tmp_path / "new").read_text() == "text"


@pytest.mark.parametrize("mode", [0o600, 0o644])
def test_its_mode_is_the_one_asked_for(file: Path, mode: int) -> None:
    before = os.umask(0o027)
    try:
        replace_text(file, "new", mode=mode)
    finally:
        os.umask(before)
    assert stat.S_IMODE(file.stat().st_mode) == mode


def test_without_one_the_umask_decides(file: Path) -> None:
    before = os.umask(0o027)
    try:
        replace_text(file, "new")
    finally:
        os.umask(before)
    assert stat.S_IMODE(file.stat().st_mode) == 0o640


@pytest.mark.parametrize("call", ["pathlib.Path.replace", "os.fsync"])
def test_what_fails_leaves_the_old_one_and_nothing_else(
    file: Path, call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(call, fail)
    with pytest.raises(OSError, match="No space left"):
        replace_text(file, "new", durable=True)
    assert file.read_text() == "old"
    assert others(file) == []


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        replace_text(tmp_path / "none" / "file", "text")


def test_what_others_have_made_beside_it_is_neither_followed_nor_touched(file: Path) -> None:
    """As in a folder where a draft of a known name may be a link to what root can write."""
    precious = file.with_name("precious")
    precious.write_text("as it was")
    for name in (f".{file.name}.new", f".{file.name}.0.new"):
        file.with_name(name).symlink_to(precious)
    replace_text(file, "new")
    assert (file.read_text(), precious.read_text()) == ("new", "as it was")
    file.unlink()
    file.symlink_to(precious)
    replace_text(file, "newer")
    assert (file.read_text(), precious.read_text()) == ("newer", "as it was")


def test_what_is_in_a_folder_or_why_nobody_knows(file: Path) -> None:
    assert names_in(file.parent) == ["settings"]
    assert names_in(file.parent / "absent") == []
    with pytest.raises(UnavailableError, match=r"/settings can't be read: Not a directory$"):
        names_in(file)
    said = r"can't be read: Permission denied; try as root \(sudo\)$"
    with locked(file.parent), pytest.raises(UnavailableError, match=said):
        names_in(file.parent)


def test_as_much_as_is_wanted_is_read(file: Path) -> None:
    assert read_all(file, 3) == read_regular(file, 3) == b"old"


@pytest.mark.parametrize("read", [read_all, read_regular])
def test_more_than_that_is_an_error(file: Path, read: Callable[[Path, int], bytes]) -> None:
    with pytest.raises(OSError, match="it has more than 2 bytes") as caught:
        read(file, 2)
    assert caught.value.filename == str(file)


def test_what_never_ends_is_not_read_to_its_end() -> None:
    with pytest.raises(OSError, match="it has more than 1000000 bytes"):
        read_all("/dev/zero", 1_000_000)


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for place in ("/dev/zero", tmp_path / "pipe"):
        with pytest.raises(OSError, match="it is a pipe or a device, and no file"):
            read_regular(place, 1000)
    with pytest.raises(IsADirectoryError):
        read_regular(tmp_path, 1000)


def test_the_text_of_a_pipe(tmp_path: Path) -> None:
    out, into = os.pipe()
    try:
        os.write(into, b"text")
        os.close(into)
        assert read_all(f"/proc/self/fd/{out}", 4) == b"text"
    finally:
        os.close(out)
