"""Threads that wait for something."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any


def waiting_threads(count: int, wait: Callable[[], Any]) -> tuple[list[Any], Callable[[], None]]:
    """Start threads that call `wait`; what they came back with, and a function that joins them."""
    returned: list[Any] = []
    threads = [
        threading.Thread(target=lambda: returned.append(wait()), daemon=True) for _ in range(count)
    ]
    for thread in threads:
        thread.start()

    def join() -> None:
        for thread in threads:
            thread.join(20)
            assert not thread.is_alive(), "still waits"

    threads[0].join(0.1)
    assert returned == [], "didn't wait"
    return returned, join
