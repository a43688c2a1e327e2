"""Waiting for something to become true, never for time to pass."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

_INTERVAL_SECONDS = 0.02


def until(condition: Callable[[], T], what: str = "", timeout: float = 20.0) -> T:
    """Call `condition` until it gives something true, and give that; fail after `timeout` s."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout} s: {what or condition} (last: {value!r})")
        time.sleep(_INTERVAL_SECONDS)
