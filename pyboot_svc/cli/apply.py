"""`pyboot plan` and `pyboot apply`."""

from __future__ import annotations

import argparse
import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from pyboot_svc.cli.state import STATE_DIR, known_instances
from pyboot_svc.config import Config
from pyboot_svc.config.compiled import render_compiled
from pyboot_svc.config.loader import load_config
from pyboot_svc.config.settings import DEFAULT_CONFIG_FILE
from pyboot_svc.errors import ExitCode, UnavailableError
from pyboot_svc.identity import InstanceId
from pyboot_svc.services.apply import apply_plan
from pyboot_svc.services.detect import host_manager
from pyboot_svc.services.host import BROKEN, HostManager
from pyboot_svc.services.plan import UNCHANGED, Plan, Step, Wanted, make_plan

CHANGES = 2


def plan(options: argparse.Namespace) -> int:
    manager = _manager(options)
    made = make_plan(_wanted(_load(options), manager), manager.applied())
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
    return f"{step}  ({problem})" if problem else str(step)


def apply(options: argparse.Namespace) -> int:
    if os.geteuid() != 0:
        raise UnavailableError("apply writes units: run it as root, or reload the service pyboot")
    # What it writes is for all to read (`pyboot plan`), whatever the unit or the shell has set.
    os.umask(0o022)
    manager = _manager(options)
    with _alone(options.run_dir):
        wanted = _wanted(_load(options), manager)
        made = make_plan(wanted, manager.applied())
        manager.tell_master(made.changes)
        apply_plan(
            made,
            wanted,
            manager,
            wait_seconds=options.wait_seconds,
            wait_for_new=not options.boot,
            say=_say,
        )
    _say(_summary(made))
    return ExitCode.OK


def _say(text: str) -> None:
    print(text, flush=True)


@contextmanager
def _alone(run_dir: Path) -> Iterator[None]:
    """Two at once would have two instances of a model down at once."""
    run_dir.mkdir(parents=True, exist_ok=True)
    with open(run_dir / "apply.lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _say("another apply is running; waiting for it to finish")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _load(options: argparse.Namespace) -> Config:
    return load_config(options.config or DEFAULT_CONFIG_FILE)


def _manager(options: argparse.Namespace) -> HostManager:
    return host_manager(options.run_dir, options.service_manager)


def _wanted(config: Config, manager: HostManager) -> list[Wanted]:
    return [
        Wanted(instance.identity, render_compiled(instance), manager.render(instance))
        for instance in config.instances()
    ]


def _summary(made: Plan) -> str:
    counts: dict[str, int] = {}
    for step in made.steps:
        counts[step.action] = counts.get(step.action, 0) + 1
    shown = ", ".join(f"{action} {count}" for action, count in counts.items())
    return f"applied: {shown or 'no instances'}" if made.changes else f"{UNCHANGED}: nothing to do"
