"""Tests of the container image."""

from __future__ import annotations

from pathlib import Path

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What the first test needs may have to be made first: a root file system, a package."""
    here = [item for item in items if Path(__file__).parent in item.path.parents]
    for number, item in enumerate(here):
        item.add_marker(pytest.mark.timeout(1200 if number == 0 else 300))
