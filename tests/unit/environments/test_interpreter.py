"""Which interpreter a configuration's `python` names, by what can be seen of it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from support.environment import make_environment

from pyboot_svc.environments.interpreter import (
    EnvironmentUnusable,
    enter,
    environment_folders,
    find_interpreter,
    is_here,
)

HERE = (sys.version_info.major, sys.version_info.minor)


def python(prefix: Path, version: str = "3.12") -> Path:
    """What looks like an installed Python, and its interpreter."""
    (prefix / "lib" / f"python{version}").mkdir(parents=True)
    (prefix / "bin").mkdir()
    file = prefix / "bin" / f"python{version}"
    file.write_bytes(b"\x7fELF")
    file.chmod(0o755)
    return file


def venv(folder: Path, interpreter: Path, version: str = "3.12", **settings: str) -> Path:
    """As `python -m venv` makes it."""
    (folder / "bin").mkdir(parents=True)
    (folder / "lib" / f"python{version}" / "site-packages").mkdir(parents=True)
    (folder / "bin" / "python").symlink_to(interpreter)
    lines = {"home": str(interpreter.parent), "version": f"{version}.4", **settings}
    text = "".join(f"{key} = {value}\n" for key, value in lines.items())
    (folder / "pyvenv.cfg").write_text(text)
    return folder


def trouble(path: Path) -> str:
    with pytest.raises(EnvironmentUnusable) as raised:
        find_interpreter(str(path))
    return str(raised.value)


@pytest.mark.parametrize("named", ["", "bin/python"])
def test_a_virtual_environment_and_its_interpreter_are_the_same(tmp_path: Path, named: str) -> None:
    base = python(tmp_path / "base")
    found = find_interpreter(str(venv(tmp_path / "venv", base) / named))
    assert found.executable == tmp_path / "venv" / "bin" / "python"
    assert (found.version, found.release) == ((3, 12), "3.12.4")
    assert (found.prefix, found.base) == (tmp_path / "venv", tmp_path / "base")
    assert not found.shares_packages
    assert not found.is_own


def test_an_interpreter_that_is_no_virtual_environment(tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(python(tmp_path / "base"))
    found = find_interpreter(str(link))
    assert found.prefix == found.base == tmp_path / "base"
    assert (found.executable, found.release) == (link, "3.12")
    assert found.shares_packages


def test_the_folder_of_an_installation(tmp_path: Path) -> None:
    """As conda's environments are: there is nothing that they were made of."""
    file = python(tmp_path / "conda")
    (file.parent / "python").symlink_to(file.name)
    found = find_interpreter(str(tmp_path / "conda"))
    assert found.prefix == found.base == tmp_path / "conda"
    assert (found.version, found.folders) == ((3, 12), (str(tmp_path / "conda"),))


def test_one_that_was_made_with_copies(tmp_path: Path) -> None:
    base = python(tmp_path / "base")
    folder = venv(tmp_path / "venv", base)
    (folder / "bin" / "python").unlink()
    (folder / "bin" / "python").write_bytes(base.read_bytes())
    (folder / "bin" / "python").chmod(0o755)
    found = find_interpreter(str(folder))
    assert (found.base, found.version) == (tmp_path / "base", (3, 12))


def test_uv_and_virtualenv_have_a_key_of_their_own_for_the_version(tmp_path: Path) -> None:
    folder = venv(tmp_path / "venv", python(tmp_path / "base"))
    (folder / "pyvenv.cfg").write_text("home = /x\nversion_info = 3.12.7.final.0\n")
    assert find_interpreter(str(folder)).release == "3.12.7"


def test_the_folders_that_it_needs_by_each_of_their_names(tmp_path: Path) -> None:
    """As uv has it: a link for the minor version, which leads to a folder of the patch's."""
    base = python(tmp_path / "cpython-3.12.8").parents[1]
    (tmp_path / "cpython-3.12").symlink_to(base)
    folder = venv(tmp_path / "venv", tmp_path / "cpython-3.12" / "bin" / "python3.12")
    (tmp_path / "current").symlink_to(folder)
    assert set(environment_folders(str(tmp_path / "current"))) == {
        str(tmp_path / name) for name in ("current", "venv", "cpython-3.12", "cpython-3.12.8")
    }
    assert environment_folders(None) == ()
    assert environment_folders("/no/such") == ("/no/such",)


def test_the_one_that_runs_this() -> None:
    found = find_interpreter(sys.executable)
    assert found.version == HERE
    assert found.is_own
    assert is_here(None)
    assert is_here(sys.prefix)
    enter(None, {})
    enter(sys.prefix, {})  # where it is already


def test_another_with_the_same_python(tmp_path: Path) -> None:
    folder = make_environment(tmp_path / "venv")
    assert find_interpreter(str(folder)).version == HERE
    assert not is_here(str(folder))


@pytest.mark.parametrize("version", ["3.9", "3.10", "2.7"])
def test_one_that_is_too_old(tmp_path: Path, version: str) -> None:
    folder = venv(tmp_path / "venv", python(tmp_path / "base", version), version)
    said = trouble(folder)
    assert said.startswith(f"python: {folder} is Python {version}; at least 3.11 is needed: ")


def test_what_is_not_there(tmp_path: Path) -> None:
    assert "`pyboot venv create` makes" in trouble(tmp_path / "none")
    assert "has no bin/python" in trouble(tmp_path)


def test_what_can_not_be_executed(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert trouble(tmp_path / "file") == f"python: {tmp_path}/file can't be executed"
    other = tmp_path / "other"
    other.write_bytes(b"\x7fELF")
    other.chmod(0o755)
    assert "doesn't look like an interpreter" in trouble(other)


def test_one_whose_python_was_removed(tmp_path: Path) -> None:
    base = python(tmp_path / "base")
    folder = venv(tmp_path / "venv", base)
    base.unlink()
    assert trouble(folder).endswith(f"leads to {base}, which is gone: make the environment anew")


def test_one_whose_python_has_become_another(tmp_path: Path) -> None:
    """As an upgrade of the distribution leaves it: it would find none of its packages."""
    base = python(tmp_path / "base", "3.13")
    folder = venv(tmp_path / "venv", base, "3.12")
    assert "for another version of Python than its interpreter now has, 3.13" in trouble(folder)


def test_a_script_that_starts_one(tmp_path: Path) -> None:
    """As pyenv's are."""
    shim = tmp_path / "python3.12"
    shim.write_text("#!/bin/sh\n")
    shim.chmod(0o755)
    assert f"name what it starts: `{shim} -c 'import sys; print(sys.executable)'`" in trouble(shim)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_one_that_is_not_for_this_user(tmp_path: Path) -> None:
    folder = venv(tmp_path / "closed" / "venv", python(tmp_path / "base"))
    folder.parent.chmod(0)
    try:
        assert trouble(folder) == (
            f"python: {folder} can't be read by the user that needs it: Permission denied"
        )
    finally:
        folder.parent.chmod(0o700)


def test_what_can_not_be_run_at_all(tmp_path: Path) -> None:
    """It has the right name, and isn't made for this machine."""
    folder = venv(tmp_path / "venv", python(tmp_path / "base"))
    with pytest.raises(EnvironmentUnusable, match=r"can't be run: Exec format error.*apply"):
        enter(str(folder), {})
