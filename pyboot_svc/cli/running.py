"""Which `pyboot up` run for this user: each leaves a note of where its files and its web are."""

from __future__ import annotations

import json
import os
import stat
import tempfile
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import ClassVar

from pyboot_svc.config.settings import WebAddress, WebTls
from pyboot_svc.errors import UsageError
from pyboot_svc.files import replace_text
from pyboot_svc.services.log_files import lines_folder
from pyboot_svc.starter.base import Starter, StarterContext

_PRIVATE = 0o700


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
    run_dir: str | None = None

    @property
    def web(self) -> WebAddress:
        tls = WebTls(self.cert) if self.cert is not None else None
        return WebAddress(self.host, self.port, tls=tls, socket=self.socket)

    @property
    def log_dir(self) -> Path | None:
        """Where it keeps what its workers write; None of one of an older version."""
        return lines_folder(Path(self.run_dir)) if self.run_dir is not None else None

    def __str__(self) -> str:
        return f"pid {self.pid}, {self.config}, state in {self.state_dir}"


class NoteStarter(Starter):
    """Comes when the web is there."""

    priority: ClassVar[int] = 250

    def __init__(self) -> None:
        self._file: Path | None = None

    def start(self, context: StarterContext) -> None:
        settings, web, pid = context.settings, context.require_web(), os.getpid()
        config, state_dir = str(settings.config_file.absolute()), str(settings.state_dir)
        cert = web.tls.cert if web.tls else None
        note = RunningUp(
            *(pid, _began(pid), config, state_dir),
            *(web.host, web.port, web.socket, cert),
            run_dir=str(settings.run_dir),
        )
        with suppress(OSError):  # then nobody finds it by itself
            folder = _folder()
            folder.mkdir(mode=_PRIVATE, exist_ok=True)
            if _is_ours(folder):
                self._file = folder / f"{pid}.json"
                replace_text(self._file, json.dumps(asdict(note)))

    def stop(self, context: StarterContext) -> None:
        if self._file is not None:
            with suppress(OSError):
                self._file.unlink(missing_ok=True)
                self._file.parent.rmdir()  # the last one; else it isn't empty


def running_ups() -> list[RunningUp]:
    """Those of this user, the oldest first."""
    folder = _folder()
    found = []
    for file in sorted(folder.glob("*.json")) if _is_ours(folder) else ():
        try:
            up = RunningUp(**json.loads(file.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            continue
        if _began(up.pid) == up.began != "":
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


def _folder() -> Path:
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if runtime:
        return Path(runtime) / "pyboot-up"
    return Path(tempfile.gettempdir()) / f"pyboot-up-{os.getuid()}"


def _is_ours(folder: Path) -> bool:
    """In a folder that others may write to, one of this name may be anybody's."""
    try:
        status = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid()


def _began(pid: int) -> str:
    """When it was started, in ticks since the boot; empty for one that isn't there."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    return text.rpartition(")")[2].split()[19]
