"""bash's completion for pyboot(1), made of the commands' parsers; reference.py writes it."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
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
# These are about what is there, configured or not.
_OTHER_NAMES = {
    "dead list": "_pyboot_letters",
    "dead show": "_pyboot_letters",
    "dead retry": "_pyboot_letters",
    "dead drop": "_pyboot_letters",
    "purge": "_pyboot_kept",
    "venv remove": "_pyboot_environments",
}
_FILES = {"FILE": "_pyboot_files", "DIR": "_pyboot_files -d", "EXE": "_pyboot_files"}
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

# Those with dead letters, of a running `pyboot up` too.
_pyboot_letters() {
    local name rest state
    [[ $cur == -* ]] && return
    _pyboot_kept
    state=$(_pyboot_value "" --state-dir)
    pyboot dead list ${state:+--state-dir "$state"} 2>/dev/null |
        while read -r name rest; do _pyboot_name "$name"; done | sort -u
}

_pyboot_environments() {
    local name rest folder
    [[ $cur == -* ]] && return
    folder=$(_pyboot_value "" --dir)
    pyboot venv list ${folder:+--dir "$folder"} 2>/dev/null | tail -n +2 |
        while read -r name rest; do
            [[ $name =~ ^[A-Za-z0-9_][A-Za-z0-9_.-]*$ ]] && echo "$name"
        done
}

# The first word of the line that is one of these.
_pyboot_first() {
    local word
    for word in "${words[@]:1:cword-1}"; do
        [[ " $1 " == *" $word "* ]] && echo "$word" && return
    done
}

# The next two do without bash-completion where it isn't installed.
_pyboot_files() {
    local found kind=-f
    declare -F _filedir >/dev/null && _filedir "$@" && return
    [[ ${1-} == -d ]] && kind=-d
    compopt -o filenames 2>/dev/null
    mapfile -t found < <(compgen "$kind" -- "$cur")
    COMPREPLY+=("${found[@]}")
}

_pyboot_begin() {
    COMPREPLY=()
    declare -F _init_completion >/dev/null && { _init_completion; return; }
    words=("${COMP_WORDS[@]}") cword=$COMP_CWORD
    cur=${words[cword]} prev=${words[cword - 1]}
}

_pyboot_words() {
    mapfile -t COMPREPLY < <(compgen -W "$1" -- "$cur")
}

_pyboot() {
    local cur prev words cword
    _pyboot_begin || return
"""


def completion() -> str:
    return "\n".join([_HEAD.rstrip("\n"), *_body()]) + "\n"


def _body() -> Iterator[str]:
    commands = {name: command_parser(name) for name in NAMES}
    yield f'''
    local commands="{" ".join(commands)}"
    local command
    command=$(_pyboot_first "$commands")
    case $command in'''
    for name, parser in commands.items():
        if actions := " ".join(subcommands(parser)):
            yield f'        {name}) command="$command $(_pyboot_first "{actions}")" ;;'
    yield '    esac\n\n    case "$command $prev" in'
    parsers = dict(_all_parsers(commands))
    yield from _arguments(parsers)
    yield "    esac\n\n    case $command in"
    yield '        "") _pyboot_words "$commands --help --version" ;;'
    for name, parser in parsers.items():
        pattern = f'"{name}"' if " " in name else name
        words = " ".join(_words(name, parser))
        yield f'        {pattern}) _pyboot_words "{words}"{_files(parser)} ;;'
    yield "    esac\n} &&\n    complete -F _pyboot pyboot"


def _all_parsers(
    commands: Mapping[str, argparse.ArgumentParser],
) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """By what stands in front of their arguments; `dead ` is that command without an action."""
    for name, parser in commands.items():
        actions = subcommands(parser)
        yield (f"{name} " if actions else name), parser
        yield from ((f"{name} {action}", each) for action, each in actions.items())


def _words(name: str, parser: argparse.ArgumentParser) -> Iterator[str]:
    """The parser's sub-commands, options, and what names an instance; each once."""
    found = dict.fromkeys(subcommands(parser))
    for action in parser._actions:
        if action.help != argparse.SUPPRESS:
            found |= dict.fromkeys(o for o in action.option_strings if o.startswith("--"))
        if not action.option_strings:
            names = _OTHER_NAMES.get(name) or _NAMES.get(str(action.metavar))
            found |= {f"$({names})": None} if names is not None else {}
            found |= dict.fromkeys(word for word in action.choices or () if word != "-")
    yield from found


def _files(parser: argparse.ArgumentParser) -> str:
    """What completes an argument that names a file or a folder."""
    found = [action for action in parser._actions if not action.option_strings]
    helpers = {_FILES[str(action.metavar)] for action in found if action.metavar in _FILES}
    return "".join(f"; [[ $cur == -* ]] || {helper}" for helper in sorted(helpers))


def _arguments(parsers: Mapping[str, argparse.ArgumentParser]) -> Iterator[str]:
    """What follows the options that take something; `--lines` takes a number or a file."""
    helpers: dict[str, dict[str, list[str]]] = {}
    for name, parser in parsers.items():
        for action in parser._actions:
            for option in action.option_strings if action.nargs != 0 else ():
                alike = helpers.setdefault(option, {})
                alike.setdefault(_helper(option, action), []).append(f'"{name} {option}"')
    patterns: dict[str, list[str]] = {}
    for option, alike in sorted(helpers.items()):
        for helper, places in alike.items():
            found = [f'*" {option}"'] if len(alike) == 1 else places
            patterns.setdefault(helper, []).extend(found)
    for helper, found in patterns.items():
        yield f"        {' | '.join(found)})"
        yield f"            {helper}\n            return\n            ;;"


def _helper(option: str, action: argparse.Action) -> str:
    if action.choices is not None:
        return f'_pyboot_words "{" ".join(map(str, action.choices))}"'
    if option in ("-c", "--config"):
        return "_pyboot_files yaml"
    return _FILES.get(str(action.metavar), ":")
