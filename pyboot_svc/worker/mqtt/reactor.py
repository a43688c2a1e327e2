"""A model thread that has nothing to compute serves the connections itself: leader/followers.

What comes is then read, computed and sent by one thread, without a change of threads on the way.
The connections' own threads follow: each looks now and then whether the leader makes progress, and
goes on by itself while the leader is busy with a long call, or stuck in one.
"""

from __future__ import annotations

import select
import threading
from collections.abc import Callable
from contextlib import suppress
from time import monotonic, sleep
from typing import Protocol

from pyboot_svc.wakeup import Wakeup
from pyboot_svc.worker.mqtt.link.linger import Linger

# A leader that was away for so long is busy: connections serve themselves.
QUICK_SECONDS = 0.1
TICK_SECONDS = 1.0
# Nor are they left alone for longer than that; nor, between these, for longer than it takes for so
# many messages to come: half of what brokers commonly keep for a client that doesn't read.
_LONGEST_LOOK_SECONDS = 2.0
_MOST_UNSEEN = 500
# Two connections and the wake-up; without it Python makes room for a thousand each time.
_MOST_READY = 3


class Pollable(Protocol):
    """A connection, as the reactor sees it."""

    def serve(self) -> tuple[int, bool]:
        """Read, hand on, and write, in the caller's thread.

        Gives how many messages came, and whether there were more than a read can take.
        """

    def take_over(self) -> None:
        """Nobody leads now."""


class Reactor:
    """Waits for all connections that have joined. One thread leads; the others join and leave."""

    def __init__(self, max_linger_us: int) -> None:
        self._epoll = select.epoll()
        self._poll = self._epoll.poll
        self._wakeup = Wakeup()
        self._epoll.register(self._wakeup, select.EPOLLIN)
        self._connections: dict[int, Pollable] = {}
        self._changing = threading.Lock()
        self._linger = Linger(max_linger_us)
        # Whether a thread waits here: then `wake` it when there is something to compute.
        self.waiting = False
        self._seen = float("-inf")

    def join(self, descriptor: int, connection: Pollable) -> None:
        """Serve this one, too, from now on."""
        with self._changing:
            self._connections[descriptor] = connection
            self._epoll.register(descriptor, select.EPOLLIN)

    def leave(self, descriptor: int) -> None:
        """To be called before the descriptor is closed; one that has not joined may leave."""
        with self._changing:
            if self._connections.pop(descriptor, None) is not None:
                with suppress(OSError):  # paho has closed it
                    self._epoll.unregister(descriptor)

    @property
    def is_active(self) -> bool:
        """Whether it waits for the connections, or did a moment ago."""
        return self.waiting or monotonic() - self._seen < QUICK_SECONDS

    @property
    def look_seconds(self) -> float:
        """How long a connection may leave it alone: the longer, the less comes in a second."""
        seconds = _MOST_UNSEEN / max(self._linger.rate, 1.0)
        return min(max(seconds, QUICK_SECONDS), _LONGEST_LOOK_SECONDS)

    def poll_once(self, busy: Callable[[], bool]) -> bool:
        """Wait for something, and take it in; False when there is no connection to wait for, or no
        time to: when `busy`, which is asked after the point from which on `wake` is heard.
        """
        if not self._connections:
            return False
        linger = self._linger
        self.waiting = True
        try:
            if busy():
                return False
            if linger.active and (seconds := linger.seconds()):
                sleep(seconds)
            began = monotonic()
            ready = self._poll(TICK_SECONDS, _MOST_READY)
        finally:
            self._seen = now = monotonic()
            self.waiting = False
        count, full = 0, False
        for descriptor, _ in ready:
            connection = self._connections.get(descriptor)
            if connection is not None:
                came, more = connection.serve()
                count += came
                full |= more
            elif descriptor == self._wakeup.fileno():
                self._wakeup.answer()
        linger.arrivals += count
        linger.waited += now - began
        if now >= linger.due:
            linger.note(now, count, full)
        return True

    def wake(self) -> None:
        """There is something to compute; from any thread."""
        self._wakeup.call()

    def step_aside(self) -> None:
        """Who has led waits for something else, or works for long: each serves itself."""
        self._seen = float("-inf")
        with self._changing:
            connections = list(self._connections.values())
        for connection in connections:
            connection.take_over()

    def close(self) -> None:
        """When the last thread that led has ended."""
        self._wakeup.close()
        self._epoll.close()
