"""What `up` and `master` share: the starters, and signals until these are there for them."""

from __future__ import annotations

import faulthandler
import signal

from pyboot_svc.logs import configure_logging
from pyboot_svc.starter import Starter
from pyboot_svc.starter.boot import SIGNALS


def make_starters(log_format: str, log_level: str, *more: Starter) -> list[Starter]:
    """Of which `more` are this command's alone. They may log from here on."""
    # The web's libraries come with them: not for `--help`.
    from pyboot_svc.starter.builtin import builtin_starters
    from pyboot_svc.starter.registry import registered_starters

    # What watchdogs send: every thread's stack, written even while the GIL is held.
    faulthandler.enable()
    configure_logging(log_format, log_level)
    return [*builtin_starters(), *registered_starters(), *more]


def hold_signals() -> None:
    """Until `Boot` is there for them: what has to be cleared up can be made meanwhile."""
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
