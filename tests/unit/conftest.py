from __future__ import annotations

from hypothesis import HealthCheck, settings
from support.locked import open_folder

__all__ = ["open_folder"]

# How long an example takes, to be made or to be tried, says nothing: the machine may be busy.
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")
