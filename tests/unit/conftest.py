from __future__ import annotations

from hypothesis import settings

# How long an example takes says nothing: the machine may be busy.
settings.register_profile("busy", deadline=None)
settings.load_profile("busy")
