"""Which configuration a command works with."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from pyboot_svc.cli.arguments import CONFIG_VARIABLE
from pyboot_svc.config.settings import DEFAULT_CONFIG_FILE


def named_config(options: argparse.Namespace) -> Path | None:
    """The file that `--config` names, or else the environment; None if neither does."""
    variable = os.environ.get(CONFIG_VARIABLE)
    return options.config or (Path(variable) if variable else None)


def config_file(options: argparse.Namespace) -> Path:
    return named_config(options) or DEFAULT_CONFIG_FILE


def has_config(options: argparse.Namespace) -> bool:
    """Whether there is one to be read; where nobody may look, reading it says so."""
    try:
        return named_config(options) is not None or config_file(options).exists()
    except OSError:
        return True


def model_path(options: argparse.Namespace) -> list[str]:
    """The folders of `--model-path`, whatever the working directory will be."""
    return [str(Path(folder).absolute()) for folder in options.model_path]
