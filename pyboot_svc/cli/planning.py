"""What `plan` and `apply` share: what the configuration wants of the host, and who manages it."""

from __future__ import annotations

import argparse

from pyboot_svc.cli.config_file import config_file
from pyboot_svc.config.compiled import render_compiled
from pyboot_svc.config.loader import load_config
from pyboot_svc.model.fingerprint import code_of
from pyboot_svc.services.detect import host_manager
from pyboot_svc.services.host import HostManager
from pyboot_svc.services.plan import Wanted
from pyboot_svc.services.secret_files import versions_of


def chosen_manager(options: argparse.Namespace) -> HostManager:
    return host_manager(options.run_dir, options.service_manager)


def wanted_instances(options: argparse.Namespace, manager: HostManager) -> list[Wanted]:
    instances = load_config(config_file(options)).instances()
    code: dict[str, dict[str, str]] = {}
    wanted = []
    for instance in instances:
        edge = instance.edge
        if edge.name not in code:  # the same for all instances of a model
            code[edge.name] = code_of(edge.edge_mode, instance.model_path, edge.options)
        secrets = versions_of(edge.credential_files)
        compiled = render_compiled(instance, code[edge.name], secrets)
        wanted.append(Wanted(instance.identity, compiled, manager.render(instance)))
    return wanted
