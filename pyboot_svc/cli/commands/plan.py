"""`pyboot plan`: what `apply` would do."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from contextlib import suppress

from pyboot_svc.cli.arguments import (
    STATE_DIR,
    add_config,
    add_json,
    add_run_dir,
    add_service_manager,
)
from pyboot_svc.cli.config_file import config_file
from pyboot_svc.cli.planning import chosen_manager
from pyboot_svc.cli.state import known_instances
from pyboot_svc.config.loader import load_config
from pyboot_svc.errors import ExitCode, UnavailableError
from pyboot_svc.identity import InstanceId
from pyboot_svc.services.host import BROKEN, HostManager
from pyboot_svc.services.plan import UNCHANGED, Plan, Step, make_plan
from pyboot_svc.services.rollout import wanted_instances
from pyboot_svc.text import block

DESCRIPTION = """\
Show what apply would do, instance by instance, and because of which keys. Exit code
0: nothing, 2: there are changes. It also names instances that fail although nothing
about them has changed, and the state that removed ones have left. What was applied
is root's to read."""
EXAMPLES = (
    ("sudo pyboot plan", "what would a reload do?"),
    ("sudo pyboot plan -c new.yaml --json", "the steps that lead to another configuration"),
)
CHANGES = 2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_config(parser)
    add_run_dir(parser, "where compiled files are")
    add_service_manager(parser)
    add_json(parser, "print the steps as JSON")


def run(options: argparse.Namespace) -> int:
    manager = chosen_manager(options)
    wanted = wanted_instances(load_config(config_file(options)), manager.render)
    made = make_plan(wanted, manager.applied())
    problems = _problems(made, manager)
    left_over = _left_over(made)
    if options.json:
        steps = [{**step.as_dict(), "problem": problems.get(step.identity)} for step in made.steps]
        document = {"changes": made.changes, "steps": steps, "left_over": left_over}
        print(json.dumps(document, indent=1))
    else:
        lines = (_planned(step, problems) for step in made.steps)
        print("\n".join(lines) or "no instances")
        if left_over:
            print(
                f"left over  {', '.join(left_over)}  "
                f"(state in {STATE_DIR}; `pyboot purge NAME-N` removes it)"
            )
    return CHANGES if made.changes else ExitCode.OK


def _left_over(made: Plan) -> list[str]:
    """Which instances have kept state, and are neither configured nor applied any more."""
    there = {step.identity for step in made.steps}
    with suppress(UnavailableError):
        return [str(identity) for identity in known_instances(STATE_DIR) if identity not in there]
    return []


def _problems(made: Plan, manager: HostManager) -> dict[InstanceId, str]:
    """What is unchanged and fails all the same, and how, as far as the manager answers."""
    try:
        states = manager.states(manager.suspects(made.of(UNCHANGED)))
    except UnavailableError:
        return {}
    return {identity: s.detail for identity, s in states.items() if s.word in BROKEN}


def _planned(step: Step, problems: Mapping[InstanceId, str]) -> str:
    problem = problems.get(step.identity)
    return block(f"{step}  ({problem})" if problem else str(step))
