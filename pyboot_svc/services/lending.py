"""The folder that is lent to a child without rights: copies of credentials, and room to work."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from pyboot_svc.credentials import read_credential

CREDENTIALS, SCRATCH = "credentials", "scratch"


@dataclass(frozen=True)
class Places:
    """Where a child works: a way to the state, and an empty folder that goes with the child."""

    state: Path
    scratch: Path


def read_credentials(files: Mapping[str, str]) -> dict[str, bytes]:
    """What can't be read the model will miss itself."""
    found = {}
    for name, file in files.items():
        with suppress(OSError):
            found[name] = read_credential(file)
    return found


@contextmanager
def lent_folder(credentials: Mapping[str, bytes], owner: tuple[int, int] | None) -> Iterator[Path]:
    """A folder of the owner's, a user and a group, as long as this runs: with copies of credentials
    and room to work."""
    # No TemporaryDirectory: a child would clear it up, too, at its own end.
    folder = Path(tempfile.mkdtemp(prefix="pyboot-lent-"))
    try:
        (folder / SCRATCH).mkdir(mode=0o700)
        if credentials:
            _copy_credentials(credentials, folder / CREDENTIALS)
        if owner is not None:
            for place in (*folder.rglob("*"), folder):
                os.chown(place, *owner)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _copy_credentials(credentials: Mapping[str, bytes], folder: Path) -> None:
    folder.mkdir(mode=0o700)
    for name, content in credentials.items():
        with suppress(OSError):
            copy = folder / name
            copy.touch(mode=0o400)
            copy.write_bytes(content)
