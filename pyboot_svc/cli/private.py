"""The folder that `pyboot up` keeps its files in when it isn't told another."""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
import tempfile
import threading
from pathlib import Path

from pyboot_svc.threads import spawn
from pyboot_svc.worker.storage.writer import DATABASE_NAME

# What clears the temporary directory goes by days.
_TOUCH_SECONDS = 3600.0

log = logging.getLogger(__name__)


class PrivateFolder:
    """A new folder in the temporary directory, which is not cleared away while this lives.

    systemd-tmpfiles leaves alone what is locked (tmpfiles.d(5)), others go by the files' times.
    """

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="pyboot-"))
        self._lock = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        fcntl.flock(self._lock, fcntl.LOCK_SH)
        self._closed = threading.Event()
        spawn("folder", self._keep)

    def close(self) -> None:
        """Remove it, unless it holds what was acknowledged and not yet published."""
        from pyboot_svc.worker.storage.database import count_kept

        self._closed.set()
        os.close(self._lock)
        kept = sum(count_kept(file) for file in self.path.glob(f"state/*/{DATABASE_NAME}"))
        if kept:
            log.warning(
                "%d results and dead letters are still in %s; start again with --state-dir %s",
                kept,
                self.path,
                self.path / "state",
            )
            return
        shutil.rmtree(self.path, ignore_errors=True)

    def _keep(self) -> None:
        while not self._closed.wait(_TOUCH_SECONDS):
            touch(self.path)


def touch(folder: Path) -> None:
    """Make all in it look as if it had just been used."""
    for place in (folder, *folder.rglob("*")):
        try:
            os.utime(place, follow_symlinks=False)
        except OSError:
            pass  # it has gone meanwhile
