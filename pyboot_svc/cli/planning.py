"""What `plan` and `apply` share: who manages the host."""

from __future__ import annotations

import argparse

from pyboot_svc.services.detect import host_manager
from pyboot_svc.services.host import HostManager


def chosen_manager(options: argparse.Namespace) -> HostManager:
    return host_manager(options.run_dir, options.service_manager)
