"""Tells a broker that the connection lives."""

from __future__ import annotations

import time
from collections.abc import Callable

from pyboot_svc.worker.mqtt.link.movement import MOVING_SECONDS, Movement
from pyboot_svc.worker.mqtt.link.paho_client import ControlClient
from pyboot_svc.worker.mqtt.wire.plane import DataPlane

_TICK_SECONDS = 1.0
# Of the interval that was agreed on: brokers wait for half of it more.
_LATE_SHARE = 1 / 30


class KeepAlive:
    """paho sees to it, and ends a connection whose broker doesn't answer in time.

    While its owner is full, nothing is read, no answer either: then only the signs of life go out.
    And paho sees whole packets only: on a slow link an answer comes behind a large message, or the
    ping itself does, and that the message moves shows that the connection lives.
    """

    def __init__(self, client: ControlClient, plane: DataPlane, moved: Callable[[], int]) -> None:
        """`moved` counts the bytes that came and went."""
        self._client = client
        self._plane = plane
        self._moved = moved
        self._movement = Movement()
        self._behind = False
        self._next_tick = self._next_ping = 0.0
        # When no answer was missing, or none could be read.
        self._waits_since = 0.0

    @property
    def patience(self) -> float:
        """How many seconds may pass between two turns."""
        return max(_TICK_SECONDS, self._client.keepalive * _LATE_SHARE)

    def tick(self, *, full: bool) -> None:
        """At each turn, while the connection is up."""
        now = time.monotonic()
        # Afterwards, an answer stands behind all that the broker had sent before.
        self._behind = full or (self._behind and self._plane.full)
        if self._behind:
            self._waits_since = now
            if now >= self._next_ping:
                self._plane.ping()
                self._next_ping = now + self._client.keepalive / 2
        elif now >= self._next_tick:
            if self._moves(now):
                self._client.excuse()
            self._client.keep_alive()
            self._next_tick = now + _TICK_SECONDS

    def _moves(self, now: float) -> bool:
        """Whether something does that the answer to a ping may be behind, and not for too long."""
        if not self._client.pinged:
            self._movement.forget()
            self._waits_since = now
            return False
        return self._movement.seen(self._moved()) and now < self._waits_since + MOVING_SECONDS
