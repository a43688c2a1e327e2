"""What is installed in an environment, and what has changed."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from support.environment import add_package, make_environment, packages_folder

from pyboot_svc.environments.packages import package_changes, packages_of


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    folder = make_environment(tmp_path / "venv")
    add_package(packages_folder(folder), "stand_in", "1.0")
    return folder


def test_versions_by_name(environment: Path) -> None:
    found = packages_of(str(environment))
    assert found.keys() == {"python", "stand_in"}
    assert found["python"] == sys.version.split()[0].rstrip("+")
    assert found["stand_in"].startswith("1.0 ")


def test_the_same_version_with_other_files_is_another(environment: Path) -> None:
    before = packages_of(str(environment))
    add_package(packages_folder(environment), "stand_in", "1.0", "changed = True\n")
    after = packages_of(str(environment))
    assert package_changes(before, after) == ("stand_in 1.0 (other files)",)


def test_of_what_is_shared_the_environments_own_comes_first(environment: Path) -> None:
    config = environment / "pyvenv.cfg"
    text = config.read_text()
    assert "include-system-site-packages = false" in text
    config.write_text(text.replace("packages = false", "packages = true"))
    found = packages_of(str(environment))
    assert found["stand_in"].startswith("1.0 ")


def test_pyboots_own_is_not_looked_at() -> None:
    assert packages_of(None) == {}


def test_what_is_unusable_is_a_change(environment: Path) -> None:
    before = packages_of(str(environment))
    (environment / "bin" / "python").unlink()
    (environment / "bin" / "python3").unlink()
    after = packages_of(str(environment))
    assert package_changes(before, after)[0].endswith(" → unusable")


def test_nothing_has_changed(environment: Path) -> None:
    found = packages_of(str(environment))
    assert package_changes(found, dict(found)) == ()
