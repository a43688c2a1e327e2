"""Tells a broker that the connection lives."""

from __future__ import annotations

import time

from pyboot_svc.worker.mqtt.link.paho_client import ControlClient
from pyboot_svc.worker.mqtt.wire.plane import DataPlane

_TICK_SECONDS = 1.0
# Of the interval that was agreed on: brokers wait for half of it more.
_LATE_SHARE = 1 / 30


class KeepAlive:
    """paho sees to it, and ends a connection whose broker doesn't answer in time.

    While its owner is full, nothing is read, no answer either: then only the signs of life go out.
    """

    def __init__(self, client: ControlClient, plane: DataPlane) -> None:
        self._client = client
        self._plane = plane
        self._behind = False
        self._next_tick = self._next_ping = 0.0

    @property
    def patience(self) -> float:
        """How many seconds may pass between two turns."""
        return max(_TICK_SECONDS, self._client.keepalive * _LATE_SHARE)

    def tick(self, *, full: bool) -> None:
        """At each turn, while the connection is up."""
        now = time.monotonic()
        # Afterwards, an answer stands behind all that the broker had sent before.
        self._behind = full or (self._behind and self._plane.full)
        if self._behind and now >= self._next_ping:
            self._plane.ping()
            self._next_ping = now + self._client.keepalive / 2
        elif not self._behind and now >= self._next_tick:
            self._client.keep_alive()
            self._next_tick = now + _TICK_SECONDS
