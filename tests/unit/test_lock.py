"""What the Makefile installs has versions and hashes, and is what pyproject.toml asks for."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
LOCKS = ("build", "oldest", "run", "test", "tools")
PYTHONS = ("3.11", "3.12", "3.13")


def entries(name: str) -> list[str]:
    """Each requirement of a lock file with its options, on one line."""
    text = (ROOT / "requirements" / f"{name}.txt").read_text().replace("\\\n", " ")
    return [line for line in text.splitlines() if line and not line.lstrip().startswith("#")]


def locked(name: str, python: str) -> dict[str, str]:
    """The version of each library on that Python, under Linux."""
    environment = {"python_version": python, "python_full_version": f"{python}.1"}
    environment |= {"sys_platform": "linux", "platform_python_implementation": "CPython"}
    found: dict[str, str] = {}
    for entry in entries(name):
        requirement = Requirement(entry.partition(" --hash")[0])
        if requirement.marker is None or requirement.marker.evaluate(environment):
            [pin] = requirement.specifier
            assert pin.operator == "=="
            assert canonicalize_name(requirement.name) not in found
            found[canonicalize_name(requirement.name)] = pin.version
    return found


def asked_for() -> list[Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    lines = [*project["build-system"]["requires"], *project["project"]["dependencies"]]
    lines += project["project"]["optional-dependencies"]["test"]
    return [Requirement(line) for line in lines]


@pytest.mark.parametrize("name", LOCKS)
def test_each_library_has_hashes_and_no_address(name: str) -> None:
    for entry in entries(name):
        assert re.search(r" --hash=sha256:[0-9a-f]{64}\b", entry), entry
    assert not re.search(r"://|--(?:extra-)?index|--find-links", "\n".join(entries(name)))


@pytest.mark.parametrize("python", PYTHONS)
def test_the_lock_gives_what_pyproject_asks_for(python: str) -> None:
    have = locked("test", python)
    for requirement in asked_for():
        version = have.get(canonicalize_name(requirement.name), "nothing")
        assert version != "nothing", f"{requirement.name} is not locked: make lock"
        assert requirement.specifier.contains(version), f"{requirement}, not {version}: make lock"


@pytest.mark.parametrize("python", PYTHONS)
def test_all_environments_have_the_same_versions(python: str) -> None:
    assert locked("build", python).items() <= locked("run", python).items()
    assert locked("run", python).items() <= locked("test", python).items()


def test_the_oldest_dependencies_are_locked_as_they_are_listed() -> None:
    lines = (ROOT / "tests/oldest.txt").read_text().splitlines()
    listed = {
        str(Requirement(line).specifier).removeprefix("==")
        + canonicalize_name(Requirement(line).name)
        for line in lines
        if not line.startswith("#")
    }
    found = {
        version + name for python in PYTHONS for name, version in locked("oldest", python).items()
    }
    assert found == listed


def test_npms_packages_have_hashes_and_no_address() -> None:
    lock = json.loads((ROOT / "tests" / "brokers" / "package-lock.json").read_text())
    asked = json.loads((ROOT / "tests" / "brokers" / "package.json").read_text())
    root = lock["packages"].pop("")
    assert root["dependencies"] == asked["dependencies"]
    assert lock["packages"]
    for name, package in lock["packages"].items():
        assert package["integrity"].startswith("sha512-"), name
        assert "resolved" not in package, name


def test_nothing_is_installed_without_hashes() -> None:
    makefile = (ROOT / "Makefile").read_text()
    assert re.search(r"^PIP_LOCKED := .* --require-hashes ", makefile, re.MULTILINE)
    installing = re.findall(r"^\t\$\(PIP_INSTALL\) (.*)", makefile, re.MULTILINE)
    alone = "--no-deps --no-build-isolation --config-settings editable_mode=compat --editable ."
    assert installing == [alone]
