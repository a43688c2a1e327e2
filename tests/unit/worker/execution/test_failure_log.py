"""What is told of a model's failure: its own lines, once, and all that Python would have shown."""

from __future__ import annotations

import asyncio
import importlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pyboot_svc.model.codec import PayloadFault
from pyboot_svc.worker.execution.failure_log import FailureLog, exception_in, summary
from pyboot_svc.worker.messages import Message


class UnnamedClass(type):
    @property
    def __name__(cls) -> str:  # type: ignore[override]
        raise LookupError("no name today")


class Unnamed(Exception, metaclass=UnnamedClass):
    pass


class Mute(Exception):
    def __str__(self) -> str:
        raise LookupError("no text today")

    def __getattribute__(self, name: str) -> Any:
        raise LookupError("nothing today")


def told(model: Callable[[], Any]) -> str:
    try:
        model()
    except Exception as error:
        return summary(error)
    raise AssertionError("it raised nothing")


def group() -> None:
    raise ExceptionGroup("many", [ValueError("one"), KeyError("other")])


def task_group() -> None:
    async def ask() -> None:
        raise OSError("no route")

    async def run() -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(ask())

    asyncio.run(run())


def noted() -> None:
    error = ValueError("bad")
    error.add_note("of device a")
    raise error


def caused() -> None:
    try:
        json.loads("{}")["k"]
    except KeyError as error:
        raise ValueError("bad") from error


@pytest.mark.parametrize(
    ("model", "says"),
    [
        (group, ["ExceptionGroup: many", "ValueError: one", "KeyError: 'other'"]),
        (task_group, ["OSError: no route", 'raise OSError("no route")']),
        (noted, ["ValueError: bad", "of device a"]),
        (caused, ["KeyError: 'k'", "direct cause", "ValueError: bad"]),
    ],
    ids=["group", "task group", "note", "cause"],
)
def test_all_that_it_is_made_of(model: Callable[[], Any], says: list[str]) -> None:
    text = told(model)
    assert [part for part in says if part not in text] == []


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """An installed one that calls itself, ten deep, before it raises."""
    folder = tmp_path / "site-packages"
    folder.mkdir()
    (folder / "deep_library.py").write_text(
        "def predict(n):\n    if n:\n        return predict(n - 1)\n    raise ValueError('deep')\n"
    )
    monkeypatch.syspath_prepend(str(folder))
    return importlib.import_module("deep_library")


def test_the_models_own_line_is_shown_however_deep_a_library_is(library: Any) -> None:
    text = told(lambda: library.predict(10))
    assert "told(lambda: library.predict(10))" in text
    assert "raise ValueError('deep')" in text
    assert text.count("return predict(n - 1)") == 1


def test_of_a_recursion_a_few_lines_are_shown() -> None:
    def again() -> Any:
        return again()

    text = told(again)
    assert "RecursionError" in text
    assert len(text.splitlines()) < 20


def test_a_helper_that_can_not_be_parsed_is_shown_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_helper.py").write_text("def x(:\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    text = told(lambda: importlib.import_module("broken_helper"))
    assert 'broken_helper.py", line 1\n    def x(:\n' in text


def test_a_message_of_a_megabyte_hides_no_line() -> None:
    def model() -> None:
        raise ValueError("x" * 1_000_000 + "the end")

    text = told(model)
    assert len(text) < 5_000
    assert "the end\n  File" in text
    assert "in model" in text
    assert exception_in(text)[0] == "ValueError"


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (Unnamed("z"), "the model raised Unnamed: z"),
        (Mute(), "the model raised Mute: (it can't be shown)"),
        (ValueError("\udc80"), "the model raised ValueError: \udc80"),
        (json.JSONDecodeError("bad", "{", 1), "the model raised JSONDecodeError: bad: line 1"),
    ],
    ids=["unnamed", "mute", "half a character", "json"],
)
def test_an_exception_that_fails_itself(error: Exception, says: str) -> None:
    def model() -> None:
        raise error

    assert told(model).startswith(says)


def test_an_exception_without_a_text() -> None:
    def model() -> None:
        raise AssertionError

    first, *_ = told(model).splitlines()
    assert first == "the model raised AssertionError"
    assert exception_in(told(model)) == ("AssertionError", "")


def test_a_message_of_one_byte(caplog: pytest.LogCaptureFixture) -> None:
    FailureLog().say(PayloadFault.NOT_JSON, Message("plant/7", b"x"), "no JSON")
    assert "topic plant/7, 1 byte, begins b'x': no JSON" in caplog.text
