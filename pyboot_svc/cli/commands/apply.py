"""`pyboot apply`: makes the host's services what the configuration says."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from functools import partial

from pyboot_svc.cli.arguments import add_config, add_run_dir, add_service_manager, seconds
from pyboot_svc.cli.config_file import config_file
from pyboot_svc.cli.planning import chosen_manager
from pyboot_svc.cli.progress import Progress
from pyboot_svc.config import Config, Edge
from pyboot_svc.config.loader import load_config
from pyboot_svc.errors import ExitCode, UnavailableError
from pyboot_svc.identity import InstanceId
from pyboot_svc.notify import Notifier
from pyboot_svc.services.apply import Roll, apply_plan
from pyboot_svc.services.examination import trouble_of
from pyboot_svc.services.folders import make_folders
from pyboot_svc.services.lock import alone
from pyboot_svc.services.plan import UNCHANGED, Plan, make_plan
from pyboot_svc.services.readiness import NotReady
from pyboot_svc.services.rollout import wanted_instances, without_broken
from pyboot_svc.services.tokens import issue_tokens, withdraw_tokens
from pyboot_svc.services.trust import require_roots_own
from pyboot_svc.text import block

DESCRIPTION = """\
Bring the host's services in line with the configuration: write the units that
differ, tell the service manager once, and touch only the instances that changed.
Those of one model restart one at a time, each when the one before is ready. A roll
stops at an instance that doesn't become ready, or that loses a broker that it
reached before; where a broker was away before, it goes on with a warning. A model
whose new code can't be imported, or has no such function, keeps the old. Exit code
69 when a roll stops, or when an instance fails, whether it was touched or not.

Needs root, and a configuration that nobody else can write, nor any folder on the way
to it. `systemctl reload pyboot` or `rc-service pyboot reload` does the same."""
EXAMPLES = (
    ("sudo pyboot apply", "what `systemctl reload pyboot` runs"),
    ("sudo pyboot apply --wait-seconds 300", "for models that load slowly"),
)

# What a step takes beside waiting for an instance: to stop one, say, or to look at new code.
_STEP_SECONDS = 120.0


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
    # Folders and units are for all to look at, whatever the unit or the shell has set.
    os.umask(0o022)
    require_roots_own([config_file(options)], for_good=True)
    say = _teller(options.wait_seconds + _STEP_SECONDS)
    manager = chosen_manager(options)
    make_folders(options.run_dir)
    with alone(options.run_dir, say):
        config = load_config(config_file(options))
        wanted = wanted_instances(config, manager.render)
        kept = [one.identity for one in wanted]
        issue_tokens(options.run_dir, kept)
        made = make_plan(wanted, manager.applied())
        manager.tell_master(made.changes)
        made, wanted, troubles = without_broken(made, wanted, config, partial(_trouble_of, config))
        changed = [step.identity for step in made.steps if step.action != UNCHANGED]
        with Progress(len(changed), "instances", sys.stdout) as progress:
            roll = Roll(
                options.wait_seconds, not options.boot, progress.above(say), _counter(progress)
            )
            apply_plan(made, wanted, manager, roll)
        withdraw_tokens(options.run_dir, kept)
    if made.changes or not troubles:
        say(_summary(made))
    if troubles:
        told = "\n".join(f"{name}: {why}" for name, why in troubles.items())
        raise NotReady(f"new code that can't be loaded; the instances go on with the old\n{told}")
    return ExitCode.OK


def _trouble_of(config: Config, edge: Edge) -> str | None:
    return trouble_of(edge.edge_mode, config.model_path, edge.variables, edge.python)


def _counter(progress: Progress) -> Callable[[Sequence[InstanceId]], None]:
    finished: set[InstanceId] = set()

    def done(instances: Sequence[InstanceId]) -> None:
        finished.update(instances)
        progress.at(len(finished))

    return done


def _teller(step_seconds: float) -> Callable[[str], None]:
    """Says what it is at, to the service manager as well: the next step may take so long."""
    notifier = Notifier()

    def say(text: str) -> None:
        notifier.extend_start(step_seconds)
        print(block(text), flush=True)

    return say


def _summary(made: Plan) -> str:
    counts: dict[str, int] = {}
    for step in made.steps:
        counts[step.action] = counts.get(step.action, 0) + 1
    shown = ", ".join(f"{action} {count}" for action, count in counts.items())
    return f"applied: {shown or 'no instances'}" if made.changes else f"{UNCHANGED}: nothing to do"
