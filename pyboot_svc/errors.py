"""Every error that pyboot raises on purpose, and the exit code that each ends a process with."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum


class ExitCode(IntEnum):
    """The process exit codes (the numbers are those of sysexits.h)."""

    OK = 0
    USAGE = 64
    UNAVAILABLE = 69
    INTERNAL = 70
    CONFIG = 78


# A restart would end the same way: service managers must not try.
FINAL_EXIT_CODES = frozenset({ExitCode.USAGE, ExitCode.CONFIG})


class PybootError(Exception):
    """An error whose text alone tells a user what is wrong and what to do."""

    exit_code = ExitCode.INTERNAL


class UsageError(PybootError):
    """The command line asks for something that doesn't exist or doesn't go together."""

    exit_code = ExitCode.USAGE


class UnavailableError(PybootError):
    """Something that this process needs can't be reached or is held by somebody else."""

    exit_code = ExitCode.UNAVAILABLE


class ModelError(PybootError):
    """A model can't be loaded; its subclasses say why."""

    exit_code = ExitCode.CONFIG


class StarterError(PybootError):
    """A registered starter can't be loaded."""

    exit_code = ExitCode.CONFIG


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong in a configuration file; `line` and `column` count from 1."""

    file: str
    line: int
    column: int
    path: str
    message: str
    hint: str = ""

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}: " if self.line else f"{self.file}: "
        path = f"{self.path}: " if self.path else ""
        hint = f" ({self.hint})" if self.hint else ""
        return f"{place}{path}{self.message}{hint}"


class ConfigError(PybootError):
    """A configuration can't be used. `problems` holds all of them, in the file's order."""

    exit_code = ExitCode.CONFIG

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(sorted(problems, key=lambda p: (p.line, p.column)))
        super().__init__("\n".join(str(problem) for problem in self.problems))


def in_words(error: OSError) -> str:
    """What the system says, without its number, and what helps where root is allowed more."""
    advice = isinstance(error, PermissionError) and os.geteuid() != 0
    return (error.strerror or str(error)) + ("; try as root (sudo)" if advice else "")


def told(error: Exception) -> str:
    """What it says; of the system's, which file it is about, and no number."""
    if not isinstance(error, OSError):
        return str(error)
    return f"{error.filename}: {in_words(error)}" if error.filename else in_words(error)
