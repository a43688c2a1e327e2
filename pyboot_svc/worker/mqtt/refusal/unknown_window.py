"""How many messages of QoS 2 a broker takes at once, when it can't say so: by MQTT 3.1.1."""

from __future__ import annotations

import logging

# mosquitto ends the connection of who sends more than its `max_inflight_messages`: 20, unless it
# is told otherwise.
_USUAL = 20
_TRUSTED_WINDOWS = 10

log = logging.getLogger(__name__)


class UnknownWindow:
    """Is halved when a connection is lost with it full, before ten times as many were answered:
    a broker that restarts amid traffic mostly had time for more."""

    def __init__(self) -> None:
        self.size = _USUAL
        self._answered = 0

    def answered(self, count: int) -> None:
        self._answered += count

    def lost(self, in_flight: int) -> None:
        """`in_flight` messages were, when the connection was lost."""
        full = in_flight >= self.size > 1
        if full and self._answered < self.size * _TRUSTED_WINDOWS:
            self.size //= 2
            log.warning(
                "the post broker may take fewer than %d messages of QoS 2 at once: %d from now on "
                "(mosquitto: `max_inflight_messages`)",
                in_flight,
                self.size,
            )
        self._answered = 0
