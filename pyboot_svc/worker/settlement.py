"""Acknowledges inputs in order of arrival, whatever the order in which they were finished."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from pyboot_svc.worker.message import Message


class Settlement:
    """Holds every admitted message of QoS 1 and 2 until it and all before it are settled."""

    def __init__(self, acknowledge: Callable[[list[Message]], None]) -> None:
        self._acknowledge = acknowledge
        self._open: deque[Message] = deque()
        self._lock = threading.Lock()

    def admit(self, batch: list[Message]) -> None:
        held = [message for message in batch if message.qos > 0]
        if held:
            with self._lock:
                self._open.extend(held)

    def hold(self, messages: list[Message]) -> None:
        """One more thing has to come true before these are settled."""
        with self._lock:
            for message in messages:
                message.holds += 1

    def settle(self, messages: list[Message]) -> None:
        """One thing that each of these was held for has come true."""
        with self._lock:
            if not self._open:
                return  # they are of QoS 0
            for message in messages:
                message.holds -= 1
            finished: list[Message] = []
            open_ = self._open
            while open_ and open_[0].holds <= 0:
                finished.append(open_.popleft())
            # Inside the lock: two threads must not hand their acknowledgements over in turn.
            if finished:
                self._acknowledge(finished)

    def depth(self) -> int:
        with self._lock:
            return len(self._open)
