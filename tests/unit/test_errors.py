"""Exit codes, and how a problem of a configuration reads."""

from __future__ import annotations

import pytest

from pyboot_svc import errors
from pyboot_svc.errors import (
    FINAL_EXIT_CODES,
    ConfigError,
    ExitCode,
    ModelError,
    Problem,
    PybootError,
    StarterError,
    UnavailableError,
    UsageError,
    in_words,
    told,
)
from pyboot_svc.model import loader


def test_exit_codes_are_the_documented_numbers() -> None:
    numbers = {code.name: code.value for code in ExitCode}
    assert numbers == {"OK": 0, "USAGE": 64, "UNAVAILABLE": 69, "INTERNAL": 70, "CONFIG": 78}


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (UsageError, 64),
        (UnavailableError, 69),
        (PybootError, 70),
        (ConfigError, 78),
        (ModelError, 78),
        (StarterError, 78),
    ],
)
def test_exit_code_of_an_error(kind: type[PybootError], code: int) -> None:
    assert kind.exit_code == code


def test_only_what_a_restart_could_mend_is_restarted() -> None:
    final = {code.value for code in FINAL_EXIT_CODES}
    assert final == {64, 78}


def test_every_error_is_a_pyboot_error() -> None:
    """`main` catches that one alone; an error beside it would show a traceback."""
    found = [
        value
        for module in (errors, loader)
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Exception)
        if value.__module__ == module.__name__
    ]
    assert len(found) > 10
    assert [kind for kind in found if not issubclass(kind, PybootError)] == []


@pytest.mark.parametrize(
    ("problem", "text"),
    [
        (Problem("f", 3, 7, "edge[0].name", "is wrong"), "f:3:7: edge[0].name: is wrong"),
        (Problem("f", 3, 7, "", "is wrong"), "f:3:7: is wrong"),
        (Problem("f", 0, 0, "", "is absent"), "f: is absent"),
        (Problem("f", 1, 1, "a", "is wrong", "mend it"), "f:1:1: a: is wrong (mend it)"),
    ],
)
def test_problem_as_text(problem: Problem, text: str) -> None:
    assert str(problem) == text


def test_config_error_tells_its_problems_in_the_files_order() -> None:
    third, first, second = (
        Problem("f", line, column, "", "wrong") for line, column in ((9, 1), (2, 5), (2, 30))
    )
    error = ConfigError([third, first, second])
    assert error.problems == (first, second, third)
    assert str(error).splitlines() == ["f:2:5: wrong", "f:2:30: wrong", "f:9:1: wrong"]


@pytest.mark.parametrize(
    ("user", "error", "words"),
    [
        (1000, PermissionError(13, "Permission denied"), "Permission denied; try as root (sudo)"),
        (0, PermissionError(13, "Permission denied"), "Permission denied"),
        (1000, NotADirectoryError(20, "Not a directory", "x"), "Not a directory"),
        (1000, TimeoutError("timed out"), "timed out"),
    ],
    ids=str,
)
def test_what_the_system_says_comes_without_its_number(
    user: int, error: OSError, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: user)
    assert in_words(error) == words


def test_which_file_it_is_about_is_told() -> None:
    assert told(FileNotFoundError(2, "No such file or directory", "/a")) == (
        "/a: No such file or directory"
    )
    assert told(OSError(28, "No space left on device")) == "No space left on device"
    assert told(UnavailableError("no")) == "no"
