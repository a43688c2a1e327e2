"""A child that is forked, not started, does something and tells it as documents of JSON.

It needs no interpreter that its user could run, has what its parent has, and ends with it.
"""

from __future__ import annotations

import atexit
import json
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from functools import partial
from types import FrameType
from typing import Any, NoReturn, TypeVar

from pyboot_svc.errors import ExitCode, PybootError, UnavailableError
from pyboot_svc.services.descendants import adopt_orphans, end_descendants

Document = dict[str, Any]
_Begun = TypeVar("_Begun")

_READ_BYTES = 64 * 1024
_MOST_BYTES = 2**31
# Of an error's text.
_LONGEST_ERROR = 16_000
# What a model's helpers have to end in, when its work is done.
_HELPERS_SECONDS = 2.0
_INTERRUPTED = 128 + signal.SIGINT
_HANDED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_ERROR, _CODE, _DONE = "pyboot-error", "pyboot-code", "pyboot-done"


class ChildEnded(UnavailableError):
    """A child ended before it was done; `code` is its exit code, negative for a signal's number."""

    def __init__(self, code: int) -> None:
        self.code = code
        super().__init__(f"what was asked without root's rights ended with {code}")

    @property
    def shells_code(self) -> int:
        """As a shell has it."""
        return self.code if self.code >= 0 else 128 - self.code


class ChildError(PybootError):
    """What a child raised, with the exit code of that."""

    def __init__(self, text: str, exit_code: ExitCode) -> None:
        self.exit_code = exit_code
        super().__init__(text)


def in_child(
    begin: Callable[[Any], _Begun],
    ask: Callable[[_Begun], Iterable[Document]],
    seconds: float | None,
    lending: Callable[[], AbstractContextManager[Any]] = nullcontext,
) -> Iterator[Document]:
    """What `ask` gives in a child that `begin` has changed; it ends with this process. What it is
    lent is taken back whatever signal comes."""
    sys.stdout.flush()
    sys.stderr.flush()
    with _signals_held() as before, lending() as lent:
        answers, answer = os.pipe2(os.O_CLOEXEC)
        life, hold = os.pipe2(os.O_CLOEXEC)
        child = os.fork()
        if child == 0:
            os.close(answers)
            os.close(hold)
            _work(lambda: begin(lent), ask, answer, life, before)
        os.close(answer)
        os.close(life)
        over = os.pidfd_open(child)
        ended = done = False
        try:
            with _signals_left_to(child) if seconds is None else nullcontext(), _taken(before):
                for document in _read(answers, over, seconds):
                    done = _DONE in document
                    if not done:
                        yield document
                if seconds is None:
                    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
            ended = True
        finally:
            os.close(answers)
            os.close(over)
            if not ended:
                os.kill(child, signal.SIGKILL)
            _, status = os.waitpid(child, 0)
            os.close(hold)
    code = os.waitstatus_to_exitcode(status)
    if code in (_INTERRUPTED, -signal.SIGINT):
        raise KeyboardInterrupt
    if code or not done:
        raise ChildEnded(code)


