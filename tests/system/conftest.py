from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from machine import Machine
from rig import PACKAGES, base_image, default_cache_dir

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def image() -> Path:
    """Debian 13, with what the package depends on, and a broker."""
    return base_image(PACKAGES, default_cache_dir())


@pytest.fixture(scope="session")
def package() -> Path:
    """The .deb that `make test-system` has just built."""
    found = sorted(Path(os.environ.get("PYBOOT_DIST", ROOT / "dist")).glob("pyboot-svc_*.deb"))
    assert found, "there is no package in dist/: run `make deb`"
    return found[-1]


@pytest.fixture(scope="module")
def machine(image: Path, package: Path) -> Iterator[Machine]:
    """A booted Debian with the package installed by apt, one for all tests of a file."""
    with Machine(image) as booted:
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
            machine.run("systemctl", "reload", "pyboot")

    yield change
    machine.write("/etc/pyboot/config.yaml", before)
    machine.run("systemctl", "reload-or-restart", "pyboot", check=False)
