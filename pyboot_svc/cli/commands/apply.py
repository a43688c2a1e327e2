"""`pyboot apply`: makes the host's services what the configuration says."""

from __future__ import annotations

import argparse
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from pyboot_svc.cli.arguments import add_config, add_run_dir, add_service_manager, seconds
from pyboot_svc.cli.config_file import config_file
from pyboot_svc.cli.planning import chosen_manager
from pyboot_svc.config import Config, Edge
from pyboot_svc.config.loader import load_config
from pyboot_svc.errors import ExitCode, UnavailableError
from pyboot_svc.services.apply import apply_plan
from pyboot_svc.services.examination import trouble_of
from pyboot_svc.services.plan import UNCHANGED, Plan, make_plan
from pyboot_svc.services.readiness import NotReady
from pyboot_svc.services.rollout import wanted_instances, without_broken

DESCRIPTION = """\
Bring the host's services in line with the configuration: write the units that
differ, tell the service manager once, and touch only the instances that changed.
Those of one model restart one at a time, each when the one before is ready. A roll
stops at an instance that doesn't become ready, or that loses a broker that it
reached before; where a broker was away before, it goes on with a warning. A model
whose new code can't be imported, or has no such function, keeps the old. Exit code
69 when a roll stops, or when an instance fails, whether it was touched or not.

Needs root. `systemctl reload pyboot` or `rc-service pyboot reload` does the same."""
EXAMPLES = (
    ("sudo pyboot apply", "what `systemctl reload pyboot` runs"),
    ("sudo pyboot apply --wait-seconds 300", "for models that load slowly"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_config(parser)
    add_run_dir(parser, "where compiled files go")
    add_service_manager(parser)
    parser.add_argument(
        "--wait-seconds",
        type=seconds,
        default=60.0,
        metavar="N",
        help="how long an instance may take to become ready (default: 60)",
    )
    parser.add_argument(
        "--boot", action="store_true", help="don't wait for instances that this run starts"
    )


def run(options: argparse.Namespace) -> int:
    if os.geteuid() != 0:
        raise UnavailableError("apply writes units: run it as root, or reload the service pyboot")
    # What it writes is for all to read (`pyboot plan`), whatever the unit or the shell has set.
    os.umask(0o022)
    manager = chosen_manager(options)
    with _alone(options.run_dir):
        config = load_config(config_file(options))
        wanted = wanted_instances(config, manager.render)
        made = make_plan(wanted, manager.applied())
        manager.tell_master(made.changes)
        made, wanted, troubles = without_broken(made, wanted, config, partial(_trouble_of, config))
        apply_plan(
            made,
            wanted,
            manager,
            wait_seconds=options.wait_seconds,
            wait_for_new=not options.boot,
            say=_say,
        )
    _say(_summary(made))
    if troubles:
        told = "\n".join(f"{name}: {why}" for name, why in troubles.items())
        raise NotReady(f"new code that can't be loaded; the instances go on with the old\n{told}")
    return ExitCode.OK


def _trouble_of(config: Config, edge: Edge) -> str | None:
    return trouble_of(edge.edge_mode, config.model_path, edge.variables, edge.python)


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


def _summary(made: Plan) -> str:
    counts: dict[str, int] = {}
    for step in made.steps:
        counts[step.action] = counts.get(step.action, 0) + 1
    shown = ", ".join(f"{action} {count}" for action, count in counts.items())
    return f"applied: {shown or 'no instances'}" if made.changes else f"{UNCHANGED}: nothing to do"
