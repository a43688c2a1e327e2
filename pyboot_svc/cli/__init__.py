"""The `pyboot` command."""

from pyboot_svc.cli.parser import main

__all__ = ["main"]
