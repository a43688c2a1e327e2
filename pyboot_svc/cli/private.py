"""The folder that `pyboot up` keeps its files in when it isn't told another."""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
import tempfile
import threading
from contextlib import suppress
from pathlib import Path

from pyboot_svc.errors import UnavailableError, in_words
from pyboot_svc.threads import spawn
from pyboot_svc.worker.storage.writer import DATABASE_NAME

# What clears the temporary directory goes by days.
_TOUCH_SECONDS = 3600.0
_MODE = 0o700

log = logging.getLogger(__name__)


class PrivateFolder:
    """A new folder in the temporary directory, which is not cleared away while this lives.

    systemd-tmpfiles leaves alone what is locked (tmpfiles.d(5)), others go by the files' times.
    Whatever clears it away all the same makes room for a folder of its name that is anybody's.
    """

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="pyboot-"))
        self._turn = threading.Lock()
        self._descriptor: int | None = None
        self.hold()
        self._closed = threading.Event()
        spawn("folder", self._keep)

    def hold(self) -> None:
        """Make it anew where it was cleared away; call this before it is used.

        Raises UnavailableError where that can't be, or somebody else has put something in its
        place.
        """
        with self._turn:
            if not self._is_held():
                self._take()

    def close(self) -> None:
        """Remove it, unless it holds what was acknowledged and not yet published."""
        from pyboot_svc.worker.storage.database import count_kept

        self._closed.set()
        with self._turn:
            ours = self._is_held()
            self._release()
        if not ours:
            return  # it has been cleared away, and may be anybody's
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

    def _is_held(self) -> bool:
        """Whether what has its name is what we have made."""
        if self._descriptor is None:
            return False
        try:
            return os.path.samestat(self.path.lstat(), os.fstat(self._descriptor))
        except OSError:
            return False

    def _take(self) -> None:
        self._release()
        try:
            with suppress(FileExistsError):
                self.path.mkdir(mode=_MODE)
            self._descriptor = _open_own(self.path)
        except OSError as error:
            raise UnavailableError(f"{self.path} can't be made: {in_words(error)}") from error
        # A worker that makes its sockets there may have been before us, by its umask.
        os.fchmod(self._descriptor, _MODE)
        with suppress(BlockingIOError):  # somebody else holds it, and keeps it from being cleared
            fcntl.flock(self._descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)

    def _release(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _keep(self) -> None:
        while not self._closed.wait(_TOUCH_SECONDS):
            with suppress(UnavailableError):  # whoever wants to use it says so
                self.hold()
                touch(self.path)


def _open_own(folder: Path) -> int:
    """Raises UnavailableError for what isn't a folder of this user's own, as for a link to one,
    and OSError."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except (PermissionError, NotADirectoryError):
        raise _not_ours(folder) from None
    if os.fstat(descriptor).st_uid != os.geteuid():
        os.close(descriptor)
        raise _not_ours(folder)
    return descriptor


def _not_ours(folder: Path) -> UnavailableError:
    return UnavailableError(
        f"{folder} was removed, and somebody else has put something of that name in its place: "
        "nothing is read from it or written to it; start `pyboot up` again, which makes another "
        "folder, or name some of your own with --run-dir and --state-dir"
    )


def touch(folder: Path) -> None:
    """Make all in it look as if it had just been used."""
    for place in (folder, *folder.rglob("*")):
        try:
            os.utime(place, follow_symlinks=False)
        except OSError:
            pass  # it has gone meanwhile
