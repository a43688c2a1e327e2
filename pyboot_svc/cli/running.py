"""Which `pyboot up` run for this user, and which master: each leaves a note of where its web is."""

from __future__ import annotations

import json
import os
import stat
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pyboot_svc.errors import UsageError
from pyboot_svc.files import read_regular
from pyboot_svc.identity import MASTER

if TYPE_CHECKING:
    # Not loaded with it: `health` looks for them, too, and has to be cheap.
    from pyboot_svc.config.settings import WebAddress

_MOST_BYTES = 64 * 1024


@dataclass(frozen=True, kw_only=True)
class Running:
    """A process with a web; `began` tells it from another one that has got its number since."""

    pid: int
    began: str
    config: str
    host: str
    port: int
    socket: str | None = None
    cert: str | None = None

    @property
    def web(self) -> WebAddress:
        from pyboot_svc.config.settings import WebAddress, WebTls

        tls = WebTls(self.cert) if self.cert is not None else None
        return WebAddress(self.host, self.port, tls=tls, socket=self.socket)

    @property
    def has_ended(self) -> bool:
        return not self.began or began_at(self.pid) != self.began


@dataclass(frozen=True, kw_only=True)
class RunningUp(Running):
    state_dir: str
    run_dir: str | None = None  # which older versions don't say

    def __str__(self) -> str:
        return f"pid {self.pid}, {self.config}, state in {self.state_dir}"


def running_ups() -> list[RunningUp]:
    """Those of this user, the oldest first."""
    folder = notes_folder()
    found = []
    for file in sorted(folder.glob("*.json")) if is_ours(folder) else ():
        try:
            up = RunningUp(**json.loads(file.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            continue
        if up.has_ended:
            with suppress(OSError):  # it was killed
                file.unlink()
        else:
            found.append(up)
    return sorted(found, key=lambda up: int(up.began))


def one_of(ups: list[RunningUp], config: Path | None, option: str) -> RunningUp | None:
    """The one that works with `config`, or the only one; raises UsageError where it may be any."""
    if config is not None:
        named = str(config.absolute())
        return next((up for up in reversed(ups) if up.config == named), None)
    if len(ups) > 1:
        which = "\n".join(f"  {up}" for up in ups)
        raise UsageError(f"several `pyboot up` are running; say which by {option}:\n{which}")
    return ups[0] if ups else None


def running_master(run_dir: Path) -> Running | None:
    """The master whose run folder that is, if it runs and has left a note there."""
    try:
        master = Running(**json.loads(read_regular(master_note(run_dir), _MOST_BYTES)))
        well = isinstance(master.host, str) and isinstance(master.port, int)
        # Root may read what the master's user has written: nothing that never ends.
        well = well and (master.cert is None or Path(master.cert).is_file())
    except (OSError, ValueError, TypeError):
        return None
    return master if well and not master.has_ended else None


def master_note(run_dir: Path) -> Path:
    """In the one folder that is the master's own where `run_dir` is root's."""
    return run_dir / MASTER / "web.json"


def notes_folder() -> Path:
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if runtime:
        return Path(runtime) / "pyboot-up"
    import tempfile

    return Path(tempfile.gettempdir()) / f"pyboot-up-{os.getuid()}"


def is_ours(folder: Path) -> bool:
    """In a folder that others may write to, one of this name may be anybody's."""
    try:
        status = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid()


def began_at(pid: int) -> str:
    """When it was started, in ticks since the boot; empty for one that isn't there."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    return text.rpartition(")")[2].split()[19]
