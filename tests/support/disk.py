"""A disk that can be full: a small tmpfs of the test's own."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

_BYTES = 4 * 1024**2


class SmallDisk:
    """A mounted tmpfs; needs root, or a user namespace in which the test is root.

    With 0 for `size` it has no bound, and says nothing of its size.
    """

    def __init__(self, folder: Path, size: int = _BYTES) -> None:
        self.folder = folder
        self._ballast = folder / "ballast"
        folder.mkdir()
        _run("mount", "-t", "tmpfs", "-o", f"size={size}", "pyboot-test", str(folder))

    def fill(self, leave: int = 0) -> None:
        """Leave no room but for `leave` bytes."""
        with self._ballast.open("wb", buffering=0) as ballast:
            try:
                while ballast.write(b"\0" * 4096):
                    pass
            except OSError:
                pass  # that is what was wanted
            if leave:
                os.ftruncate(ballast.fileno(), ballast.tell() - leave)

    def make_room(self) -> None:
        self._ballast.unlink()

    def remount(self, mode: str) -> None:
        _run("mount", "-o", f"remount,{mode}", str(self.folder))

    def close(self) -> None:
        _run("umount", "--lazy", str(self.folder))


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, timeout=20)
