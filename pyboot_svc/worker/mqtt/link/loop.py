"""One connection, from the attempt to open it to its end: it waits, reads and writes."""

from __future__ import annotations

import os
import select
import socket
import threading
import time
from collections.abc import Callable
from contextlib import closing, suppress
from typing import Any, TypeVar

from pyboot_svc.worker.heartbeat import TURN_SECONDS
from pyboot_svc.worker.mqtt.interfaces import BrokerLimits, Handler
from pyboot_svc.worker.mqtt.link.keepalive import KeepAlive
from pyboot_svc.worker.mqtt.link.life import Ending, Life, Terms
from pyboot_svc.worker.mqtt.link.movement import bytes_moved
from pyboot_svc.worker.mqtt.link.opening import Deadline, Resolver
from pyboot_svc.worker.mqtt.link.paho_client import HINT, LIFELESS, ControlClient, loss
from pyboot_svc.worker.mqtt.link.status import explain
from pyboot_svc.worker.mqtt.link.waiting import Waiting
from pyboot_svc.worker.mqtt.reactor import QUICK_SECONDS, Reactor
from pyboot_svc.worker.mqtt.wire.bulk_plane import BulkPlane
from pyboot_svc.worker.mqtt.wire.errors import Broken, Malformed
from pyboot_svc.worker.mqtt.wire.plain_plane import PlainPlane
from pyboot_svc.worker.mqtt.wire.plane import DataPlane, NoPlane
from pyboot_svc.worker.mqtt.wire.tls_errors import is_of_tls

TICK_SECONDS = 1.0
# How soon an owner that was full is asked again.
_FULL_SECONDS = 0.02
_FAREWELL_SECONDS = 1.0
_WRITING_SECONDS = 0.1
_READ_BYTES = 65_536

T = TypeVar("T")


