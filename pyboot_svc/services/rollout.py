"""What the configuration wants to run, and what of it had better not: for `apply` and `up`."""

from __future__ import annotations

from collections.abc import Callable

from pyboot_svc.config import Config, Edge, InstanceConfig
from pyboot_svc.config.compiled import render_compiled
from pyboot_svc.environments.packages import packages_of
from pyboot_svc.model.fingerprint import code_of
from pyboot_svc.services.plan import RESTART, STOP, Plan, Wanted
from pyboot_svc.services.secret_files import versions_of


def wanted_instances(config: Config, render: Callable[[InstanceConfig], str]) -> list[Wanted]:
    """All instances, with digests of their models' files, and what is installed
    in their environments; `render` gives what a unit adds."""
    code: dict[str, dict[str, str]] = {}
    packages: dict[str | None, dict[str, str]] = {}
    wanted = []
    for instance in config.instances():
        edge = instance.edge
        if edge.name not in code:  # the same for all instances of a model
            code[edge.name] = code_of(edge.edge_mode, instance.model_path, edge.options)
        if edge.python not in packages:
            packages[edge.python] = packages_of(edge.python)
        secrets = versions_of(edge.credential_files)
        compiled = render_compiled(instance, code[edge.name], packages[edge.python], secrets)
        wanted.append(Wanted(instance.identity, compiled, render(instance)))
    return wanted


def without_broken(
    plan: Plan, wanted: list[Wanted], config: Config, trouble_of: Callable[[Edge], str | None]
) -> tuple[Plan, list[Wanted], dict[str, str]]:
    """What is left of a plan when models that run aren't replaced by what can't be loaded; and
    why not, as `trouble_of` says it, by the names of the models."""
    troubles: dict[str, str] = {}
    for name in dict.fromkeys(identity.model for identity in plan.of(RESTART)):
        trouble = trouble_of(next(edge for edge in config.edges if edge.name == name))
        if trouble is not None:
            troubles[name] = trouble
    if not troubles:
        return plan, wanted, troubles
    steps = tuple(
        step for step in plan.steps if step.action == STOP or step.identity.model not in troubles
    )
    return Plan(steps), [one for one in wanted if one.identity.model not in troubles], troubles
