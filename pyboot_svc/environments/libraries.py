"""pyboot's own libraries in the interpreter of a model's environment.

They come first for pyboot, and the environment's for the model. The folders that hold pyboot's may
hold anything besides, made for another version of Python: of them nothing else is found.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Mapping, Sequence
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

_PURE = ("paho", "sdnotify", "yaml")
# Made for one version of Python; pyboot does without them.
_COMPILED = ("setproctitle", "systemd")


class OwnLibraries:
    """A finder of `sys.meta_path`: finds them in their `folders`, by name, until they are released.

    `python` is what the configuration calls the environment.
    """

    def __init__(self, python: str, folders: Mapping[str, str]) -> None:
        self.python = python
        self._folders = dict(folders)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        folder = self._folders.get(fullname)
        return None if folder is None else PathFinder.find_spec(fullname, [folder], target)

    def release(self) -> None:
        """From now on an import gets the environment's; what pyboot has imported, it keeps."""
        for name in list(sys.modules):
            if name.partition(".")[0] in self._folders:
                del sys.modules[name]
        self._folders.clear()


def entered() -> str | None:
    """The environment that this process has entered; None in pyboot's own."""
    own = _lent()
    return None if own is None else own.python


def release_own_libraries() -> None:
    """Before a model is imported, and after all that pyboot needs."""
    own = _lent()
    if own is not None:
        own.release()


def own_folders(version: tuple[int, int]) -> dict[str, str]:
    """Where the libraries are that an interpreter of that version can use, by name."""
    names = _PURE + (_COMPILED if version == sys.version_info[:2] else ())
    found = {}
    for name in names:
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.origin is not None:
            place = Path(spec.origin)
            folder = place.parents[1] if spec.submodule_search_locations else place.parent
            found[name] = str(folder)
    return found


def _lent() -> OwnLibraries | None:
    return next((finder for finder in sys.meta_path if isinstance(finder, OwnLibraries)), None)
