"""What the host's service manager knows of the instances that were applied."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pyboot_svc.errors import UnavailableError
from pyboot_svc.identity import InstanceId
from pyboot_svc.services.detect import host_manager
from pyboot_svc.services.host import UnitState

RUN_DIR = Path("/run/pyboot")


def applied_states(run_dir: Path = RUN_DIR) -> Mapping[InstanceId, UnitState]:
    """Their states; empty where there is no service manager, or it doesn't answer."""
    try:
        manager = host_manager(run_dir, None)
        return manager.states(sorted(manager.applied()))
    except UnavailableError:
        return {}
