"""One connection to a broker, for ever: opened, served by a thread of its own, opened again."""

from __future__ import annotations

import selectors
import threading
import time
from collections.abc import Callable
from contextlib import closing
from typing import TypeVar

from pyboot_svc.errors import ConfigError
from pyboot_svc.metrics.snapshot import ConnectionStatus
from pyboot_svc.threads import spawn
from pyboot_svc.worker.heartbeat import OPEN_SECONDS, TURN_SECONDS
from pyboot_svc.worker.mqtt.interfaces import Handler
from pyboot_svc.worker.mqtt.link.life import Ending, Life, Terms
from pyboot_svc.worker.mqtt.link.loop import Loop
from pyboot_svc.worker.mqtt.link.opening import Deadline, Resolver
from pyboot_svc.worker.mqtt.link.retries import Retries
from pyboot_svc.worker.mqtt.link.status import StatusReporter, explain

_TRYING_SECONDS = 0.1

T = TypeVar("T")


class Connection:
    """For its owner: keeps one MQTT connection, of which `handler` is told.

    Its thread reads, and writes what it finds. Another that has something to send may `try_send`:
    it then sends it itself, if the first is not at it, which spares a change of threads.
    """

    def __init__(self, terms: Terms, handler: Handler) -> None:
        self._terms = terms
        self._handler = handler
        self._life = Life(StatusReporter(terms.role, terms.broker.address))
        self._resolver = Resolver()
        self._number = 0
        # Files that can't be used are an error right away, and no reason to try again later.
        self._loop = Loop(terms, self._life, self._number, handler)
        self._thread: threading.Thread | None = None

    @property
    def status(self) -> ConnectionStatus:
        return self._life.status.status

    @property
    def overdue(self) -> float:
        """How many seconds ago the thread should have made progress; else negative."""
        return self._life.heartbeat.overdue

    def start(self, on_crash: Callable[[], None]) -> None:
        self._thread = spawn(self._terms.role, self._run, on_crash)

    def wake(self) -> None:
        """Have the loop turn soon; from any thread."""
        self._life.wakeup.call()

    def try_send(self) -> None:
        """Send what there is to send, here and now if that is possible; from any thread."""
        if not self._loop.try_send():
            self._life.wakeup.call()

    def in_turn(self, send: Callable[[T], bool], what: T) -> bool:
        """Have `send` called with `what`, within the connection and here and now, if that is
        possible and nothing else is to be written. Gives what it says; False when it isn't called.
        """
        return self._loop.in_turn(send, what)

    def stop(self, timeout: float, *, end_session: bool = False) -> None:
        """Send what is queued, say goodbye, and end the thread; `timeout` in seconds.

        With `end_session` the broker forgets the session (which takes MQTT 5).
        """
        self._life.end_session = end_session
        self._life.stopping = True
        self.wake()
        if self._thread is not None:
            # One that is just trying to connect has nothing to say: it ends with the process.
            self._thread.join(timeout if self._loop.up else _TRYING_SECONDS)
        else:
            self._life.wakeup.close()

    # The thread:

    def _run(self) -> None:
        with closing(self._life.wakeup):  # also when `stop` has not waited for the end
            self._keep_connected()

    def _keep_connected(self) -> None:
        life, retries = self._life, Retries(self._terms.session.client_id)
        while not life.stopping:
            ending = self._attempt()
            if life.stopping:
                break
            if ending.taken_over:
                life.status.taken_over()
            pause, reason = retries.after(ending)
            life.status.lost(reason, refused=ending.refused and ending.lived >= 0)
            self._pause(pause)

    def _attempt(self) -> Ending:
        """Connect and serve; says how it ended."""
        self._life.heartbeat.beat(OPEN_SECONDS)
        self._life.status.attempt()
        self._number += 1
        deadline = Deadline()
        try:
            # A new one each time: what was in flight is ours to send again, not paho's.
            loop = Loop(self._terms, self._life, self._number, self._handler)
        except ConfigError as error:
            return Ending(error.problems[0].message)
        try:
            sock = loop.open(deadline, self._resolver)
        except Exception as error:  # TCP, TLS and WebSocket fail in many ways
            loop.ending.reason = explain(error, self._terms.broker.host)
            return loop.ending
        self._loop = loop
        loop.run(sock, deadline)
        return loop.ending

    def _pause(self, seconds: float) -> None:
        life = self._life
        life.heartbeat.beat(seconds + TURN_SECONDS)
        deadline = time.monotonic() + seconds
        with selectors.DefaultSelector() as selector:
            selector.register(life.wakeup, selectors.EVENT_READ)
            while not life.stopping and (left := deadline - time.monotonic()) > 0:
                if selector.select(left):
                    life.wakeup.answer()
