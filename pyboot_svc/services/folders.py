"""The folders below /run/pyboot: root's, but for one of each who writes there.

They are made before anybody else runs: by this, by tmpfiles.d, and under OpenRC by its scripts.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from pyboot_svc.errors import UnavailableError
from pyboot_svc.metrics.tokens import TOKENS

LOCKS = "locks"
_PUBLIC, _PRIVATE = 0o755, 0o700
FOLDERS: Mapping[str, int] = MappingProxyType(
    {"instances": _PUBLIC, "workers": _PUBLIC, LOCKS: _PRIVATE, TOKENS: _PRIVATE}
)
OPENRC_FOLDERS: Mapping[str, int] = MappingProxyType(
    {"openrc": _PUBLIC, "failed": _PUBLIC, "credentials": 0o711, "sessions": _PRIVATE}
)


def as_they_are() -> None:
    """Of folders that are looked after by whoever has named them: what they are is not asked."""


def make_folders(run_dir: Path, folders: Mapping[str, int] = FOLDERS) -> None:
    """Make these folders, by name and mode, and `run_dir` itself, this user's, which is root.

    What somebody else has put in the place of one is removed. Raises UnavailableError when
    `run_dir` itself is somebody else's.
    """
    try:
        run_dir.mkdir(mode=_PUBLIC, parents=True, exist_ok=True)
        if run_dir.stat().st_uid != os.geteuid():
            raise UnavailableError(f"{run_dir} belongs to another user: choose another --run-dir")
        run_dir.chmod(_PUBLIC)
        for name, mode in folders.items():
            _make(run_dir / name, mode)
    except OSError as error:
        raise UnavailableError(f"{error.filename} can't be made: {error.strerror}") from error


def _make(folder: Path, mode: int) -> None:
    try:
        status = folder.lstat()
    except FileNotFoundError:
        folder.mkdir()
    else:
        if not stat.S_ISDIR(status.st_mode):
            folder.unlink()
            folder.mkdir()
        elif status.st_uid != os.geteuid():
            shutil.rmtree(folder)  # which follows no link
            folder.mkdir()
    folder.chmod(mode)
