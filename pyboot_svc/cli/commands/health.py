"""`pyboot health`: what health checks and probes ask, answered by the workers themselves."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterable
from pathlib import Path

from pyboot_svc.cli.arguments import RUN_DIR, add_config, add_found_run_dir, add_json, seconds
from pyboot_svc.errors import ExitCode, UnavailableError, UsageError
from pyboot_svc.health.client import (
    ask_health,
    folder_of,
    health_socket,
    health_sockets,
    master_health_socket,
    worker_folder,
)
from pyboot_svc.health.record import Health
from pyboot_svc.identity import MASTER, InstanceId
from pyboot_svc.text import path_text, printable

DESCRIPTION = """\
Ask a worker, at its own socket, whether all its threads make progress: a check for
OpenRC, containers and Kubernetes. Exit code 0: yes; 1: no, or there is no answer in
time; 69: this user may not ask. Without NAME-INSTANCE all workers that run are
asked, and with --ready all that were applied; `master` asks the master. They are
those of the services, and where there are none of that name those of the `pyboot up`
that this user runs. Under a systemd unit with WatchdogSec= they report to systemd,
and have no such socket: then what systemd knows of the workers is shown."""
EXAMPLES = (
    ("pyboot health", "do all workers make progress?"),
    ("pyboot health mean-1 --ready", "can this one do its work right now?"),
    ("pyboot health master", "does the master make progress?"),
)
UNHEALTHY = 1
_SYSTEMD = Path("/run/systemd/system")
_LONGEST_LINE = 4000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "instance",
        nargs="?",
        metavar="NAME-INSTANCE",
        help="as in telm_temperature-1, or master (default: all that run)",
    )
    parser.add_argument(
        "--ready",
        action="store_true",
        help="also require the model, the subscription and both brokers",
    )
    parser.add_argument(
        "--timeout",
        type=seconds,
        default=3.0,
        metavar="N",
        help="how many seconds an answer may take (default: 3)",
    )
    add_config(parser)
    add_found_run_dir(parser, "where the workers' sockets are")
    add_json(parser, "print their answers as JSON")


def run(options: argparse.Namespace) -> int:
    """Without an instance: of all that run, and with --ready of all that were applied.

    One that gave up, since a restart would end the same, is not ready; but nothing that runs is
    any less alive for it, and whoever asks for that only wants to know what to restart. Of one that
    this user may not ask nothing is said but that.
    """
    options.run_dir = options.run_dir or _found_run_dir(options)
    found = _answers(options)
    answers = [answer for answer in found if not answer.unasked]
    if answers or not found:
        _show(answers, options)
    if len(answers) < len(found):
        sys.stdout.flush()
        unasked = [f"{one.instance}: {one.trouble}" for one in found if one.unasked]
        raise UnavailableError("\n".join(unasked))
    well = bool(answers) and all(a.ready if options.ready else a.alive for a in answers)
    return ExitCode.OK if well else UNHEALTHY


def _found_run_dir(options: argparse.Namespace) -> Path:
    """That of the services, where what is asked for is there, or no `up` of this user's runs."""
    instance, of_services = options.instance, options.config is None
    if of_services and _has_sockets(RUN_DIR, instance):
        return RUN_DIR
    # Not above, nor the others below: checks are made every few seconds, and have to be cheap.
    from pyboot_svc.cli.running import one_of, running_ups

    folders = {up: Path(up.run_dir) for up in running_ups() if up.run_dir is not None}
    if not folders or (of_services and _is_applied(RUN_DIR, instance)):
        return RUN_DIR
    from pyboot_svc.cli.config_file import named_config

    ups = [*folders]
    if instance not in (None, MASTER):
        ups = [up for up in ups if _is_applied(folders[up], instance)] or ups
    up = one_of(ups, named_config(options), "--config or --run-dir")
    return folders[up] if up is not None else RUN_DIR


def _has_sockets(run_dir: Path, instance: str | None) -> bool:
    """As far as this user may look."""
    if instance is None:
        return bool(health_sockets(run_dir))
    if instance == MASTER:
        return os.path.lexists(master_health_socket(run_dir))
    return os.path.lexists(health_socket(run_dir, InstanceId.parse(instance)))