class Loop:
    """Calls `handler`, one call at a time, and is the `Link` that the handler is given.

    Its own thread is in `run`. Others may `try_send`, if that one is not at it, and a reactor
    `serve`: what they find to be more than they can do, they leave to `run`.
    """

    def __init__(self, terms: Terms, life: Life, number: int, handler: Handler) -> None:
        """Raises ConfigError for files that can't be used."""
        self._terms = terms
        self._life = life
        self._number = number
        self._handler = handler
        self._client = ControlClient(terms.role, terms.broker, terms.session, self)
        self.plane: DataPlane = NoPlane()
        self.ending = Ending()
        # From the broker's CONNACK until it is closed, and until it is known to be lost.
        self.up = self.alive = False
        self._up_since = 0.0
        self._answers = 0
        self._descriptor = -1
        self._broken = False
        # Held by whoever uses the plane; `run` lets go of it while it waits.
        self._turning = threading.Lock()

    def open(self, deadline: Deadline, resolver: Resolver) -> Any:
        """Gives the socket; raises what TCP, TLS and WebSocket raise."""
        return self._client.connect(deadline, resolver)

    def run(self, sock: Any, deadline: Deadline) -> None:
        """Until the connection is lost or to be stopped."""
        options, life = self._terms.options, self._life
        self._descriptor = sock.fileno()
        try:
            with self._turning:
                plane = BulkPlane if options.bulk else PlainPlane
                self.plane = plane(self._client, sock, self._number, self._handler, options.results)
                waiting = Waiting(sock, life.wakeup, self._turning, options.max_linger_us)
                with closing(waiting):
                    self._turn_until_the_end(waiting, deadline)
                    if options.reactor is not None:
                        options.reactor.leave(self._descriptor)
                    if life.stopping:
                        self._say_goodbye()
                self._close(sock)
        finally:
            _close_quietly(sock)  # also when a handler fails

    def try_send(self) -> bool:
        """Send what takes no disk, here and now; False when that, or more, is left to `run`."""
        if not self._turning.acquire(blocking=False):
            return False
        try:
            if not self.alive:
                return False
            handler, plane = self._handler, self.plane
            handler.on_try_send()
            if plane.wants_write:
                try:
                    plane.write()
                except Broken as error:
                    self._fail(error)
                if plane.wants_write or not self.alive:
                    return False
            # What was written may have made room for it.
            return not (handler.waiting and handler.wants_turn())
        finally:
            self._turning.release()

    def in_turn(self, send: Callable[[T], bool], what: T) -> bool:
        """Have the owner `send` something, here and now, while nothing else is to be written. Gives
        what that says; False when it can't be called."""
        if not self._turning.acquire(blocking=False):
            return False
        try:
            return self.alive and not self.plane.wants_write and send(what)
        except Broken as error:
            self._fail(error)
            return False
        finally:
            self._turning.release()

    def serve(self) -> tuple[int, bool]:
        """Take in what came, and send what can be sent without the disk: for a reactor."""
        with self._turning:
            if not self.alive:
                return 0, False
            plane, count = self.plane, 0
            try:
                count = plane.read()
                if plane.pending is not None:
                    while self.alive and plane.pending() > 0:
                        count += plane.read()
            except Broken as error:
                self._fail(error)
            more = plane.wants_write or self._handler.waiting or not self.alive
        if more and not self.try_send():
            self._life.wakeup.call()
        return count, plane.full

    def take_over(self) -> None:
        self._life.wakeup.call()

    # What the handler may do, from within its calls:

    def subscribe(self, topic_filter: str, qos: int) -> None:
        self._life.ack_timeout.subscribing()
        self._client.subscribe(topic_filter, qos)

    def unsubscribe(self, topic_filter: str) -> None:
        self._client.unsubscribe(topic_filter)

    def drop(self, reason: str, *, refused: bool = False) -> None:
        self.alive = False
        self.ending.refused |= refused
        self.ending.reason = self.ending.reason or reason

    def hurry(self) -> None:
        self.ending.hurry = True

    @property
    def farewell(self) -> str:
        return self._client.farewell

    @property
    def too_large(self) -> bool:
        return self._client.too_large

    @property
    def silent(self) -> bool:
        doubt = self._life.ack_timeout.doubt
        return bool(doubt) and self.ending.reason == doubt

    @property
    def selective(self) -> bool:
        return self._life.ack_timeout.selective

    @property
    def lifeless(self) -> bool:
        return self.ending.reason == LIFELESS

    # What the client tells, from within the plane's `read` and `write`:

    def on_connected(self, session_present: bool, limits: BrokerLimits) -> None:
        life, reactor = self._life, self._terms.options.reactor
        self.up = self.alive = True
        self._up_since = time.monotonic()
        life.status.connected(life.ack_timeout.doubt)
        life.ack_timeout.connected()
        if reactor is not None:
            reactor.join(self._descriptor, self)
        self._handler.on_connected(self, session_present, limits)

    def on_subscribed(self, topic_filter: str, code: int, reason: str) -> None:
        self._life.ack_timeout.subscribed()
        self._handler.on_subscribed(topic_filter, code, reason)

    def on_unsubscribed(self) -> None:
        self._handler.on_unsubscribed()

    def on_ended(self, reason: str, *, taken_over: bool = False, refused: bool = False) -> None:
        self.ending.taken_over |= taken_over
        self.drop(reason, refused=refused)

    # The thread that runs it:

    def _turn_until_the_end(self, waiting: Waiting, deadline: Deadline) -> None:
        plane, handler, life = self.plane, self._handler, self._life
        keep_alive = KeepAlive(self._client, plane, self._bytes_moved)
        while not self.ending.reason and not life.stopping:
            life.heartbeat.beat(TURN_SECONDS)
            reactor = self._active_reactor()
            full = self.up and handler.full
            buffered = not full and plane.pending is not None and plane.pending() > 0
            seconds = _FULL_SECONDS if full else TICK_SECONDS
            if reactor is not None:
                seconds = min(reactor.look_seconds, keep_alive.patience)
                if plane.in_flight:  # an answer may make room for what waits
                    seconds = min(seconds, QUICK_SECONDS)
            if buffered or (self.up and handler.waiting and handler.wants_turn()):
                seconds = 0.0
            elif not self.up:
                seconds = min(seconds, deadline.left)
            to_read = not full and reactor is None
            readable = waiting.wait(seconds, to_read=to_read, to_write=plane.wants_write)
            if self.ending.reason:
                return  # the reactor's thread found it so
            if readable or buffered:
                waiting.have_read(self._read(), full=plane.full)
            if self.alive:
                handler.on_turn()
            self._write()
            if self.up:
                keep_alive.tick(full=full)
                self._look_for_answers(full)
            elif not deadline.left:
                self.drop(str(deadline.no_answer("CONNECT", HINT)))

    def _active_reactor(self) -> Reactor | None:
        """While it makes progress, it reads, and this thread looks after the rest."""
        reactor = self._terms.options.reactor
        return reactor if self.up and reactor is not None and reactor.is_active else None

    def _look_for_answers(self, full: bool) -> None:
        timeout, oldest = self._life.ack_timeout, self.plane.oldest
        self._note_answers()
        if timeout.tick(oldest, self._bytes_moved, busy=full):
            self.drop(timeout.doubt)
        else:
            self._life.status.doubt(timeout.doubt)

    def _bytes_moved(self) -> int:
        return bytes_moved(self._descriptor)

    def _note_answers(self) -> None:
        if self.plane.answers != self._answers:
            self._answers = self.plane.answers
            if self._life.ack_timeout.doubt:
                self._life.ack_timeout.answered()

    def _read(self) -> int:
        try:
            return self.plane.read()
        except Broken as error:
            self._fail(error)
            return 0

    def _write(self) -> None:
        if self.plane.wants_write:
            try:
                self.plane.write()
            except Broken as error:
                self._fail(error)

    def _fail(self, broken: Broken) -> None:
        self._broken = True
        error = broken.__cause__
        if is_of_tls(error):
            self.drop(explain(error, self._terms.broker.host))
        elif error is None or isinstance(error, OSError):
            self.drop(loss(self.up))
        elif isinstance(error, Malformed):
            self.drop(f"what arrived is not MQTT: {error}")
        else:  # parsers raise whatever they stumbled over
            self.drop(f"what arrived is not MQTT ({type(error).__name__}): {HINT}")

    def _say_goodbye(self) -> None:
        if not self.alive:
            return
        deadline = time.monotonic() + _FAREWELL_SECONDS
        # A second one, since paho closes its own when it has written DISCONNECT.
        with socket.socket(fileno=os.dup(self._descriptor)) as tcp:
            self._handler.on_turn()
            self._client.disconnect(end_session=self._life.end_session)
            while not self._broken and self.plane.wants_write and time.monotonic() < deadline:
                self._write()
                if self.plane.wants_write:
                    select.select([], [tcp], [], _WRITING_SECONDS)
            _await_close(tcp, deadline)

    def _close(self, sock: Any) -> None:
        _close_quietly(sock)
        self._note_answers()
        ending = self.ending
        ending.reason = ending.reason or loss(up=True)
        if self.up:
            self.up = self.alive = False
            ending.unanswered = self._client.unanswered
            ending.lived = time.monotonic() - self._up_since
            known = self._handler.on_lost(self.plane.unsafe())
            if known is not None:
                ending.reason = f"{ending.reason}: {known}"
        elif ending.reason == loss(up=False):
            self._client.turned_away()
        self.plane = NoPlane()


def _await_close(tcp: socket.socket, deadline: float) -> None:
    """Read on until the broker closes, too: to close with something unread is a reset, which may
    throw away at the broker what was just sent to it, the DISCONNECT included."""
    with suppress(OSError):  # it is lost already
        tcp.shutdown(socket.SHUT_WR)
        while (left := deadline - time.monotonic()) > 0:
            if not select.select([tcp], [], [], left)[0] or not tcp.recv(_READ_BYTES):
                return


def _close_quietly(sock: Any) -> None:
    with suppress(OSError):  # it is lost either way
        sock.close()
