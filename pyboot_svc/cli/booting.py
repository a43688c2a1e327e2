"""What `up` and `master` share: the starters, brought up with the settings of the command line."""

from __future__ import annotations

import faulthandler
from collections.abc import Callable

from pyboot_svc.errors import ExitCode
from pyboot_svc.logs import configure_logging
from pyboot_svc.starter import Boot, Settings, Starter, StarterContext


def boot(
    settings: Settings, *more: Starter, hung_up: Callable[[], bool] = lambda: False
) -> ExitCode:
    """`more` are starters of this command alone; `hung_up` says that the terminal has gone."""
    # The web's libraries come with them: not for `--help`.
    from pyboot_svc.starter.builtin import builtin_starters
    from pyboot_svc.starter.registry import registered_starters

    # What watchdogs send: every thread's stack, written even while the GIL is held.
    faulthandler.enable()
    configure_logging(settings.log_format, settings.log_level)
    starters = [*builtin_starters(), *registered_starters(), *more]
    return Boot(starters, StarterContext(settings), hung_up).run()
