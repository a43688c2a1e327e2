"""`pyboot test`: runs the golden cases beside the models."""

from __future__ import annotations

import argparse
import glob
import os
import sys
import tempfile
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path

from pyboot_svc.bench.cases import Case, Step, differences, read_case
from pyboot_svc.bench.payloads import CasePayloads
from pyboot_svc.bench.subject import load_subject
from pyboot_svc.bench.trial import try_messages
from pyboot_svc.cli.arguments import add_config, add_model_path
from pyboot_svc.cli.config_file import config_file, model_path
from pyboot_svc.cli.models import run_models
from pyboot_svc.cli.payloads import instance_named
from pyboot_svc.config import Config, InstanceConfig
from pyboot_svc.config.loader import load_config
from pyboot_svc.environments.interpreter import is_here
from pyboot_svc.environments.libraries import entered
from pyboot_svc.errors import ExitCode, UsageError
from pyboot_svc.logs import configure_logging
from pyboot_svc.model.codec import PayloadError
from pyboot_svc.model.loader import model_folder
from pyboot_svc.services.guests import run_guest
from pyboot_svc.services.lending import Places
from pyboot_svc.text import block, path_text

DESCRIPTION = """\
Call the configured models with golden cases, the files cases/*.json beside each
model, and compare what comes out. There is no broker, and each file begins with
an empty state. Exit code 1: a case failed.

A case is {"input": …, "output": …}, or a list of these for messages in a row.
The input is encoded as the model's `codec` and `compression` say. `{"tick": true}`
instead of an input is a call by time. `output` is null where nothing is to be
published; `error` has a part of the text of an error that is expected instead.
Besides: `topic` of the input, `output_topic`, `tolerance` of numbers (relative and
absolute), and `model`, its name in the configuration, where the folder has several."""
EXAMPLES = (
    ("pyboot test -c config.yaml", "all cases of all models"),
    ("pyboot test cases/rising.json", "one of them"),
)
_FAILED = 1
_OK, _NOT_OK = "ok  ", "FAILED  "


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_config(parser)
    parser.add_argument(
        "files", nargs="*", type=Path, metavar="FILE", help="cases (default: cases/*.json)"
    )
    add_model_path(parser)


def run(options: argparse.Namespace) -> ExitCode | int:
    configure_logging()
    config = load_config(config_file(options), model_path=model_path(options))
    files = [file.absolute() for file in options.files] or _found(config)
    if not files:
        folders = ", ".join(sorted({str(folder / "cases") for folder in _folders(config)}))
        raise UsageError(f"there are no cases: no *.json in {folders or 'any folder'}")
    cases = [(case, _instance_of(case, config)) for case in map(read_case, files)]
    # As they are meant here: models move to their own folder.
    again = [f"--config={config_file(options).absolute()}"]
    again += [f"--model-path={folder}" for folder in model_path(options)]
    edges = {instance.edge.name: instance.edge for _, instance in cases}

    def work(places: Places) -> int:
        return _run_all(cases, again, places.scratch)

    return run_models(list(edges.values()), config.model_path, work)


def _run_all(
    cases: Sequence[tuple[Case, InstanceConfig]], again: Sequence[str], scratch: Path
) -> int:
    results = []
    elsewhere: dict[str, list[Path]] = {}
    for case, instance in cases:
        python = instance.edge.python
        if python is None or is_here(python):
            results.append(_run(case, instance, scratch))
        else:
            elsewhere.setdefault(python, []).append(case.file)
    for python, files in elsewhere.items():
        results += _run_elsewhere(python, [*again, "--", *map(str, files)])
    if entered() is None:
        print(f"{sum(results)} of {len(results)} cases passed")
    return ExitCode.OK if all(results) else _FAILED


def _folders(config: Config) -> list[Path]:
    paths = [model_folder(edge.edge_mode, config.model_path) for edge in config.edges]
    return [path for path in dict.fromkeys(paths) if path != Path("/")]


def _found(config: Config) -> list[Path]:
    patterns = (os.path.join(glob.escape(str(f)), "cases", "*.json") for f in _folders(config))
    return [Path(file) for pattern in patterns for file in sorted(glob.glob(pattern))]


def _run_elsewhere(python: str, arguments: Sequence[str]) -> list[bool]:
    """In the models' environment, where the command prints a line for each case, and no sum."""
    printed = run_guest(python, ["test", *arguments], (ExitCode.OK, _FAILED))
    print(printed, end="", flush=True)
    lines = printed.splitlines()
    return [line.startswith(_OK) for line in lines if line.startswith((_OK, _NOT_OK))]


def _instance_of(case: Case, config: Config) -> InstanceConfig:
    return instance_named(config, case.model or _only_model(case, config))


def _run(case: Case, instance: InstanceConfig, scratch: Path) -> bool:
    for name, value in instance.edge.variables.items():
        os.environ.setdefault(name, value)
    found = []
    with tempfile.TemporaryDirectory(dir=scratch) as name, redirect_stdout(sys.stderr):
        folder, beside = Path(name) / "state", Path(name) / "beside"
        folder.mkdir()
        beside.mkdir()
        written = CasePayloads(instance.edge)
        payloads = tuple(_payload(case, step, written) for step in case.steps)
        subject = load_subject(instance, payloads, folder)
        if any(step.tick for step in case.steps) and subject.model.tick is None:
            raise UsageError(f"{case.file}: `tick` needs a model with a method `tick(context)`")
        topics = [None if step.tick else step.topic or subject.topic for step in case.steps]
        given = zip(topics, payloads, strict=True)
        for number, (step, tried) in enumerate(
            zip(case.steps, try_messages(subject, given, beside), strict=True), 1
        ):
            where = f"message {number}: " if len(case.steps) > 1 else ""
            usual = instance.edge.post.topic
            texts = differences(step, tried, usual, written.read)
            found += [f"{where}{text}" for text in texts]
        subject.model.close()
    _say(case.file, found)
    return not found


def _payload(case: Case, step: Step, written: CasePayloads) -> bytes:
    try:
        return b"" if step.tick else written.write(step.value)
    except PayloadError as error:
        text = str(error).replace("the result", "the input", 1)
        raise UsageError(f"{case.file}: {text}") from None


def _say(file: Path, found: Sequence[str]) -> None:
    print(f"{_NOT_OK if found else _OK}{path_text(file)}", flush=True)
    for text in found:
        print(f"        {block(text)}", flush=True)


def _only_model(case: Case, config: Config) -> str:
    """The one whose folder the case lies in."""
    here = [
        edge.name
        for edge in config.edges
        if _is_same(model_folder(edge.edge_mode, config.model_path) / "cases", case.file.parent)
    ]
    if len(here) != 1:
        known = ", ".join(here) or "none"
        raise UsageError(f"{case.file}: `model` must say which one it is for; beside it: {known}")
    return here[0]


def _is_same(folder: Path, other: Path) -> bool:
    """By whatever names they go."""
    return folder.resolve() == other.resolve()
