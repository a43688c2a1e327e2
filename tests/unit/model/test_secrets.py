"""What a model may read of files that its edge names, and what it is told of the rest."""

from __future__ import annotations

import logging
import os
import traceback
from pathlib import Path

import pytest

from pyboot_svc.model import Context
from pyboot_svc.model.secrets import Secrets


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"hunter2\n", "hunter2"),
        (b"hunter2", "hunter2"),
        (b"hunter2\r\n", "hunter2"),
        (b" a\nb \n\n", " a\nb \n"),
        ("\ufeffpässwörd".encode(), "pässwörd"),
        (b"", ""),
    ],
)
def test_the_text_of_a_file(content: bytes, text: str, tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_bytes(content)
    context = Context(
        "m-1", tmp_path, logging.getLogger("model"), secrets=Secrets({"KEY": str(file)})
    )
    assert context.secret("KEY") == text
    assert str(file) not in repr(context)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "key")
    with pytest.raises(OSError, match="the secret KEY can't be read: it is a pipe or a device"):
        Secrets({"KEY": str(tmp_path / "key")}).read("KEY")


def test_a_new_one_is_read_anew(tmp_path: Path) -> None:
    file = tmp_path / "key"
    secrets = Secrets({"KEY": str(file)})
    for text in ("first", "second"):
        file.write_text(text)
        assert secrets.read("KEY") == text


def test_the_copy_of_the_service_manager_comes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    (tmp_path / "secret.KEY").write_text("of root\n")
    assert Secrets({"KEY": "/nowhere/key"}).read("KEY") == "of root"


def test_one_that_the_edge_does_not_name() -> None:
    with pytest.raises(LookupError, match=r"no secret KEY: .*`secrets: {KEY: FILE}`"):
        Context("m-1", Path(), logging.getLogger("model")).secret("KEY")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    file = str(tmp_path / "absent")
    with pytest.raises(FileNotFoundError, match="the secret KEY can't be read: No such") as caught:
        Secrets({"KEY": file}).read("KEY")
    assert caught.value.filename == file


def test_a_file_that_is_no_text_is_not_quoted(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_bytes(b"hunter2\xff")
    with pytest.raises(ValueError, match="the secret KEY is not UTF-8 text") as caught:
        Secrets({"KEY": str(file)}).read("KEY")
    assert "hunter2" not in "".join(traceback.format_exception(caught.value))
    assert "0xff" not in "".join(traceback.format_exception(caught.value, chain=True))
