"""Python environments for tests: real ones, with libraries that were put there as files."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def make_environment(folder: Path, executable: str = sys.executable) -> Path:
    """A virtual environment without anything in it."""
    subprocess.run(
        [executable, "-m", "venv", "--without-pip", str(folder)],
        check=True,
        capture_output=True,
        timeout=60,
    )
    return folder


def packages_folder(environment: Path) -> Path:
    (found,) = environment.glob("lib/python3.*/site-packages")
    return found


def add_package(folder: Path, name: str, version: str, code: str = "") -> None:
    """A package of one module, as pip leaves it."""
    place = folder.joinpath(*name.split("."))
    place.mkdir(parents=True, exist_ok=True)
    for parent in (place, *place.parents):
        if parent == folder:
            break
        (parent / "__init__.py").touch()
    (place / "__init__.py").write_text(f"__version__ = {version!r}\n{code}")
    info = folder / f"{name.replace('.', '_')}-{version}.dist-info"
    info.mkdir(exist_ok=True)
    (info / "RECORD").write_text(f"{name}/__init__.py,,{len(code)}\n")
