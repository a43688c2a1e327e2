"""What pyboot adds to OpenRC's script for one instance: settings, as lines of sh.

Rendering is pure; everything that comes from the configuration is quoted. `edge-model-run` and the
init script read them as root.
"""

from __future__ import annotations

from collections.abc import Iterator
from shlex import quote

from pyboot_svc.config import Edge, Limits
from pyboot_svc.health.client import worker_folder
from pyboot_svc.identity import InstanceId
from pyboot_svc.services.users import user_of

_CPU_PERIOD_MICROS = 100_000


def render_settings(identity: InstanceId, edge: Edge) -> str:
    """The settings of one instance.

    The variables of its environment become arguments of env(1).
    """
    limits, variables = edge.limits, edge.variables
    lines = [
        f"# Written by `pyboot apply`; your own belong in /etc/conf.d/edge-model.{identity}.",
        f"em_user={user_of(identity)}",
        f"em_worker={quote(worker_folder(identity))}",
        f"em_nice={limits.nice or 0}",
        f"em_cpus={quote(limits.cpus or '')}",
        f"em_groups={quote(','.join(edge.sandbox.groups))}",
        *([f"em_tasks={limits.tasks}"] if limits.tasks is not None else []),
        f"em_cgroup={quote(chr(10).join(_cgroup(limits)))}",
        *(f"em_credential {name} {quote(file)}" for name, file in edge.credential_files.items()),
        *(f'set -- "$@" {quote(f"{name}={value}")}' for name, value in variables.items()),
    ]
    return "\n".join(lines) + "\n"


def _cgroup(limits: Limits) -> Iterator[str]:
    """Lines of OpenRC's rc_cgroup_settings: a file of cgroup v2, and what it is to hold."""
    if limits.memory is not None:
        yield f"memory.max {limits.memory}"
    if limits.cpu is not None:
        percent = float(limits.cpu.removesuffix("%"))
        yield f"cpu.max {round(percent / 100 * _CPU_PERIOD_MICROS)} {_CPU_PERIOD_MICROS}"
    if limits.tasks is not None:
        yield f"pids.max {limits.tasks}"
    if limits.cpus is not None:
        yield f"cpuset.cpus {limits.cpus}"
