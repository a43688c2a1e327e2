"""The same source as a later version, for the tests of upgrades."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

NEWER = "99.0.0"

_ROOT = Path(__file__).parents[2]
_IGNORED = (".git", ".venv", "dist", "build", "__pycache__", ".*_cache")
_VERSIONS = {
    "pyboot_svc/__init__.py": r'(?<=__version__ = ").*(?=")',
    "packaging/debian/changelog": r"(?<=\().*?(?=\))",
    "packaging/rpm/pyboot-svc.spec": r"(?<=\nVersion: {8}).*",
}


def newer_source(folder: Path) -> Path:
    """A copy of the tree below `folder`, which says everywhere that it is version NEWER."""
    source = folder / "source"
    shutil.copytree(_ROOT, source, ignore=shutil.ignore_patterns(*_IGNORED))
    for name, pattern in _VERSIONS.items():
        file = source / name
        text, found = re.subn(pattern, NEWER, file.read_text(), count=1)
        assert found, f"{name} names no version"
        file.write_text(text)
    return source
