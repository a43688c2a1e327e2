"""bash's completion for pyboot(1), made of the commands' parsers; reference.py writes it."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from parsers import subcommands

from pyboot_svc.cli.commands import NAMES
from pyboot_svc.cli.main import command_parser

COMPLETION = Path(__file__).parent.parent / "packaging" / "completion" / "pyboot"
# What a positional argument names, by its metavar, and how its words are found.
_NAMES = {
    "NAME-INSTANCE": "_pyboot_instances",
    "NAME[-INSTANCE]": "_pyboot_instances",
    "NAME": "_pyboot_models",
}
# These are about what an instance has left behind, configured or not.
_KEPT = ("dead", "purge")
_HEAD = r"""# bash completion for pyboot(1); written by docs/reference.py

# The value that an option has on the command line, or else DEFAULT: _pyboot_value DEFAULT OPTION...
_pyboot_value() {
    local index default=$1
    shift
    for ((index = 1; index < cword; index++)); do
        [[ " $* " == *" ${words[index]} "* ]] && echo "${words[index + 1]}" && return
    done
    echo "$default"
}

# An instance's name, and nothing else that a file may be called: compgen would expand it.
_pyboot_name() {
    [[ $1 =~ ^[A-Za-z0-9_][A-Za-z0-9_.-]*-[1-9][0-9]*$ ]] && echo "$1"
}

# The instances that were applied, and those of the configuration.
_pyboot_instances() {
    local config file
    [[ $cur == -* ]] && return
    config=$(_pyboot_value "" -c --config)
    if [[ -z $config ]]; then
        for file in "$(_pyboot_value /run/pyboot --run-dir)"/instances/*.json; do
            file=${file##*/}
            _pyboot_name "${file%.json}"
        done
    fi
    pyboot check --instances ${config:+--config "$config"} 2>/dev/null
}

_pyboot_models() {
    local name
    _pyboot_instances | while read -r name; do echo "${name%-*}"; done | sort -u
}

_pyboot_kept() {
    local folder
    for folder in "$(_pyboot_value /var/lib/edge-model --state-dir)"/*-*/; do
        folder=${folder%/}
        _pyboot_name "${folder##*/}"
    done
}

_pyboot_words() {
    mapfile -t COMPREPLY < <(compgen -W "$1" -- "$cur")
}

_pyboot() {
    local cur prev words cword
    _init_completion || return
"""


def completion() -> str:
    return "\n".join([_HEAD.rstrip("\n"), *_body()]) + "\n"


def _body() -> Iterator[str]:
    commands = {name: command_parser(name) for name in NAMES}
    yield f'''
    local commands="{" ".join(commands)}"
    local command="" word
    for word in "${{words[@]:1:cword-1}}"; do
        [[ " $commands " == *" $word "* ]] && command=$word && break
    done

    case $prev in'''
    yield from _arguments(commands)
    yield "    esac\n\n    case $command in"
    yield '        "") _pyboot_words "$commands --help --version" ;;'
    for name, parser in commands.items():
        yield f'        {name}) _pyboot_words "{" ".join(_words(name, parser))}" ;;'
    yield "    esac\n} &&\n    complete -F _pyboot pyboot"


def _words(name: str, parser: argparse.ArgumentParser) -> Iterator[str]:
    """The parser's sub-commands, options, and what names an instance; each once."""
    found: dict[str, None] = {}
    for each in (parser, *subcommands(parser).values()):
        found |= dict.fromkeys(subcommands(each))
        for action in each._actions:
            if action.help != argparse.SUPPRESS:
                found |= dict.fromkeys(o for o in action.option_strings if o.startswith("--"))
            names = _NAMES.get(str(action.metavar)) if not action.option_strings else None
            if names is not None:
                found[f"$({'_pyboot_kept' if name in _KEPT else names})"] = None
    yield from found


def _arguments(commands: dict[str, argparse.ArgumentParser]) -> Iterator[str]:
    """What follows the options that take something."""
    helps: dict[str, list[str]] = {}
    parsers = [
        each for parser in commands.values() for each in (parser, *subcommands(parser).values())
    ]
    taking = {
        option: action
        for parser in parsers
        for action in parser._actions
        for option in action.option_strings
        if action.nargs != 0
    }
    for option, action in sorted(taking.items()):
        helps.setdefault(_helper(option, action), []).append(option)
    for helper, options in helps.items():
        yield f"        {' | '.join(options)})"
        yield f"            {helper}\n            return\n            ;;"


def _helper(option: str, action: argparse.Action) -> str:
    if action.choices is not None:
        return f'_pyboot_words "{" ".join(map(str, action.choices))}"'
    if option in ("-c", "--config"):
        return "_filedir yaml"
    return {"FILE": "_filedir", "DIR": "_filedir -d"}.get(str(action.metavar), ":")
