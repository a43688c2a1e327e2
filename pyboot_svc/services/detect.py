"""Which service manager runs this host."""

from __future__ import annotations

from pathlib import Path

from pyboot_svc.errors import UnavailableError
from pyboot_svc.services import openrc, systemd
from pyboot_svc.services.host import HostManager


def host_manager(run_dir: Path, name: str | None) -> HostManager:
    """The one of that name, or the one that runs here; raises UnavailableError without any."""
    if name == "systemd" or (name is None and systemd.RUNNING.is_dir()):
        return systemd.SystemdManager(run_dir)
    if name == "openrc" or (name is None and openrc.RUNNING.exists()):
        return openrc.OpenrcManager(run_dir)
    raise UnavailableError(
        "neither systemd nor OpenRC runs here; `pyboot up` needs no service manager"
    )