@contextmanager
def _signals_held() -> Iterator[set[signal.Signals | int]]:
    """Until somebody is there for them, see `_taken`; gives what was held before."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _HANDED_ON)
    try:
        yield before
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _taken(before: set[signal.Signals | int]) -> Iterator[None]:
    """Among signals that are held: as if but those of `before` were."""
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_BLOCK, _HANDED_ON)


@contextmanager
def _signals_left_to(child: int) -> Iterator[None]:
    """It ends as it sees fit."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def hand_on(number: int, frame: FrameType | None) -> None:
        if number != signal.SIGINT or not _in_foreground():
            os.kill(child, number)

    before = {number: signal.signal(number, hand_on) for number in _heard()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _heard() -> list[signal.Signals]:
    """Whoever has SIGHUP ignored, as nohup does, wants to outlive it."""
    outlived = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    return [number for number in _HANDED_ON if number != signal.SIGHUP or not outlived]


def _in_foreground() -> bool:
    """Of a terminal, whose Ctrl-C reaches a child without us."""
    try:
        terminal = os.open("/dev/tty", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    finally:
        os.close(terminal)


def _work(
    begin: Callable[[], _Begun],
    ask: Callable[[_Begun], Iterable[Document]],
    answer: int,
    life: int,
    held: set[signal.Signals | int],
) -> NoReturn:
    """The child's whole life: whatever happens, nothing of the parent's is run on."""
    code = 1
    atexit._clear()  # what is the parent's to clean up
    try:
        threading.Thread(target=_end_with, args=(life,), daemon=True).start()
        signal.pthread_sigmask(signal.SIG_SETMASK, held)
        with open(answer, "w", encoding="utf-8", errors="backslashreplace") as out:
            try:
                for document in ask(begin()):
                    out.write(json.dumps(document) + "\n")
                    out.flush()
                out.write(json.dumps({_DONE: True}) + "\n")
            except PybootError as error:
                told = {_ERROR: str(error)[:_LONGEST_ERROR], _CODE: int(error.exit_code)}
                out.write(json.dumps(told) + "\n")
        sys.stdout.flush()
        code = 0
    except BrokenPipeError:
        code = 0  # whoever read it has seen enough
    except KeyboardInterrupt:
        code = _INTERRUPTED
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        with suppress(Exception):
            sys.stderr.flush()
        os._exit(code)


@contextmanager
def model_at_work() -> Iterator[None]:
    """In a child that calls a model: at its end, and when it is interrupted, what the model has
    started ends."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, partial(_end_interrupted, os.getpid()))
    adopt_orphans()
    try:
        yield
    finally:
        _end_what_a_model_started()


def _end_interrupted(worker: int, number: int, frame: FrameType | None) -> None:
    """Not by an exception, which would be taken for one of the model at hand, and survived."""
    if os.getpid() != worker:  # one that the model has forked, and may count on it
        signal.default_int_handler(number, frame)
    # It may come twice: from the terminal and from the parent.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # The model may have been interrupted with a lock in hand that its end waits for.
    late = threading.Timer(2 * _HELPERS_SECONDS, os._exit, (_INTERRUPTED,))
    late.daemon = True
    late.start()
    try:
        _end_what_a_model_started()
    finally:
        os._exit(_INTERRUPTED)


def _end_what_a_model_started() -> None:
    """As a script's end does, but in time: a pool is waited for whose calls never end."""
    impatient = threading.Timer(_HELPERS_SECONDS, end_descendants)
    impatient.daemon = True
    impatient.start()
    # What Python does of itself where a process isn't ended by os._exit.
    leave_pools = getattr(sys.modules.get("concurrent.futures.process"), "_python_exit", None)
    if leave_pools is not None:
        leave_pools()
    atexit._run_exitfuncs()
    impatient.cancel()
    end_descendants()


def _end_with(life: int) -> None:
    os.read(life, 1)
    os._exit(1)


def _read(answers: int, over: int, seconds: float | None) -> Iterator[Document]:
    """Until the end of the answers, or of their sender: `over` can be read then. What a model has
    started may hold the pipe open."""
    text = b""
    deadline = None if seconds is None else time.monotonic() + seconds
    while True:
        left = None if deadline is None else max(deadline - time.monotonic(), 0)
        ready = select.select([answers, over], [], [], left)[0]
        if not ready:
            raise UnavailableError(f"nothing could be read within {seconds:g} s")
        if answers not in ready:
            return
        more = os.read(answers, _READ_BYTES)
        *lines, text = (text + more).split(b"\n") if b"\n" in more else [text + more]
        for line in lines:
            yield _document(line)
            if seconds is not None:
                deadline = time.monotonic() + seconds
        if not more:
            return
        if len(text) > _MOST_BYTES:
            raise UnavailableError("what could be read is too long")


def _error(text: str, code: ExitCode) -> PybootError:
    return UnavailableError(text) if code == ExitCode.UNAVAILABLE else ChildError(text, code)


def _document(line: bytes) -> Document:
    document: Document = json.loads(line)
    if _ERROR in document:
        raise _error(document[_ERROR], ExitCode(document[_CODE]))
    return document
