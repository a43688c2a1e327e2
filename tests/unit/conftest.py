from __future__ import annotations

from hypothesis import settings
from support.locked import open_folder

__all__ = ["open_folder"]

# How long an example takes says nothing: the machine may be busy.
settings.register_profile("busy", deadline=None)
settings.load_profile("busy")
