"""What is imported is declared, everywhere alike, and the tests also run on the oldest of it."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions, version
from itertools import chain
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
DEBIAN = {"cherrypy": "python3-cherrypy3", "pyyaml": "python3-yaml"}


def named(requirements: list[str]) -> dict[str, str]:
    """The bounds of each, by its name."""
    found = [re.fullmatch(r"([\w-]+)(.*)", requirement) for requirement in requirements]
    return {match[1].lower(): match[2] for match in found if match}


RUNTIME = named(PROJECT["dependencies"])


def imported() -> set[str]:
    """Top-level modules that the package imports, without its own and the standard library's."""
    names = set()
    for file in (ROOT / "pyboot_svc").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                names |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names.add(node.module.partition(".")[0])
    return names - sys.stdlib_module_names - {"pyboot_svc"}


def test_what_is_imported_is_declared() -> None:
    extras = named(list(chain.from_iterable(PROJECT["optional-dependencies"].values())))
    declared = {*RUNTIME, *extras}
    homes = packages_distributions()
    where = {"systemd": ["systemd-python"], "opentelemetry": ["opentelemetry-sdk"], **homes}
    undeclared = {
        name
        for name in imported()
        if not declared & {home.lower().replace("_", "-") for home in where.get(name, [name])}
    }
    assert undeclared == set()


def test_the_packages_depend_on_the_same() -> None:
    control = (ROOT / "packaging/debian/control").read_text()
    spec = (ROOT / "packaging/rpm/pyboot-svc.spec").read_text()
    for name, bounds in RUNTIME.items():
        assert re.search(rf"\b{DEBIAN.get(name, f'python3-{name}')}\b", control), name
        oldest = re.search(r">=([\d.]+)", bounds)
        assert oldest, name
        assert f"python%{{python3_pkgversion}}-{name} >= {oldest[1]}" in spec, name
    assert RUNTIME["paho-mqtt"] == ">=2.1,<3"
    assert "python3-paho-mqtt (>= 2.1),\n         python3-paho-mqtt (<< 3~)," in control
    assert "paho-mqtt < 3)" in spec


def test_the_oldest_set_has_each() -> None:
    lines = (ROOT / "tests/oldest.txt").read_text().splitlines()
    pinned = [line.partition(";")[0] for line in lines if line and not line.startswith("#")]
    assert set(named(pinned)) == set(RUNTIME)


@pytest.mark.skipif((ROOT / "build/oldest") not in map(Path, sys.path), reason="not on the oldest")
def test_on_the_oldest_set_it_is_what_runs() -> None:
    assert version("paho-mqtt") == "2.1.0"
