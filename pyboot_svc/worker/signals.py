"""The signals that stop a worker, heard also while the main thread is in a long call."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType

from pyboot_svc.threads import spawn

_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
# Ignored by default, and of no use to a model: makes the main thread take the others back.
_TAKE_BACK = signal.SIGURG


class Signals:
    """Calls `heard` with the name of each signal that asks for a stop, in a thread of its own.

    Python's own handlers run in the main thread alone, between two steps of Python code: the model
    may be in a library's, for as long as it likes. So signals are heard by the pipe that Python
    writes their numbers to, and by handlers where the model has taken the pipe away.
    """

    def __init__(self, heard: Callable[[str], None]) -> None:
        self._heard = heard
        self._handler = self._handle  # one object, to be recognised
        self._reading, self._writing = os.pipe()
        os.set_blocking(self._writing, False)
        spawn("signals", self._listen)
        os.register_at_fork(after_in_child=self._let_go)

    def catch(self) -> None:
        """Take the signals, from whoever has them now; in the main thread."""
        signal.set_wakeup_fd(self._writing, warn_on_full_buffer=False)
        for number in _STOP_SIGNALS:
            signal.signal(number, self._handler)
        signal.signal(_TAKE_BACK, lambda number, frame: self.catch())
        # What a worker's starter may have left blocked or ignored is none of its business.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (*_STOP_SIGNALS, _TAKE_BACK))

    def look(self) -> None:
        """Has the main thread take back what a call of the model has taken; from another thread,
        now and then."""
        if any(signal.getsignal(number) is not self._handler for number in _STOP_SIGNALS):
            main = threading.main_thread().ident
            assert main is not None
            signal.pthread_kill(main, _TAKE_BACK)
        # Nobody but the main thread can see whether the pipe is still ours, nor change what it
        # blocks. Raised here, it is handled there between two steps, and interrupts no system call.
        signal.raise_signal(_TAKE_BACK)

    def _listen(self) -> None:
        while number := os.read(self._reading, 1):
            if number[0] in _STOP_SIGNALS:
                self._heard(signal.Signals(number[0]).name)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self._heard(signal.Signals(number).name)

    def _let_go(self) -> None:
        """A process that the model has forked is ended by a signal, as any other."""
        signal.set_wakeup_fd(-1)
        for number in (*_STOP_SIGNALS, _TAKE_BACK):
            signal.signal(number, signal.SIG_DFL)
