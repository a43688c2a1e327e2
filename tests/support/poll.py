"""Waiting for something to become true, never for time to pass."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

_INTERVAL_SECONDS = 0.02


def until(condition: Callable[[], T], what: str = "", timeout: float = 20.0) -> T:
    """Call `condition` until it gives something true, and give that; fail after `timeout` s.

    What is missing in a document may still come: the master's row of an instance has no figures
    while the worker, on a busy host, is slow to answer.
    """
    deadline = time.monotonic() + timeout
    while True:
        value: T | None = None
        missing: KeyError | None = None
        try:
            value = condition()
        except KeyError as error:
            missing = error
        if value:
            return value
        if time.monotonic() > deadline:
            if missing is not None:
                raise missing
            raise AssertionError(f"not within {timeout} s: {what or condition} (last: {value!r})")
        time.sleep(_INTERVAL_SECONDS)
