"""The signals that stop a worker, heard also while the main thread is in a long call."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from types import FrameType

from pyboot_svc.threads import spawn

_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Signals:
    """Calls `heard` with the name of each signal that asks for a stop, in a thread of its own.

    Python's own handlers run in the main thread alone, between two steps of Python code: the model
    may be in a library's, for as long as it likes.
    """

    def __init__(self, heard: Callable[[str], None]) -> None:
        self._heard = heard
        self._reading, self._writing = os.pipe()
        os.set_blocking(self._writing, False)
        spawn("signals", self._listen)
        os.register_at_fork(after_in_child=self._let_go)

    def catch(self) -> None:
        """Take the signals, from whoever has them now; in the main thread."""
        signal.set_wakeup_fd(self._writing, warn_on_full_buffer=False)
        for number in _STOP_SIGNALS:
            signal.signal(number, self._nothing)
        # What a worker's starter may have left blocked or ignored is none of its business.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOP_SIGNALS)

    def _listen(self) -> None:
        while number := os.read(self._reading, 1):
            if number[0] in _STOP_SIGNALS:
                self._heard(signal.Signals(number[0]).name)

    def _nothing(self, number: int, frame: FrameType | None) -> None:
        """The signal's number is in the pipe by now."""

    def _let_go(self) -> None:
        """A process that the model has forked is ended by a signal, as any other."""
        signal.set_wakeup_fd(-1)
        for number in _STOP_SIGNALS:
            signal.signal(number, signal.SIG_DFL)
