"""Processes that know passwords leave none behind, and show none to others of their user."""

from __future__ import annotations

import resource
from contextlib import suppress

# From <sys/prctl.h>.
_PR_SET_DUMPABLE = 4


def refuse_dumps() -> None:
    """From here on the kernel writes no core dump of this process, whatever kills it, and lets
    nobody but root attach to it or read its memory.

    A core limit of 0 is not enough where a program takes the dumps, as Ubuntu's apport does. What
    the process reads of itself in /proc stays readable, except `environ`, `io` and `comm`.
    """
    _, most = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, most))
    # A Python that was built without ctypes works on.
    with suppress(ImportError, OSError, AttributeError):
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
