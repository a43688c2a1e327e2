"""Which interpreter a configuration's `python` names, and how a process goes on as that one.

It is looked at and not run: it may be anybody's, and whoever looks may be root.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from pyboot_svc.environments import guest
from pyboot_svc.environments.libraries import entered, own_folders
from pyboot_svc.errors import ModelError

LEAST = (3, 11)
_VERSIONED = re.compile(r"(?:lib/)?python(\d+)\.(\d+)\w*")
_MOST_LINKS = 40
# Of pyboot's own interpreter: another one reads other libraries by them.
_PYTHONS_PLACES = ("PYTHONPATH", "PYTHONHOME")


class EnvironmentUnusable(ModelError):
    """`python` names no environment that a model can run in."""


class Interpreter(NamedTuple):
    """One that can be run, as far as can be seen.

    `prefix` is the folder of the environment, `base` that of the Python it was made of: the same
    where it is no virtual environment. `release` is as much of its version as is known.
    """

    name: str
    executable: Path
    prefix: Path
    base: Path
    version: tuple[int, int]
    release: str
    # Whether packages of `base` can be imported, too.
    shares_packages: bool

    @property
    def is_own(self) -> bool:
        """Whether it is that of this process."""
        here = (Path(sys.prefix).resolve(), sys.version_info[:2])
        return (self.prefix.resolve(), self.version) == here

    @property
    def folders(self) -> tuple[str, ...]:
        """All that has to be readable and executable for it, by each name that it goes by."""
        places = [self.prefix, self.base]
        for link in _links(self.executable):
            folder = link.parent.parent
            if os.path.isdir(folder / _library(self.version)):
                places.append(folder)
        every = [str(name) for place in places for name in (place, place.resolve())]
        return tuple(dict.fromkeys(name for name in every if name != "/"))

    def command(self, *arguments: str, flags: Sequence[str] = ()) -> list[str]:
        """What runs pyboot there. Nothing of the working directory is imported, nor of a user."""
        return [str(self.executable), "-P", "-s", *flags, guest.__file__, *arguments]

    def variables(
        self, others: Mapping[str, str], module: str = "pyboot_svc.cli"
    ) -> dict[str, str]:
        """Those that it needs beside `others`, for the `main` of that module.

        As when an environment is activated, its commands are found first.
        """
        request = {"python": self.name, "folders": own_folders(self.version), "module": module}
        commands = f"{self.executable.parent}:{others.get('PATH', os.defpath)}"
        active = {} if self.prefix == self.base else {"VIRTUAL_ENV": str(self.prefix)}
        return {"PATH": commands, **active, guest.VARIABLE: json.dumps(request)}


def find_interpreter(name: str) -> Interpreter:
    """`name` is the folder of an environment, or an interpreter; raises EnvironmentUnusable."""
    try:
        return _look_at(name)
    except OSError as error:
        raise EnvironmentUnusable(
            f"python: {name} can't be read by the user that needs it: {error.strerror}"
        ) from error


def environment_folders(python: str | None) -> tuple[str, ...]:
    """All that `python` needs to be readable and executable; itself alone where it is unusable."""
    try:
        return () if python is None else find_interpreter(python).folders
    except EnvironmentUnusable:
        return (str(python),)


def is_here(python: str | None) -> bool:
    """Whether this process runs models of `python`; raises EnvironmentUnusable."""
    if python is None or python == entered():
        return python == entered()
    return entered() is None and find_interpreter(python).is_own


def enter(python: str | None, variables: Mapping[str, str], more: Sequence[str] = ()) -> None:
    """Run this command again as the interpreter that `python` names, with these variables, and
    with `more` arguments.

    Returns where it is at work already; raises EnvironmentUnusable.
    """
    if is_here(python) or python is None:
        return
    found = find_interpreter(python)
    # What pyboot was asked to do with its own output is meant for this one, too.
    flags = ["-u"] if "-u" in sys.orig_argv[1:2] else []
    environment = {**variables, **plain_variables(variables)}
    environment.update(found.variables(environment))
    try:
        os.execve(found.executable, found.command(*sys.argv[1:], *more, flags=flags), environment)
    except OSError as error:
        raise EnvironmentUnusable(
            f"python: {found.executable} can't be run: {error.strerror}; if it was made anew, "
            "`pyboot apply` opens its folders to the service"
        ) from error


def plain_variables(variables: Mapping[str, str]) -> dict[str, str]:
    """Those of this process; what tells an interpreter where to look comes from `variables`."""
    found = {name: value for name, value in os.environ.items() if name not in _PYTHONS_PLACES}
    return {**found, **{name: variables[name] for name in _PYTHONS_PLACES if name in variables}}


def _look_at(name: str) -> Interpreter:
    path = Path(name)
    executable = _in_folder(path) if path.is_dir() else path
    _check_executable(name, executable)
    prefix, resolved = executable.parent.parent, executable.resolve()
    settings = _settings(prefix / "pyvenv.cfg")
    base = resolved.parent.parent
    if not settings:
        prefix = base
    elif base == prefix.resolve() and "home" in settings:  # made with --copies
        base = Path(settings["home"]).parent
    version = _version(name, resolved, prefix, settings.get("version", ""))
    if settings and not (prefix / _library(version)).is_dir():
        raise EnvironmentUnusable(
            f"python: {name} was made for another version of Python than its interpreter now has, "
            f"{_dotted(version)}: make it anew"
        )
    if version < LEAST:
        raise EnvironmentUnusable(
            f"python: {name} is Python {_dotted(version)}; at least {_dotted(LEAST)} is needed: "
            "make the environment with a newer one"
        )
    told = settings.get("version", "")
    release = told if told.startswith(f"{_dotted(version)}.") else _dotted(version)
    shares = not settings or settings.get("include-system-site-packages") == "true"
    return Interpreter(name, executable, prefix, base, version, release, shares)


def _in_folder(folder: Path) -> Path:
    for name in ("python", "python3"):
        if os.path.lexists(folder / "bin" / name):
            return folder / "bin" / name
    raise EnvironmentUnusable(
        f"python: {folder} has no bin/python: name the folder of a virtual environment, or an "
        "interpreter"
    )


def _check_executable(name: str, executable: Path) -> None:
    if not executable.exists():
        if executable.is_symlink():
            raise EnvironmentUnusable(
                f"python: {executable} leads to {os.readlink(executable)}, which is gone: make the "
                "environment anew"
            )
        raise EnvironmentUnusable(
            f"python: there is no {name}; `pyboot venv create` makes an environment"
        )
    if not executable.is_file() or not os.access(executable, os.X_OK):
        raise EnvironmentUnusable(f"python: {executable} can't be executed")
    with executable.open("rb") as file:
        if file.read(2) == b"#!":
            raise EnvironmentUnusable(
                f"python: {executable} is a script and no interpreter; name what it starts: "
                f"`{executable} -c 'import sys; print(sys.executable)'` tells it"
            )


def _settings(file: Path) -> dict[str, str]:
    """Those of pyvenv.cfg, which makes a folder a virtual environment."""
    try:
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return {}
    pairs = (line.partition("=") for line in lines)
    found = {key.strip().lower(): value.strip() for key, _, value in pairs}
    # virtualenv and uv have another name for it.
    if "version_info" in found:
        found.setdefault("version", ".".join(found["version_info"].split(".")[:3]))
    return {"include-system-site-packages": "false", **found}


def _version(name: str, resolved: Path, prefix: Path, told: str) -> tuple[int, int]:
    """By the file's name, by pyvenv.cfg, or by the only library that there is."""
    libraries = [f"lib/{folder.name}" for folder in prefix.glob("lib/python3.*")]
    texts = [resolved.name, f"python{told}"]
    for text in (*texts, *(libraries if len(libraries) == 1 else ())):
        found = _VERSIONED.match(text)
        if found:
            return int(found[1]), int(found[2])
    raise EnvironmentUnusable(f"python: {name} doesn't look like an interpreter of Python")


def _library(version: tuple[int, int]) -> str:
    return f"lib/python{_dotted(version)}"


def _dotted(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"


def _links(file: Path) -> list[Path]:
    """What it leads to, link by link."""
    found: list[Path] = []
    while file.is_symlink() and len(found) < _MOST_LINKS:
        file = file.parent / os.readlink(file)
        found.append(file)
    return found
