"""What this user may not touch, even where that is root."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from pkgutil import walk_packages
from tempfile import TemporaryDirectory

import pytest

import pyboot_svc

_NOBODY = 65_534


@contextmanager
def not_root() -> Iterator[None]:
    """Root is somebody else meanwhile, who can't even look into a checkout in a private folder."""
    if os.geteuid() != 0:
        yield
        return
    _import_all()
    os.seteuid(_NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)
        # Where nothing could be seen meanwhile, Python would never look again.
        importlib.invalidate_caches()


@cache
def _import_all() -> None:
    for module in walk_packages(pyboot_svc.__path__, "pyboot_svc."):
        with suppress(ImportError):  # of libraries that are not here
            importlib.import_module(module.name)


@contextmanager
def locked(path: Path, mode: int = 0) -> Iterator[None]:
    """`path` has this mode meanwhile, and root is somebody else."""
    before = path.stat().st_mode
    path.chmod(mode)
    try:
        with not_root():
            yield
    finally:
        path.chmod(before)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """An empty one that everybody may look into: pytest's own are for their owner alone."""
    with TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)
