"""Fixtures of the suites that boot a Debian: their conftest.py import them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from machine import Machine
from rig import OPENRC_PACKAGES, PACKAGES, base_image, default_cache_dir

ROOT = Path(__file__).parents[2]


def give_time(items: list[pytest.Item], folder: Path) -> None:
    """What the first test of a file needs may have to be made first: a root, a package."""
    here = [item for item in items if folder in item.path.parents]
    first_of_file = {item.path: item for item in reversed(here)}
    for item in here:
        item.add_marker(pytest.mark.timeout(1200 if first_of_file[item.path] is item else 300))


@pytest.fixture(scope="session")
def init() -> str:
    """The init system of the hosts: systemd, or what PYBOOT_INIT names."""
    return os.environ.get("PYBOOT_INIT", "systemd")


@pytest.fixture(autouse=True)
def only_where_it_belongs(request: pytest.FixtureRequest, init: str) -> None:
    other = {"systemd": "openrc", "openrc": "systemd"}[init]
    if request.node.get_closest_marker(other):
        pytest.skip(f"of {other} alone")


@pytest.fixture(scope="session")
def image(init: str) -> Path:
    """Debian 13, with what the package depends on, and a broker."""
    packages = {"systemd": PACKAGES, "openrc": OPENRC_PACKAGES}[init]
    return base_image(packages, default_cache_dir())


@pytest.fixture(scope="session")
def package() -> Path:
    """The .deb that `make test-system` has just built."""
    found = sorted(Path(os.environ.get("PYBOOT_DIST", ROOT / "dist")).glob("pyboot-svc_*.deb"))
    assert found, "there is no package in dist/: run `make deb`"
    return found[-1]


@pytest.fixture(scope="module")
def machine(image: Path, package: Path, init: str) -> Iterator[Machine]:
    """A booted Debian with the package installed by apt, one for all tests of a file."""
    with Machine(image, init=init) as booted:
        booted.install(package)
        yield booted


@pytest.fixture
def configure(machine: Machine) -> Iterator[Callable[..., None]]:
    """Replaces the configuration and the models, and applies them by a reload; restored after."""
    before = machine.read("/etc/pyboot/config.yaml")

    def change(config: str, models: str = "", *, reload: bool = True) -> None:
        machine.write("/etc/pyboot/models/test_models.py", models)
        machine.write("/etc/pyboot/config.yaml", config)
        if reload:
            machine.reload()

    yield change
    machine.write("/etc/pyboot/config.yaml", before)
    machine.reload(check=False)
