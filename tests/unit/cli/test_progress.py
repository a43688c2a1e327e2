"""The line that says how far something is."""

from __future__ import annotations

import io

import pytest

from pyboot_svc.cli.progress import Progress

ERASE = "\r\x1b[K"


class Stream(io.StringIO):
    def __init__(self, *, terminal: bool) -> None:
        super().__init__()
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal


def roll(stream: Stream, total: int = 4) -> str:
    """Gives what stands there while it is at work, and empties the line."""
    with Progress(total, "instances", stream) as progress:
        progress.at(1)
        progress.above(lambda text: print(text, file=stream))("restarting mean-2")
        progress.at(99)
    return stream.getvalue()


@pytest.fixture(autouse=True)
def xterm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")


def test_on_a_terminal_it_stands_below_what_is_said() -> None:
    line = "[#####---------------] 1 of 4 instances"
    assert roll(Stream(terminal=True)).split(ERASE) == [
        "[--------------------] 0 of 4 instances",
        line,
        f"restarting mean-2\n{line}",
        "[####################] 4 of 4 instances",
        "",
    ]


@pytest.mark.parametrize("name", ["dumb", ""])
def test_a_terminal_that_cant_go_back_gets_none(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", name)
    assert roll(Stream(terminal=True)) == "restarting mean-2\n"


def test_a_pipe_gets_none() -> None:
    assert roll(Stream(terminal=False)) == "restarting mean-2\n"


def test_nothing_to_do_has_none() -> None:
    assert roll(Stream(terminal=True), 0) == "restarting mean-2\n"


def test_it_fits_into_the_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "10")
    found = roll(Stream(terminal=True)).replace("restarting mean-2\n", "").split(ERASE)
    assert max(map(len, found)) == 9


def test_it_is_gone_after_an_error() -> None:
    stream = Stream(terminal=True)
    with pytest.raises(OSError, match="it failed"), Progress(4, "instances", stream):
        raise OSError("it failed")
    assert stream.getvalue().endswith(ERASE)
