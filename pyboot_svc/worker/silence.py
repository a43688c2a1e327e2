"""Speaks of what fails without an error: nothing comes in, or nothing comes out."""

from __future__ import annotations

from pyboot_svc.metrics.snapshot import Counters
from pyboot_svc.worker.notices import Notices

_QUIET_SECONDS = 60.0
_MANY_RESULTS = 100


class Silence:
    """To be looked at about once a second, until it `is_over`: a result has come."""

    def __init__(self, topic: str) -> None:
        self._notices = Notices()
        self._topic = topic
        self._subscribed_at: float | None = None
        self.is_over = False

    def look(self, now: float, *, subscribed: bool, counters: Counters) -> None:
        """By the monotonic clock."""
        if self._subscribed_at is None and subscribed:
            self._subscribed_at = now
        quiet = self._subscribed_at is not None and now - self._subscribed_at >= _QUIET_SECONDS
        self._notices.show(
            "input",
            f"no message on {self._topic} yet: is it the topic that is published to, to the letter?"
            if quiet and not counters.received
            else "",
        )
        nothing = counters.nothing_to_publish
        self._notices.show(
            "results",
            f"the first {_MANY_RESULTS} results were None: is a `return` missing?"
            if nothing >= _MANY_RESULTS and nothing == counters.processed
            else "",
        )
        self.is_over = counters.processed > nothing or counters.published > 0

    @property
    def texts(self) -> list[str]:
        return self._notices.texts
