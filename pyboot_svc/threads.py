"""Threads whose names the kernel knows and whose death is noticed."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from pyboot_svc.titles import name_thread


def spawn(
    name: str, run: Callable[[], None], on_crash: Callable[[], None] | None = None
) -> threading.Thread:
    """Start `run` in a thread that `htop` shows as `name`.

    `on_crash` is called when an exception ends it: that is a bug, and the process should end too.
    The thread is a daemon: a model that never returns must not keep the process alive.
    """

    def top() -> None:
        name_thread(name)
        try:
            run()
        except BaseException:
            logging.getLogger(__name__).exception("thread %s: internal error", name)
            if on_crash is not None:
                on_crash()

    thread = threading.Thread(target=top, name=name, daemon=True)
    thread.start()
    return thread
