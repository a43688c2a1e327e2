"""The note that a `pyboot up` leaves of where its files and its web are."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import ClassVar

from pyboot_svc.cli.running import RunningUp, began_at, is_ours, notes_folder
from pyboot_svc.files import replace_text
from pyboot_svc.starter.base import Starter, StarterContext

_PRIVATE = 0o700


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
            *(pid, began_at(pid), config, state_dir),
            *(web.host, web.port, web.socket, cert),
            run_dir=str(settings.run_dir),
        )
        with suppress(OSError):  # then nobody finds it by itself
            folder = notes_folder()
            folder.mkdir(mode=_PRIVATE, exist_ok=True)
            if is_ours(folder):
                self._file = folder / f"{pid}.json"
                replace_text(self._file, json.dumps(asdict(note)))

    def stop(self, context: StarterContext) -> None:
        if self._file is not None:
            with suppress(OSError):
                self._file.unlink(missing_ok=True)
                self._file.parent.rmdir()  # the last one; else it isn't empty
