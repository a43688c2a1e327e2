"""The commands: each is the module of its name here, and declares its arguments itself.

A module has `DESCRIPTION` and `EXAMPLES` (a command line and what it does) for its help and the
man page, `add_arguments(parser)` and `run(options)`, which gives the exit code. It is imported when
it is asked for: `pyboot --help` needs no more than the table below.
"""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Sequence
from typing import NamedTuple, Protocol, cast

Examples = Sequence[tuple[str, str]]


class Command(Protocol):
    DESCRIPTION: str
    EXAMPLES: Examples

    def add_arguments(self, parser: argparse.ArgumentParser) -> None: ...

    def run(self, options: argparse.Namespace) -> int: ...


class Group(NamedTuple):
    """Commands with one purpose, by name, with a summary of each."""

    purpose: str
    commands: dict[str, str]


GROUPS = (
    Group(
        "Try a configuration",
        {
            "init": "write a small project to begin with",
            "check": "validate the configuration",
            "up": "run everything in the foreground, until Ctrl-C",
            "try": "call a model with messages from a file (exit code 1: one failed)",
            "test": "run the golden cases beside the models (exit code 1: one failed)",
            "bench": "measure a model: time per call, CPU, and the rate it sustains",
        },
    ),
    Group(
        "Run it as services",
        {
            "plan": "show what apply would do (exit code 2: there are changes)",
            "apply": "bring the host's services in line with the configuration",
            "web": "make a token or a password for who may read the web",
            "render": "print the configuration as manifests for Kubernetes",
            "venv": "make, list or remove Python environments for models",
        },
    ),
    Group(
        "See how it is doing",
        {
            "status": "show all instances in one table",
            "top": "show the table of status, kept live",
            "trace": "show messages as they pass through a worker",
            "logs": "show what an instance, or a model, has logged",
            "health": "ask workers whether they make progress (exit code 1: one doesn't)",
        },
    ),
    Group(
        "Look after what is left over",
        {
            "dead": "list, show, retry or drop messages that were given up",
            "purge": "remove the state of instances that are no longer configured",
        },
    ),
    Group(
        "What the services run",
        {
            "worker": "run one instance (what its unit runs)",
            "master": "run the master (what pyboot.service runs)",
        },
    ),
)
NAMES = tuple(name for group in GROUPS for name in group.commands)


def load_command(name: str) -> Command:
    return cast(Command, importlib.import_module(f"{__name__}.{name}"))
