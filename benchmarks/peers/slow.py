"""Models that cost something, for pyboot alone: they show how it scales."""

from __future__ import annotations

import time


def busy(payload: bytes) -> bytes:
    """1 ms of CPU."""
    end = time.thread_time() + 0.001
    while time.thread_time() < end:
        pass
    return payload


def waits(payload: bytes) -> bytes:
    """10 ms of nothing, as for a device or a database."""
    time.sleep(0.01)
    return payload
