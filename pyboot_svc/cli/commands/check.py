"""`pyboot check`: validates the configuration."""

from __future__ import annotations

import argparse
import dataclasses
import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import chdir
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from pyboot_svc.cli.arguments import add_config, add_json, add_model_path
from pyboot_svc.cli.config_file import config_file, model_path
from pyboot_svc.cli.models import groups_of, model_places
from pyboot_svc.config import Config, Edge
from pyboot_svc.config.loader import load_config
from pyboot_svc.errors import ConfigError, ExitCode, ModelError, Problem
from pyboot_svc.model import Context, load_model
from pyboot_svc.model.formats import codec_of
from pyboot_svc.model.loader import concurrency_of, exceptions_named, model_folder, ticking
from pyboot_svc.model.state_use import keeps_state
from pyboot_svc.services.trust import trouble_with
from pyboot_svc.services.unprivileged import asked_without_rights
from pyboot_svc.text import block

DESCRIPTION = """\
Validate the configuration. Every error is reported at once, with file, line,
column and key, and a suggestion where there is one."""
EXAMPLES = (
    ("pyboot check -c config.yaml", "report every error in it"),
    ("pyboot check -c config.yaml --models", "also import each model"),
    ("pyboot check --instances", "list the instances by name"),
)


# With a traceback.
_LONGEST_TROUBLE = 16_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_config(parser)
    parser.add_argument("--models", action="store_true", help="import each model, too")
    parser.add_argument(
        "--instances", action="store_true", help="print only the names of all instances"
    )
    add_json(parser, "print the problems as JSON")
    add_model_path(parser)


def run(options: argparse.Namespace) -> ExitCode:
    file = config_file(options)
    config: Config | None = None
    try:
        config = load_config(file, model_path=model_path(options))
        problems = list(_model_problems(config, str(file))) if options.models else []
    except ConfigError as error:
        if options.instances:
            raise  # names alone go to standard output
        problems = list(error.problems)
    warnings = list(_warnings(config)) if config is not None else []
    if options.instances and config is not None:
        print("\n".join(str(instance.identity) for instance in config.instances()))
    elif options.json:
        found = [dataclasses.asdict(problem) for problem in problems]
        document = {"file": str(file), "valid": not problems, "problems": found}
        print(json.dumps({**document, "warnings": warnings}, indent=1))
    else:
        for problem in problems:
            print(block(str(problem)))
        if config is not None and not problems:
            print(_summary(config, str(file)))
        for warning in warnings:
            print(f"warning: {warning}")
    return ExitCode.CONFIG if problems else ExitCode.OK


def _summary(config: Config, file: str) -> str:
    instances = len(list(config.instances()))
    return f"{file}: ok, models: {len(config.edges)}, instances: {instances}"


def _warnings(config: Config) -> Iterator[str]:
    for index, edge in enumerate(config.edges):
        scattered = edge.instance > 1 and edge.share and edge.partition is None
        if scattered and keeps_state(edge.edge_mode, config.model_path):
            yield (
                f"edge[{index}].share: {edge.edge_mode} keeps context.state, and each message goes "
                f"to any of its {edge.instance} instances, each with a state of its own: with "
                "`share: {by: device}`, say, what has the same `device` goes to the same one"
            )


def _model_problems(config: Config, file: str) -> Iterator[Problem]:
    for index, edge in enumerate(config.edges):
        places = model_places([edge], config.model_path)
        troubles = list(filter(None, map(trouble_with, places)))
        if not troubles:
            asked = asked_without_rights(
                partial(_troubles, edge, config.model_path), places, groups_of([edge])
            )
            troubles = [document["trouble"] for document in asked]
        for trouble in troubles:
            yield Problem(file, 0, 0, f"edge[{index}].edge_mode", trouble)


def _troubles(edge: Edge, model_path: Sequence[str], _: Path) -> Iterator[dict[str, str]]:
    try:
        _load(edge, model_path)
    except ModelError as error:
        yield {"trouble": str(error)[:_LONGEST_TROUBLE]}


def _load(edge: Edge, model_path: Sequence[str]) -> None:
    """As a worker does, in a state folder that nothing is left of."""
    identity = edge.instances[0]
    exceptions_named(edge.on_error.retry)
    with TemporaryDirectory() as folder, chdir(model_folder(edge.edge_mode, model_path)):
        logger = logging.getLogger(f"model.{identity}")
        context = Context(str(identity), Path(folder), logger, edge.options)
        model = load_model(edge.edge_mode, model_path, context)
        codec_of(edge)
        concurrency_of(model, edge.concurrency)
        ticking(model, edge.every)
        model.close()
