"""Processes that a model forks by itself: they end where the model's code does."""

from __future__ import annotations

import os
import sys
import traceback
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import NoReturn

_FAILED = 1


def hear_forks(method: Callable[[], None]) -> None:
    """Have this method called in each child that is forked, as long as its object is there."""
    found = weakref.WeakMethod(method)

    def hear() -> None:
        if (call := found()) is not None:
            call()

    os.register_at_fork(after_in_child=hear)


@contextmanager
def ending_forks() -> Iterator[None]:
    """End those that come back from what is done here."""
    process = os.getpid()
    try:
        yield
    except BaseException as error:
        if os.getpid() != process:
            end_forked(error.__cause__ or error)  # the model's own, where it was given a name
        raise
    if os.getpid() != process:
        end_forked(None)


def end_forked(error: BaseException | None) -> NoReturn:
    """End this child as a script would end by `error`; without one, the model has returned in it.

    It must not go on as its parent: the connections, the state and the files are the parent's.
    """
    code = _FAILED
    with suppress(Exception):
        if isinstance(error, SystemExit):
            code = _exit_code(error)
        elif error is None:
            print(
                "pyboot: a process that the model has forked came back from the model: it ends "
                "here, and should by os._exit",
                file=sys.stderr,
            )
        else:
            traceback.print_exception(error)
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):
            stream.flush()
    os._exit(code)


def _exit_code(error: SystemExit) -> int:
    if error.code is None or isinstance(error.code, int):
        return (error.code or 0) & 0xFF
    print(error.code, file=sys.stderr)
    return _FAILED
