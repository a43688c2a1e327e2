"""A terminal as people have one: a command runs in it, keys go in, and its screen can be read.

It understands what ncurses writes to an xterm, and fails at what it doesn't know.
"""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Sequence
from typing import Any

from support.app import PYBOOT
from support.poll import until

_SEQUENCE = re.compile(
    rb"\x1b\[([?>]?)([0-9;]*)([a-zA-Z@`])|\x1b([()][0-9A-B]|[=>78M])|([\x00-\x1f])|"
    rb"([^\x00-\x1f\x1b]+)",
)
_INCOMPLETE = re.compile(rb"\x1b(\[[?>]?[0-9;]*|[()])?$")


class Screen:
    """Cells by line and column; `other` is what the alternate screen hides."""

    def __init__(self, width: int, height: int) -> None:
        self.colours: set[int] = set()
        self.alternate = False
        self._rest = b""
        self.resize(width, height)
        self._main: list[list[str]] = []

    def resize(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self.row = self.column = 0
        self.bottom = height
        self.top = 0
        self.cells = [[" "] * width for _ in range(height)]

    @property
    def lines(self) -> list[str]:
        return ["".join(line).rstrip() for line in self.cells]

    def feed(self, data: bytes) -> None:
        data = self._rest + data
        self._rest = b""
        at = 0
        while at < len(data):
            if _INCOMPLETE.match(data, at):
                self._rest = data[at:]
                return
            found = _SEQUENCE.match(data, at)
            assert found, f"unknown to this terminal: {data[at : at + 20]!r}"
            at = found.end()
            mark, numbers, letter, single, control, text = found.groups()
            if text is not None:
                if at == len(data) and (cut := _cut_utf8(text)):
                    self._rest, text = text[-cut:], text[:-cut]
                for character in text.decode():
                    self._put(character)
            elif control is not None:
                self._control(control)
            elif letter is not None:
                given = [int(n) for n in numbers.split(b";") if n]
                self._sequence(mark, given, letter.decode())
            elif single == b"M":
                self.row = max(self.row - 1, 0)

    def _put(self, character: str) -> None:
        if self.column >= self.width:
            self.column, self.row = 0, min(self.row + 1, self.height - 1)
        self.cells[self.row][self.column] = character
        self._last = character
        self.column += 1

    def _control(self, control: bytes) -> None:
        if control == b"\r":
            self.column = 0
        elif control == b"\n":
            if self.row == self.bottom - 1:
                self._scroll(1)
            else:
                self.row = min(self.row + 1, self.height - 1)
        elif control == b"\b":
            self.column = max(min(self.column, self.width) - 1, 0)
        elif control == b"\t":
            self.column = min((self.column // 8 + 1) * 8, self.width - 1)

    def _sequence(self, mark: bytes, given: Sequence[int], letter: str) -> None:
        count = max(given[0] if given else 1, 1)
        if mark:
            if given and given[0] == 1049:
                self._switch(letter == "h")
        elif letter in "Hf":
            self.row = min(count, self.height) - 1
            self.column = min(max(given[1] if len(given) > 1 else 1, 1), self.width) - 1
        elif letter in "ABCDGd`":
            self._move(letter, count)
        elif letter == "m":
            self.colours.update(number for number in given if 30 <= number <= 37)
        elif letter in "JK":
            self._erase(letter, given[0] if given else 0)
        elif letter in "XP@":
            self._shift(letter, count)
        elif letter == "b":
            for _ in range(count):
                self._put(self._last)
        elif letter in "LMST":
            self._scroll_by(letter, count)
        elif letter == "r":
            self.top = (given[0] if given else 1) - 1
            self.bottom = given[1] if len(given) > 1 else self.height
            self.row = self.column = 0
        else:
            assert letter in "hlt", f"unknown to this terminal: {given} {letter}"

    def _move(self, letter: str, count: int) -> None:
        down = {"A": -count, "B": count}.get(letter, 0)
        right = {"C": count, "D": -count}.get(letter, 0)
        if letter in "G`":
            self.column = count - 1
        if letter == "d":
            self.row = count - 1
        self.row = min(max(self.row + down, 0), self.height - 1)
        self.column = min(max(self.column + right, 0), self.width - 1)

    def _erase(self, letter: str, what: int) -> None:
        line = self.cells[self.row]
        if letter == "K" or what == 0:
            first = 0 if what in (1, 2) else self.column
            last = self.column + 1 if what == 1 else self.width
            line[first:last] = [" "] * (last - first)
        if letter == "J":
            first_line = 0 if what == 2 else self.row + 1
            for row in range(first_line, self.height):
                self.cells[row] = [" "] * self.width

    def _shift(self, letter: str, count: int) -> None:
        line = self.cells[self.row]
        count = min(count, self.width - self.column)
        if letter == "X":
            line[self.column : self.column + count] = [" "] * count
        elif letter == "P":
            self.cells[self.row] = line[: self.column] + line[self.column + count :] + [" "] * count
        else:
            self.cells[self.row] = (line[: self.column] + [" "] * count + line[self.column :])[
                : self.width
            ]

    def _scroll_by(self, letter: str, count: int) -> None:
        before = self.top
        if letter in "LM":
            self.top = self.row
        self._scroll(count if letter in "MS" else -count)
        self.top = before

    def _scroll(self, count: int) -> None:
        region = self.cells[self.top : self.bottom]
        blank = [[" "] * self.width for _ in range(min(abs(count), len(region)))]
        moved = region[count:] + blank if count > 0 else blank + region[: len(region) + count]
        self.cells[self.top : self.bottom] = moved

    def _switch(self, alternate: bool) -> None:
        if alternate and not self.alternate:
            self._main = self.cells
            self.cells = [[" "] * self.width for _ in range(self.height)]
        elif not alternate and self.alternate:
            self.cells = self._main
        self.alternate = alternate


def _cut_utf8(text: bytes) -> int:
    """How many bytes at the end are the beginning of a character."""
    for count in (1, 2, 3):
        if len(text) >= count and text[-count] >= 0xC0:
            needs = 2 if text[-count] < 0xE0 else 3 if text[-count] < 0xF0 else 4
            return count if count < needs else 0
    return 0


class Terminal:
    """A `pyboot` command in a terminal of its own, which is its controlling one."""

    def __init__(
        self,
        *arguments: str,
        width: int = 80,
        height: int = 24,
        env: dict[str, str] | None = None,
        within: Sequence[str] = (),
    ) -> None:
        """`within` stands in front of the command, as a shell does."""
        self.screen = Screen(width, height)
        self.output = b""
        self._ours, theirs = pty.openpty()
        self._set_size(width, height)
        self.before: list[Any] = termios.tcgetattr(self._ours)
        clean = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "LC_ALL", "LINES")}
        self.process = subprocess.Popen(
            [*within, *PYBOOT, *arguments],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
            env={**clean, "TERM": "xterm", "LANG": "C.UTF-8", **(env or {})},
        )
        self._theirs = theirs

    def _set_size(self, width: int, height: int) -> None:
        fcntl.ioctl(self._ours, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))

    def press(self, keys: str) -> None:
        os.write(self._ours, keys.encode())

    def resize(self, width: int, height: int) -> None:
        self.screen.resize(width, height)
        self._set_size(width, height)

    def read(self) -> str:
        """All that is on the screen now."""
        while select.select([self._ours], [], [], 0)[0]:
            try:
                data = os.read(self._ours, 65536)
            except OSError:  # nobody has it open
                break
            self.output += data
            self.screen.feed(data)
        return "\n".join(self.screen.lines)

    def wait(self, text: str, timeout: float = 20.0) -> str:
        """Until it is on the screen."""
        try:
            until(lambda: text in self.read(), text, timeout)
        except AssertionError as error:
            raise AssertionError(f"{error}; the screen:\n{self.read()}") from None
        return self.read()

    def wait_gone(self, text: str, timeout: float = 20.0) -> None:
        until(lambda: text not in self.read(), f"{text} is gone", timeout)

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def ended(self, timeout: float = 20.0) -> int:
        """Its exit code; what it writes meanwhile is read, or it would wait for us."""
        deadline = time.monotonic() + timeout
        while self.process.poll() is None:
            assert time.monotonic() < deadline, f"it still runs; the screen:\n{self.read()}"
            self.read()
            select.select([self._ours], [], [], 0.02)
        self.read()
        return self.process.returncode

    def hang_up(self) -> None:
        """As when the connection is lost."""
        os.close(self._theirs)
        os.close(self._ours)
        self._theirs = self._ours = -1

    def settings(self) -> list[Any]:
        return termios.tcgetattr(self._ours)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for end in (self._ours, self._theirs):
            if end != -1:
                os.close(end)
