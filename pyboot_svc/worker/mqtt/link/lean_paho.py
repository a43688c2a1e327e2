"""paho's client, without what it takes along for what most connections don't use.

It imports urllib.request to look for a proxy when it opens a socket, which is our own part; that
brings http and email. ssl and hashlib bring OpenSSL. Together they are 7 MB in each worker; what a
connection does use is loaded when paho first asks for it.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any


class _Later(ModuleType):
    """Stands for a module that is loaded at the first use of it."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if name.endswith("Error") and self.__name__ not in sys.modules:
            return ()  # for an `except`: nobody can have raised it
        return getattr(importlib.import_module(self.__name__), name)


@contextmanager
def _put_off(*names: str) -> Iterator[None]:
    absent = [name for name in names if name not in sys.modules]
    sys.modules.update({name: _Later(name) for name in absent})
    try:
        yield
    finally:
        # Whoever imports them from here on gets the real ones.
        for name in absent:
            del sys.modules[name]


with _put_off("urllib.request", "ssl", "hashlib"):
    import paho.mqtt.client as client

__all__ = ["client"]