def _is_applied(run_dir: Path, instance: str | None) -> bool:
    """Whether it is one of those there, which may not run yet; the master is where any are."""
    from pyboot_svc.config.compiled import compiled_names

    known = compiled_names(run_dir)
    return bool(known) if instance in (None, MASTER) else InstanceId.parse(str(instance)) in known


def _show(answers: list[Health], options: argparse.Namespace) -> None:
    if options.json:
        shown = [answer.document() for answer in answers]
        print(json.dumps(shown[0] if options.instance else {"instances": shown}, indent=1))
    else:
        print("\n".join(map(_line, answers)) or _none_in(options.run_dir))


def _none_in(run_dir: Path) -> str:
    return f"no instance is running in {path_text(run_dir)}"


def _answers(options: argparse.Namespace) -> list[Health]:
    if options.instance == MASTER:
        return [_of_master(options)]
    answers: dict[str, Health] = {}
    for socket in _sockets(options):
        answer = ask_health(socket, options.timeout)
        answers[answer.instance] = answer
    if not answers or not all(answer.alive for answer in answers.values()):
        # Under systemd the workers tell how they do, and have no socket to be asked at.
        units = _of_units(options)
        if options.instance:
            if not any(answer.unasked for answer in answers.values()):
                _check_known(options, units)
            units = {name: unit for name, unit in units.items() if name == options.instance}
        answers.update(
            (name, unit)
            for name, unit in units.items()
            if not (name in answers and answers[name].alive)
            and (options.instance or options.ready or unit.alive)
        )
    return [answers[name] for name in sorted(answers)]


def _of_master(options: argparse.Namespace) -> Health:
    """Raises UsageError where it tells systemd, and isn't asked."""
    answer = ask_health(master_health_socket(options.run_dir), options.timeout)
    if not answer.alive and _are_units(options):
        raise UsageError(
            "the master reports to systemd: `systemctl status pyboot` shows how it does"
        )
    return answer


def _are_units(options: argparse.Namespace) -> bool:
    return _SYSTEMD.is_dir() and bool(options.run_dir == RUN_DIR)


def _of_units(options: argparse.Namespace) -> dict[str, Health]:
    """What systemd knows of the instances that were applied, as a worker would answer."""
    if not _are_units(options):
        return {}
    from pyboot_svc.services.live import applied_states

    return {
        str(identity): Health(
            str(identity),
            alive=state.word in ("ready", "waiting", "starting"),
            loaded=state.ready or bool(state.waiting),
            started=state.ready,
            ready=state.works,
            reasons=() if state.works else (state.waiting or state.detail,),
        )
        for identity, state in applied_states(options.run_dir).items()
    }


def _check_known(options: argparse.Namespace, units: dict[str, Health]) -> None:
    """Raises UsageError for an instance that there isn't, where there are others."""
    from pyboot_svc.config.compiled import compiled_names

    known = {*units, *map(str, compiled_names(options.run_dir))}
    known |= set(map(folder_of, health_sockets(options.run_dir)))
    asked = worker_folder(InstanceId.parse(options.instance))
    if known and not known & {asked, options.instance}:
        raise UsageError(
            f"there is no instance {options.instance} here: there are {', '.join(sorted(known))}"
        )


def _sockets(options: argparse.Namespace) -> Iterable[Path]:
    if options.instance:
        return [health_socket(options.run_dir, InstanceId.parse(options.instance))]
    sockets = set(health_sockets(options.run_dir))
    if options.ready:
        from pyboot_svc.config.compiled import compiled_names

        names = compiled_names(options.run_dir)
        sockets.update(health_socket(options.run_dir, identity) for identity in names)
    return sorted(sockets)


def _line(answer: Health) -> str:
    state = "ready" if answer.ready else "alive" if answer.alive else "not alive"
    why = "; ".join((*answer.stalls, *answer.reasons, *answer.notices))
    return printable(f"{answer.instance}: {state}" + (f": {why}" if why else ""), _LONGEST_LINE)
