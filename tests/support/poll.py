"""Waiting for something to become true, never for time to pass."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

# Of what has been waited for, so that what takes long isn't asked for all the time.
_PAUSE = 0.05
_LEAST_PAUSE_SECONDS = 0.02
_MOST_PAUSE_SECONDS = 0.5


def until(condition: Callable[[], T], what: str = "", timeout: float = 20.0) -> T:
    """Call `condition` until it gives something true, and give that; fail after `timeout` s.

    What is missing in a document may still come: the master's row of an instance has no figures
    while the worker, on a busy host, is slow to answer.
    """
    began = time.monotonic()
    while True:
        asked = time.monotonic()
        value: T | None = None
        missing: KeyError | None = None
        try:
            value = condition()
        except KeyError as error:
            missing = error
        if value:
            return value
        answered = time.monotonic()
        if answered > began + timeout:
            if missing is not None:
                raise missing
            raise AssertionError(f"not within {timeout} s: {what or condition} (last: {value!r})")
        # An answer that costs a command leaves the host to others for as long.
        pause = max(_PAUSE * (answered - began), answered - asked, _LEAST_PAUSE_SECONDS)
        time.sleep(min(pause, _MOST_PAUSE_SECONDS))
