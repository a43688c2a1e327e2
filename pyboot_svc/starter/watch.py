"""`pyboot up --reload`: notices when the configuration or a file of a model is saved."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from typing import ClassVar

from pyboot_svc.config import Config
from pyboot_svc.model.fingerprint import code_of, files_of, fingerprint
from pyboot_svc.starter.base import Starter, StarterContext
from pyboot_svc.threads import spawn

_POLL_SECONDS = 0.25
# Where the fingerprint of the configuration stands among those of models.
_CONFIG = ""

Stamps = dict[Path, tuple[int, int, int]]


class WatchStarter(Starter):
    """Asks for a reload when contents differ, and have been the same for two looks.

    Editors save in several steps, and many by a rename. Times alone say nothing: folders are among
    what is looked at, since a package may get new files, and Python keeps its cache in them.
    """

    priority: ClassVar[int] = 350

    def __init__(self) -> None:
        self._stopping = threading.Event()

    def init(self, context: StarterContext) -> None:
        # Before anything is made of them: what is saved from now on is a change.
        self._known = {_CONFIG: "", **_contents(context)}

    def start(self, context: StarterContext) -> None:
        spawn("watch", lambda: self._run(context), context.crashed)

    def stop(self, context: StarterContext) -> None:
        self._stopping.set()

    def _run(self, context: StarterContext) -> None:
        config: Config | None = None
        paths: set[Path] = set()
        seen: Stamps = {}
        being_saved: dict[str, str] | None = None
        while not self._stopping.wait(_POLL_SECONDS):
            if config is context.config and seen == _stamps(paths) and being_saved is None:
                continue
            config = context.require_config()
            paths = set(_watched(context.settings.config_file, config))
            seen = _stamps(paths)
            # A configuration that isn't there is about to be replaced.
            contents = {_CONFIG: self._known[_CONFIG], **_contents(context)}
            if contents == self._known:
                being_saved = None
            elif contents != being_saved:
                being_saved = contents
            else:
                self._known, being_saved = contents, None
                context.reload()


def _contents(context: StarterContext) -> dict[str, str]:
    """The fingerprints of the configuration, if it is there, and of each model."""
    config, found = context.require_config(), {}
    with suppress(OSError):
        found[_CONFIG] = blake2b(context.settings.config_file.read_bytes()).hexdigest()
    for edge in config.edges:
        code = code_of(edge.edge_mode, config.model_path, edge.options)
        found[edge.name] = fingerprint(code)
    return found


def _stamps(paths: Iterable[Path]) -> Stamps:
    found = {}
    for path in paths:
        with suppress(OSError):
            status = path.stat()
            found[path] = (status.st_mtime_ns, status.st_size, status.st_ino)
    return found


def _watched(config_file: Path, config: Config) -> Iterator[Path]:
    yield config_file
    yield from map(Path, config.model_path)
    for edge in config.edges:
        for file in files_of(edge.edge_mode, config.model_path, edge.options).values():
            yield file
            yield file.parent
