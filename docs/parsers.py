"""What argparse knows of a command and has no public way to ask."""

from __future__ import annotations

import argparse


def subcommands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """The parsers of a command's sub-commands, by name."""
    found: dict[str, argparse.ArgumentParser] = {}
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            found |= action.choices
    return found


def leaves(parser: argparse.ArgumentParser) -> list[argparse.ArgumentParser]:
    """The parsers of what can be typed: the sub-commands', or else the command's own."""
    return list(subcommands(parser).values()) or [parser]


def actions(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    """Its own options and arguments, without `--help` and sub-commands."""
    quiet = (argparse._HelpAction, argparse._SubParsersAction)
    return [action for action in parser._actions if not isinstance(action, quiet)]
