"""What the configuration's file says now, beside what was applied of it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pyboot_svc.config import Config, InstanceConfig
from pyboot_svc.config.compiled import render_compiled
from pyboot_svc.errors import ConfigError
from pyboot_svc.identity import InstanceId
from pyboot_svc.services.plan import changed_keys
from pyboot_svc.text import printable

APPLIED, CHANGED, REMOVED, UNREADABLE = "applied", "changed", "removed", "unreadable"
_LONGEST_ERROR = 400


@dataclass(frozen=True)
class FileState:
    """Of one model: `keys` are those whose values the file has otherwise, `error` is why nobody can
    know."""

    state: str
    keys: list[str]
    error: str | None = None

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


class ConfigFile:
    """The file, read by `load` once it has changed; from any thread."""

    def __init__(self, path: Path, load: Callable[[], Config]) -> None:
        self._path = path
        self._load = load
        self._lock = threading.Lock()
        self._version: tuple[int, int, int] | None = None
        self._read: Config | str = ""

    def state_of(self, model: str, applied: Config) -> FileState:
        """`applied` is what the instances were made of."""
        found = self._current()
        if isinstance(found, str):
            return FileState(UNREADABLE, [], found)
        before, after = _first(applied, model), _first(found, model)
        if before is None or after is None:
            return FileState(REMOVED if before else APPLIED, [])
        keys = list(changed_keys(render_compiled(before), render_compiled(after)))
        return FileState(CHANGED if keys else APPLIED, keys)

    def _current(self) -> Config | str:
        """What it says, or why that can't be known."""
        with self._lock:
            try:
                about = self._path.stat()
                version = (about.st_mtime_ns, about.st_size, about.st_ino)
                if version != self._version:
                    self._read = self._load()
                    self._version = version
            except ConfigError as error:
                self._version = version
                self._read = printable(str(error.problems[0]), _LONGEST_ERROR)
            except OSError as error:
                self._version, self._read = None, f"{self._path}: {error.strerror}"
            return self._read


def _first(config: Config, model: str) -> InstanceConfig | None:
    """Its first instance; those of a model have all but the number in common."""
    edge = next((edge for edge in config.edges if edge.name == model), None)
    return InstanceConfig(InstanceId(model, 1), edge, config.model_path) if edge else None
