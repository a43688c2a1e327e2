"""`pyboot check`: validates the configuration, and what it names."""

from __future__ import annotations

import argparse
import dataclasses
import json
import logging
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import chdir, redirect_stdout
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from pyboot_svc.cli.arguments import add_config, add_json, add_model_path
from pyboot_svc.cli.config_file import config_file, model_path
from pyboot_svc.cli.models import groups_of, model_places, process_ended, secrets_of
from pyboot_svc.config import Config, Edge
from pyboot_svc.config.advice import advice
from pyboot_svc.config.loader import load_config
from pyboot_svc.config.settings import NO_AUTH, SPARKPLUG
from pyboot_svc.environments.interpreter import EnvironmentUnusable, is_here
from pyboot_svc.environments.libraries import entered
from pyboot_svc.errors import ConfigError, ExitCode, ModelError, Problem, UsageError
from pyboot_svc.model import Context, load_model
from pyboot_svc.model.formats import codec_of
from pyboot_svc.model.loader import concurrency_of, exceptions_named, ticking, working_folder
from pyboot_svc.model.secrets import Secrets
from pyboot_svc.model.state_use import keeps_state
from pyboot_svc.services.forked_child import ChildEnded
from pyboot_svc.services.guests import run_guest
from pyboot_svc.services.lending import Places
from pyboot_svc.services.trust import trouble_with
from pyboot_svc.services.unprivileged import asked_without_rights
from pyboot_svc.text import block, path_text, printable
from pyboot_svc.tracing.provider import import_libraries
from pyboot_svc.web.credentials import trouble_in

if TYPE_CHECKING:
    from pyboot_svc.brokers.audit import Audit  # which takes paho

DESCRIPTION = """\
Validate the configuration. Every error is reported at once, with file, line,
column and key, and a suggestion where there is one. --brokers connects to
each broker as the models' workers would, beside those that run, and says what it
refuses (exit code 69). Nothing is published unless --publish says what."""
EXAMPLES = (
    ("pyboot check -c config.yaml", "report every error in it"),
    ("pyboot check -c config.yaml --models", "also import each model"),
    ("sudo pyboot check --brokers", "also ask each broker, as root"),
    ("pyboot check --instances", "list the instances by name"),
)
_LONGEST_FINDING = 1000
# They are for the command, which hands them on to the model's process.
_STOPS = (signal.SIGTERM, signal.SIGHUP)
# With a traceback.
_LONGEST_TROUBLE = 16_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_config(parser)
    parser.add_argument("--models", action="store_true", help="import each model, too")
    parser.add_argument(
        "--brokers", action="store_true", help="connect and subscribe to each broker, too"
    )
    parser.add_argument(
        "--publish",
        metavar="TEXT",
        help="with --brokers: publish TEXT to the topics of results and dead letters",
    )
    parser.add_argument(
        "--instances", action="store_true", help="print only the names of all instances"
    )
    add_json(parser, "print the problems as JSON")
    add_model_path(parser)


def run(options: argparse.Namespace) -> ExitCode:
    if options.publish is not None and not options.brokers:
        raise UsageError("--publish goes with --brokers")
    file = config_file(options)
    config: Config | None = None
    audited: Audit | None = None
    try:
        config = load_config(file, model_path=model_path(options))
        examined = _model_problems if options.models else _tracing_problems
        problems = list(examined(config, options))
        audited = _audit(config, options.publish) if options.brokers else None
    except ConfigError as error:
        if options.instances:
            raise  # names alone go to standard output
        problems = list(error.problems)
    warnings = list(_warnings(config)) if config is not None else []
    if options.instances and config is not None:
        print("\n".join(str(instance.identity) for instance in config.instances()))
    elif options.json:
        print(json.dumps(_document(file, problems, warnings, audited), indent=1))
    else:
        _show(file, config, problems, warnings, audited)
    if problems:
        return ExitCode.CONFIG
    return ExitCode.UNAVAILABLE if audited is not None and audited.failed else ExitCode.OK


def _audit(config: Config, publish: str | None) -> Audit:
    from pyboot_svc.brokers.audit import audit

    return audit(config, None if publish is None else publish.encode())


def _document(
    file: Path, problems: Sequence[Problem], warnings: list[str], audited: Audit | None
) -> dict[str, Any]:
    found = [dataclasses.asdict(problem) for problem in problems]
    document = {"file": str(file), "valid": not problems, "problems": found, "warnings": warnings}
    if audited is None:
        return document
    seen = [dataclasses.asdict(finding) for finding in audited.findings]
    return {**document, "brokers": seen, "unknown": audited.unknown}


def _show(
    file: Path,
    config: Config | None,
    problems: Sequence[Problem],
    warnings: list[str],
    audited: Audit | None,
) -> None:
    for problem in problems:
        print(block(str(problem)))
    if config is not None and not problems:
        print(_summary(config, file))
    for warning in warnings:
        print(f"warning: {block(warning)}")
    if audited is not None:
        for finding in audited.findings:
            print(printable(str(finding), _LONGEST_FINDING))
        for unknown in audited.unknown:
            print(f"not known: {block(unknown)}")


