"""The notes that `up` and the master leave of where their web is, for those who look for it."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar

from pyboot_svc.cli.running import (
    Running,
    RunningUp,
    began_at,
    is_ours,
    master_note,
    notes_folder,
)
from pyboot_svc.files import replace_text
from pyboot_svc.starter.base import Starter, StarterContext

_PRIVATE = 0o700
# Of the master's: whoever may ask its web may know where it is.
_PUBLIC = 0o644


class UpNoteStarter(Starter):
    """Comes when the web is there."""

    priority: ClassVar[int] = 250

    def __init__(self) -> None:
        self._file: Path | None = None

    def start(self, context: StarterContext) -> None:
        state_dir, run_dir = str(context.settings.state_dir), str(context.settings.run_dir)
        note = RunningUp(**_this_process(context), state_dir=state_dir, run_dir=run_dir)
        with suppress(OSError):  # then nobody finds it by itself
            folder = notes_folder()
            folder.mkdir(mode=_PRIVATE, exist_ok=True)
            if is_ours(folder):
                self._file = folder / f"{note.pid}.json"
                replace_text(self._file, json.dumps(asdict(note)))

    def stop(self, context: StarterContext) -> None:
        if self._file is not None:
            with suppress(OSError):
                self._file.unlink(missing_ok=True)
                self._file.parent.rmdir()  # the last one; else it isn't empty


class MasterNoteStarter(Starter):
    """Comes when the web is there; one that dies leaves it, which says whose it is."""

    priority: ClassVar[int] = 250

    def __init__(self) -> None:
        self._written = False

    def start(self, context: StarterContext) -> None:
        file = master_note(context.settings.run_dir)
        with suppress(OSError):  # then it is found by its configuration alone
            file.parent.mkdir(parents=True, exist_ok=True)
            text = json.dumps(asdict(Running(**_this_process(context))))
            replace_text(file, text, mode=_PUBLIC)
            self._written = True

    def stop(self, context: StarterContext) -> None:
        if self._written:
            with suppress(OSError):
                master_note(context.settings.run_dir).unlink(missing_ok=True)


def _this_process(context: StarterContext) -> dict[str, Any]:
    web, pid = context.require_web(), os.getpid()
    return {
        "pid": pid,
        "began": began_at(pid),
        "config": str(context.settings.config_file.absolute()),
        "host": web.host,
        "port": web.port,
        "socket": web.socket,
        "cert": web.tls.cert if web.tls else None,
    }
