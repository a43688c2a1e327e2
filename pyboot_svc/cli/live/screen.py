"""The terminal, by curses: Python brings it, it knows terminals of every kind, and it leaves the
screen as it was, also for Ctrl-Z."""

from __future__ import annotations

import curses
import locale
import os
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType, MappingProxyType

from pyboot_svc.cli.colours import Colour
from pyboot_svc.cli.live.history import History
from pyboot_svc.cli.live.page import Line, Size, make_page
from pyboot_svc.cli.live.poller import Poller
from pyboot_svc.cli.live.view import (
    BACKSPACE,
    DOWN,
    END,
    ENTER,
    ESCAPE,
    HOME,
    PAGE_DOWN,
    PAGE_UP,
    UP,
    View,
)
from pyboot_svc.errors import UnavailableError

# How soon a new reading is seen, and a signal.
_LOOK_MS = 100
# After the first byte of a key that has several.
_ESCAPE_MS = 25
_KEYS: Mapping[int, str] = MappingProxyType(
    {
        curses.KEY_UP: UP,
        curses.KEY_DOWN: DOWN,
        curses.KEY_PPAGE: PAGE_UP,
        curses.KEY_NPAGE: PAGE_DOWN,
        curses.KEY_HOME: HOME,
        curses.KEY_END: END,
        curses.KEY_ENTER: ENTER,
        10: ENTER,
        13: ENTER,
        27: ESCAPE,
        curses.KEY_BACKSPACE: BACKSPACE,
        8: BACKSPACE,
        127: BACKSPACE,
    }
)
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def show_live(poller: Poller, *, unicode: bool, colour: bool) -> int | None:
    """Until somebody quits; gives the signal that ended it, if one did.

    Raises UnavailableError for a terminal that can't be written to anywhere but at its end.
    """
    # With these, curses wouldn't see that the window has another size.
    for name in ("LINES", "COLUMNS"):
        os.environ.pop(name, None)
    with _caught() as signals:
        try:
            curses.setupterm()
            if not curses.tigetstr("cup"):
                raise curses.error("it can't place the cursor")
            with _window() as window:
                _Screen(poller, unicode, colour, signals).run(window)
        except curses.error as error:
            raise UnavailableError(
                f"this terminal (TERM={os.environ.get('TERM', '')}) can't show it: {error}; try "
                "`pyboot status`"
            ) from error
    return signals.ending


def speaks_utf8() -> bool:
    """Whether the locale is one of UTF-8.

    Python takes the locale C for one (PEP 538, 540), of which the terminal knows nothing: what
    counts is what this process was started with.
    """
    started = Path("/proc/self/environ").read_bytes().split(b"\0")
    settings = dict(entry.partition(b"=")[::2] for entry in started)
    named = (settings.get(name) for name in (b"LC_ALL", b"LC_CTYPE", b"LANG"))
    chosen = next(filter(None, named), b"").lower().replace(b"-", b"")
    return b"utf8" in chosen and locale.nl_langinfo(locale.CODESET).upper() == "UTF-8"


class _Signals:
    """Those that came, to be obeyed between two pages, when the screen can be put back."""

    def __init__(self) -> None:
        self.ending: int | None = None
        self.stopping = False

    def note(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGTSTP:
            self.stopping = True
        elif self.ending is None:
            self.ending = number


@contextmanager
def _caught() -> Iterator[_Signals]:
    signals = _Signals()
    # One that is ignored, as by nohup, stays so. Of SIGTSTP, ncurses would put the screen back
    # wherever it comes: also amid its own work, or in another thread, which then waits for ever.
    caught = [one for one in (*_ENDING, signal.SIGTSTP) if signal.getsignal(one) != signal.SIG_IGN]
    before = {number: signal.signal(number, signals.note) for number in caught}
    try:
        yield signals
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _window() -> Iterator[curses.window]:
    """As curses.wrapper does, which would set colours for who wants none."""
    window = curses.initscr()
    try:
        curses.noecho()
        curses.cbreak()
        window.keypad(True)
        yield window
    finally:
        window.keypad(False)
        curses.nocbreak()
        curses.echo()
        curses.endwin()


class _Screen:
    def __init__(self, poller: Poller, unicode: bool, colour: bool, signals: _Signals) -> None:
        self._poller = poller
        self._unicode = unicode
        self._colour = colour
        self._signals = signals
        self._view = View()
        self._history = History()
        self._noted = -1

    def run(self, window: curses.window) -> None:
        self._prepare(window)
        while not self._view.quit and self._signals.ending is None:
            if self._signals.stopping:
                self._stop(window)
            self._draw(window)
            key = self._key(window)
            if key == -1 and not os.isatty(0):
                return  # the terminal has gone: nothing will ever be pressed
            self._press(key)
            if self._poller.failure is not None:
                raise self._poller.failure

    def _prepare(self, window: curses.window) -> None:
        window.timeout(_LOOK_MS)
        curses.set_escdelay(_ESCAPE_MS)
        try:
            curses.curs_set(0)
        except curses.error:
            pass  # it is always shown there
        self._colour = self._colour and curses.has_colors()
        if self._colour:
            curses.start_color()
            curses.use_default_colors()
            for colour in Colour:
                curses.init_pair(colour.value, colour.value, -1)

    def _key(self, window: curses.window) -> int:
        try:
            return window.getch()
        except KeyboardInterrupt:  # it was on its way before ours were caught
            self._signals.note(signal.SIGINT, None)
            return -1

    def _stop(self, window: curses.window) -> None:
        """As Ctrl-Z asks for: the screen is the shell's until `fg`."""
        self._signals.stopping = False
        curses.def_prog_mode()
        curses.endwin()
        before = signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        # To this thread: sent to the process, it might come to another one only later.
        signal.pthread_kill(threading.get_ident(), signal.SIGTSTP)
        signal.signal(signal.SIGTSTP, before)
        curses.reset_prog_mode()
        window.redrawwin()

    def _press(self, key: int) -> None:
        name = _KEYS.get(key) or (chr(key) if 32 <= key < 127 else "")
        if name:
            shown = self._view.shown(self._poller.reading.instances)
            self._view.press(name, [one["instance"] for one in shown])

    def _draw(self, window: curses.window) -> None:
        reading = self._poller.reading
        if reading.number != self._noted:
            self._noted = reading.number
            self._history.note(reading.instances)
        height, width = window.getmaxyx()
        size = Size(width, height, self._unicode)
        window.erase()
        for number, line in enumerate(make_page(self._view, reading, self._history, size)):
            self._write(window, number, line)
        window.refresh()

    def _write(self, window: curses.window, number: int, line: Line) -> None:
        try:
            window.move(number, 0)
            for span in line:
                attributes = curses.A_BOLD if span.bold else curses.A_NORMAL
                attributes |= curses.A_REVERSE if span.reverse else 0
                if self._colour and span.colour is not None:
                    attributes |= curses.color_pair(span.colour.value)
                window.addstr(span.text, attributes)
        except curses.error:
            pass  # behind the last cell there is no place for the cursor
