"""The `pyboot` command: `main` parses and dispatches, `commands` has a module for each command."""

from pyboot_svc.cli.main import main

__all__ = ["main"]
