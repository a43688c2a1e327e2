from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.disk import SmallDisk


@pytest.fixture
def busy_switching() -> Iterator[None]:
    """Threads take turns as often as they can: races show."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[SmallDisk]:
    if os.geteuid():
        pytest.skip("a disk is mounted by root alone")
    disk = SmallDisk(tmp_path / "disk")
    yield disk
    disk.close()
