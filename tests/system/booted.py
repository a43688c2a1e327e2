"""Fixtures of the suites that boot a Debian: their conftest.py import them."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from machine import Machine
from rig import OPENRC_PACKAGES, PACKAGES, base_image, default_cache_dir

ROOT = Path(__file__).parents[2]
# What was written before it was kept is no test's.
_LOGS = ("var/log/journal", "var/log/edge-model")


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


def _installed(image: Path, package: Path, init: str, folder: Path) -> Path:
    """The layer in `folder` that the package's installation by apt makes, at the first call."""
    layer = folder / "installation"
    with (folder / "installation.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not layer.exists():
            with Machine(image, init=init) as booted:
                booted.install(package)
                booted.keep(layer, _LOGS)
    return layer


@pytest.fixture(scope="module")
def machine(
    image: Path, package: Path, init: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Machine]:
    """A booted Debian with the package installed by apt, one for all tests of a file."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent  # that of all processes of a run
    layer = _installed(image, package, init, folder)
    with Machine(image, init=init, layer=layer) as booted:
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
