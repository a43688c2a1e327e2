"""The same source as a later version, for the tests of upgrades."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from pathlib import Path

import release

NEWER = "99.0.0"

_ROOT = Path(__file__).parents[2]
_IGNORED = (".git", ".venv", "dist", "build", "__pycache__", ".*_cache")


def newer_source(folder: Path) -> Path:
    """A copy of the tree below `folder`, which says everywhere that it is version NEWER."""
    source = folder / "source"
    shutil.copytree(_ROOT, source, ignore=shutil.ignore_patterns(*_IGNORED))
    release.write(source, NEWER, datetime.now(UTC))
    return source
