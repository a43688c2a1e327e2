"""Where environments are made, and what is refused before anything is."""

from __future__ import annotations

import fcntl
from pathlib import Path

import pytest

from pyboot_svc.errors import UnavailableError, UsageError
from pyboot_svc.services.environments import (
    Source,
    create_environment,
    described,
    environments_folder,
    list_environments,
    remove_environment,
)


@pytest.fixture
def source(tmp_path: Path) -> Source:
    (tmp_path / "requirements.txt").touch()
    return Source(tmp_path / "requirements.txt")


def make(folder: Path, name: str, *, complete: bool = True) -> Path:
    environment = folder / name
    environment.mkdir(parents=True)
    (environment / "pyvenv.cfg").touch()
    if not complete:
        (environment / ".incomplete").touch()
    return environment


def test_a_users_are_in_the_folder_for_data(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    assert environments_folder() == tmp_path / ".local" / "share" / "pyboot" / "venvs"
    monkeypatch.setenv("XDG_DATA_HOME", "/data")
    assert environments_folder() == Path("/data/pyboot/venvs")
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert environments_folder() == Path("/var/lib/pyboot/venvs")


@pytest.mark.parametrize("what", ["requirements", "wheels"])
def test_what_it_would_be_made_of_is_looked_for_first(tmp_path: Path, what: str) -> None:
    (tmp_path / "there").touch()
    absent = tmp_path / "absent"
    given = {
        "requirements": Source(absent),
        "wheels": Source(tmp_path / "there", absent),
    }
    with pytest.raises(UsageError, match=f"there is no {absent}"):
        create_environment(tmp_path / "venvs" / "x", given[what], show=False)
    assert not (tmp_path / "venvs").exists()


def test_a_file_and_a_folder_are_told_apart(tmp_path: Path, source: Source) -> None:
    with pytest.raises(UsageError, match="is a folder: name a file"):
        create_environment(tmp_path / "x", Source(tmp_path), show=False)
    with pytest.raises(UsageError, match="is a file: name the folder"):
        create_environment(
            tmp_path / "x", Source(source.requirements, source.requirements), show=False
        )
    assert not (tmp_path / "x").exists()


def test_what_is_there_is_not_made_again(tmp_path: Path, source: Source) -> None:
    """Whatever it is: not everything in that folder is ours."""
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "precious").touch()
    with pytest.raises(UsageError, match=r"there is .* already"):
        create_environment(tmp_path / "x", source, show=False)
    assert (tmp_path / "x" / "precious").exists()


def test_what_another_makes_is_left_to_it(tmp_path: Path, source: Source) -> None:
    environment = make(tmp_path, "x", complete=False)
    with open(environment / ".incomplete") as mark:
        fcntl.flock(mark, fcntl.LOCK_EX)
        with pytest.raises(UnavailableError, match="is being made by another"):
            create_environment(environment, source, show=False)
    assert environment.exists()


def test_a_folder_that_can_not_be_written(tmp_path: Path, source: Source) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UnavailableError, match="can't be made: Not a directory"):
        create_environment(tmp_path / "file" / "x", source, show=False)


def test_those_that_are_complete_are_listed(tmp_path: Path) -> None:
    assert list_environments(tmp_path / "none") == []
    kept = make(tmp_path, "kept")
    make(tmp_path, "begun", complete=False)
    (tmp_path / "not ours").mkdir()
    assert list_environments(tmp_path) == [kept]
    assert described(kept)["python"] == "unusable"
    remove_environment(kept)
    assert not kept.exists()


def test_what_can_not_be_removed(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="can't be removed: No such file"):
        remove_environment(tmp_path / "none")
