"""Threads whose names the kernel knows and whose death is noticed; and those of a model."""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn

from pyboot_svc.errors import ExitCode
from pyboot_svc.titles import name_thread


def end_process() -> None:
    """As a crash does, for which everything is prepared: half a process is worse than none."""
    logging.shutdown()
    os._exit(ExitCode.INTERNAL)


def leave(code: int) -> NoReturn:
    """End the process at the end of its work, whatever threads a model has left behind: Python
    would wait for them."""
    main = threading.main_thread()
    if not any(one is not main and not one.daemon for one in threading.enumerate()):
        sys.exit(code)
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):
            stream.flush()
    os._exit(code)


def spawn(
    name: str, run: Callable[[], None], on_crash: Callable[[], None] = end_process
) -> threading.Thread:
    """Start `run` in a thread that `htop` shows as `name`.

    `on_crash` is called when an exception ends it: that is a bug, and ends the process, too, unless
    its owner has a better way to do that.
    The thread is a daemon: a model that never returns must not keep the process alive.
    """

    def top() -> None:
        name_thread(name)
        try:
            run()
        except BaseException:
            logging.getLogger(__name__).exception("thread %s: internal error", name)
            on_crash()

    thread = threading.Thread(target=top, name=name, daemon=True)
    thread.start()
    return thread
