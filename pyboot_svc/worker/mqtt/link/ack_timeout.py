"""How long a broker that keeps the connection may leave a SUBSCRIBE or a PUBLISH unanswered."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable

from pyboot_svc.worker.mqtt.link.movement import MOVING_SECONDS, Movement

ANSWER_SECONDS = 25.0
_TICK_SECONDS = 1.0
# A process that was stopped meanwhile has not waited.
_LONGEST_TICK_SECONDS = 2.0


class AckTimeout:
    """Over all connections of one link: `doubt` is why the last one was given up, until it is seen
    that the broker answers again."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.doubt = ""
        # Whether one was left without an answer though others got theirs since the last doubt.
        self.selective = False
        self._doubted = False
        self._clock = clock
        self._movement = Movement()
        self.connected()

    def connected(self) -> None:
        # SUBSCRIBEs without an answer.
        self._asked = 0
        self._head: Hashable = None
        self._waited = self._still = self._idle = 0.0
        self._ticked = self._clock()
        self._movement.forget()

    def subscribing(self) -> None:
        self._asked += 1

    def subscribed(self) -> None:
        """One of them is answered; the next one may take as long."""
        self._asked -= 1
        self._waited = self._still = 0.0
        self.answered()

    def answered(self) -> None:
        """The broker answers, which takes no doubt from a SUBSCRIBE that it leaves out."""
        if not self._asked:
            self.doubt = ""

    def tick(self, head: Hashable, moved: Callable[[], int], *, busy: bool) -> bool:
        """At each turn; True when the patience is at its end.

        `head` stands for the oldest message in flight, None without any; `moved` counts the bytes
        that came and went. While its owner is `busy`, nothing is read, no answer either.
        """
        now = self._clock()
        if now < self._ticked + _TICK_SECONDS:
            return False
        passed = min(now - self._ticked, _LONGEST_TICK_SECONDS)
        self._ticked = now
        waits = self._asked > 0 or (head is not None and head == self._head)
        self._head = head
        if busy or not waits:
            self._waited = self._still = 0.0
            self._movement.forget()
            self._grow_confident(passed if head is None else 0.0)
            return False
        self._idle = 0.0
        self._waited += passed
        self._still = 0.0 if self._movement.seen(moved()) else self._still + passed
        ends = self._still >= ANSWER_SECONDS or self._waited >= MOVING_SECONDS
        if ends or (self._asked and self._waited >= ANSWER_SECONDS):
            self.selective = self._doubted and not self.doubt
            self._doubted = True
            packet = "SUBSCRIBE" if self._asked else "PUBLISH"
            self.doubt = f"no answer to {packet} within {_last_step(self._waited):.0f} s"
        return ends

    def _grow_confident(self, seconds: float) -> None:
        """With nothing left to answer nobody can tell: then the doubt passes."""
        self._idle = self._idle + seconds if seconds else 0.0
        if self._idle >= ANSWER_SECONDS:
            self.doubt = ""


def _last_step(waited: float) -> float:
    """So that the same trouble is said in the same words."""
    return MOVING_SECONDS if waited >= MOVING_SECONDS else ANSWER_SECONDS
