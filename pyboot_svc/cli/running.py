"""Which `pyboot up` run for this user: each leaves a note of where its files and its web are."""

from __future__ import annotations

import json
import os
import stat
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pyboot_svc.errors import UsageError

if TYPE_CHECKING:
    # Not loaded with it: `health` looks for them, too, and has to be cheap.
    from pyboot_svc.config.settings import WebAddress


@dataclass(frozen=True)
class RunningUp:
    """`began` tells it from another process that has got its number since."""

    pid: int
    began: str
    config: str
    state_dir: str
    host: str
    port: int
    socket: str | None = None
    cert: str | None = None
    run_dir: str | None = None  # which older versions don't say

    @property
    def web(self) -> WebAddress:
        from pyboot_svc.config.settings import WebAddress, WebTls

        tls = WebTls(self.cert) if self.cert is not None else None
        return WebAddress(self.host, self.port, tls=tls, socket=self.socket)

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
        if began_at(up.pid) == up.began != "":
            found.append(up)
        else:
            with suppress(OSError):  # it was killed
                file.unlink()
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
