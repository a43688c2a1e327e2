from __future__ import annotations

from pathlib import Path

import pytest
from booted import configure, give_time, image, init, machine, only_where_it_belongs, package

__all__ = ["configure", "image", "init", "machine", "only_where_it_belongs", "package"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    give_time(items, Path(__file__).parent)