def _summary(config: Config, file: Path) -> str:
    instances = len(list(config.instances()))
    return f"{path_text(file)}: ok, models: {len(config.edges)}, instances: {instances}"


def _warnings(config: Config) -> Iterator[str]:
    yield from advice(config, datetime.now(UTC))
    if config.web.auth not in (None, NO_AUTH) and (trouble := trouble_in(Path(config.web.auth))):
        yield f"web.auth: {trouble}"
    for index, edge in enumerate(config.edges):
        scattered = edge.instance > 1 and edge.share and edge.partition is None
        if scattered and keeps_state(edge.edge_mode, config.model_path):
            yield (
                f"edge[{index}].share: {edge.edge_mode} keeps context.state, and each message goes "
                f"to any of its {edge.instance} instances, each with a state of its own: with "
                "`share: {by: device}`, say, what has the same `device` goes to the same one"
            )
        if scattered and edge.codec == SPARKPLUG:
            yield (
                f"edge[{index}].share: an edge node's births come to one of the {edge.instance} "
                "instances, and its data, which needs the names that they give to aliases, to "
                'others: with `share: {by: "topic[3]"}` they stay together'
            )


def _tracing_problems(config: Config, options: argparse.Namespace) -> Iterator[Problem]:
    """Of the libraries that spans need, where the models run in this environment."""
    for index, edge in enumerate(config.edges):
        try:
            if edge.tracing is not None and is_here(edge.python):
                import_libraries()
        except EnvironmentUnusable:
            continue  # with --models it is said
        except ModelError as error:
            yield Problem(str(config_file(options)), 0, 0, f"edge[{index}].tracing", str(error))


def _model_problems(config: Config, options: argparse.Namespace) -> Iterator[Problem]:
    """Of all models; in a model's environment, of those whose environment it is."""
    file = config_file(options)
    elsewhere: dict[str, int] = {}
    for index, edge in enumerate(config.edges):
        places = model_places([edge], config.model_path)
        troubles = list(filter(None, map(trouble_with, places)))
        try:
            if is_here(edge.python) and not troubles:
                ask = partial(_troubles, edge, config.model_path, options.json)
                asked = asked_without_rights(
                    ask, places, groups_of([edge]), credentials=secrets_of([edge])
                )
                troubles = [document["trouble"] for document in asked]
            elif edge.python is not None and entered() is None and not troubles:
                elsewhere.setdefault(edge.python, index)
        except EnvironmentUnusable as error:
            yield _unusable(file, index, error)
        except ChildEnded as ended:
            if -ended.code in _STOPS:
                sys.exit(ended.shells_code)
            troubles = [process_ended(ended.code)]
        yield from (
            Problem(str(file), 0, 0, f"edge[{index}].edge_mode", trouble) for trouble in troubles
        )
    for python, index in elsewhere.items():
        edges = [edge for edge in config.edges if edge.python == python]
        ask = partial(_problems_elsewhere, python, index, options)
        places = [*model_places(edges, config.model_path), file]
        lent = secrets_of(edges)
        for found in asked_without_rights(ask, places, groups_of(edges), credentials=lent):
            yield Problem(**found)


def _troubles(
    edge: Edge, model_path: Sequence[str], aside: bool, places: Places
) -> Iterator[dict[str, str]]:
    """With `aside`, what the models print must not get into a document."""
    try:
        with redirect_stdout(sys.stderr if aside else sys.stdout):
            _load(edge, model_path, places.scratch)
    except ModelError as error:
        yield {"trouble": str(error)[:_LONGEST_TROUBLE]}


def _problems_elsewhere(
    python: str, index: int, options: argparse.Namespace, _: Places
) -> Iterator[dict[str, Any]]:
    """Of the models whose environment is `python`; the first one is the edge of that index."""
    file = config_file(options)
    arguments = ["check", "--models", "--json", f"--config={file.absolute()}"]
    arguments += [f"--model-path={folder}" for folder in model_path(options)]
    try:
        printed = run_guest(python, arguments, (ExitCode.OK, ExitCode.CONFIG))
    except EnvironmentUnusable as error:
        yield dataclasses.asdict(_unusable(file, index, error))
        return
    for found in json.loads(printed)["problems"]:
        yield {**found, "file": str(file)}


def _unusable(file: Path, index: int, error: EnvironmentUnusable) -> Problem:
    return Problem(str(file), 0, 0, f"edge[{index}].python", str(error).removeprefix("python: "))


def _load(edge: Edge, model_path: Sequence[str], scratch: Path) -> None:
    """As a worker does, in a state folder that nothing is left of."""
    identity = edge.instances[0]
    exceptions_named(edge.on_error.retry)
    work_in = working_folder(edge.edge_mode, model_path)
    with TemporaryDirectory(dir=scratch) as folder, chdir(work_in):
        logger = logging.getLogger(f"model.{identity}")
        context = Context(
            str(identity), Path(folder), logger, edge.options, secrets=Secrets(edge.secrets)
        )
        model = load_model(edge.edge_mode, model_path, context)
        codec_of(edge)
        if edge.tracing is not None:
            import_libraries()
        concurrency_of(model, edge.concurrency)
        ticking(model, edge.every)
        model.close()
