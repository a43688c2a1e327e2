"""One connection to a broker, for ever: opened, served by a thread of its own, opened again."""

from __future__ import annotations

import math
import select
import selectors
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from pyboot_svc.backoff import Backoff
from pyboot_svc.config import Broker
from pyboot_svc.errors import ConfigError
from pyboot_svc.metrics.snapshot import ConnectionStatus
from pyboot_svc.threads import spawn
from pyboot_svc.wakeup import Wakeup
from pyboot_svc.worker.heartbeat import OPEN_SECONDS, TURN_SECONDS, Heartbeat
from pyboot_svc.worker.messages import ResultBatch, StoredMessage, count_of
from pyboot_svc.worker.mqtt.interfaces import BrokerLimits, Handler, Session
from pyboot_svc.worker.mqtt.link.ack_timeout import AckTimeout, bytes_moved
from pyboot_svc.worker.mqtt.link.keepalive import KeepAlive
from pyboot_svc.worker.mqtt.link.linger import Linger
from pyboot_svc.worker.mqtt.link.opening import Deadline, Resolver
from pyboot_svc.worker.mqtt.link.paho_client import HINT, ControlClient, loss
from pyboot_svc.worker.mqtt.link.status import (
    StatusReporter,
    explain,
)
from pyboot_svc.worker.mqtt.reactor import Reactor
from pyboot_svc.worker.mqtt.wire.bulk_plane import BulkPlane
from pyboot_svc.worker.mqtt.wire.decoder import Malformed
from pyboot_svc.worker.mqtt.wire.plain_plane import PlainPlane
from pyboot_svc.worker.mqtt.wire.plane import (
    DataPlane,
    NoPlane,
)

_READ = selectors.EVENT_READ
_FIRST_RETRY, _LAST_RETRY = 0.5, 30.0
# A broker that comes back within the first minutes is found within so many seconds.
_EAGER_RETRY, _EAGER_SECONDS = 4.0, 300.0
# A connection that was up for so long starts the backoff anew. Two clients of one id throw each
# other out, and most brokers don't tell them: they must not do it ever faster.
_STABLE_SECONDS = 60.0
# A message that the broker hangs up on has been found by then.
_MOST_SHORT_LIVES = 4
_TICK_SECONDS = 1.0
# How soon an owner that was full is asked again.
_FULL_SECONDS = 0.02
_FAREWELL_SECONDS = 1.0
_TRYING_SECONDS = 0.1
_TAKEN_OVER_SECONDS = 60.0


@dataclass(frozen=True)
class TransportOptions:
    """How a connection carries messages: in bulk or not, how long a read may wait for more, and
    who serves it beside its own thread."""

    bulk: bool
    max_linger_us: int
    leader: Reactor | None = None


class Connection:
    """Keeps one MQTT connection and calls `handler`, one call at a time.

    A thread reads, and writes what it finds. Another that has something to send may `try_send`: it
    then sends it itself, if the first is not at it, which spares a change of threads. While a
    leader makes progress, it reads, and the thread looks after the rest.
    """

    def __init__(
        self,
        role: str,
        broker: Broker,
        session: Session,
        carriage: TransportOptions,
        handler: Handler,
    ) -> None:
        self._role = role
        self._broker = broker
        self._session = session
        self._carriage = carriage
        self._handler = handler
        self._link = StatusReporter(role, broker.address)
        self._patience = AckTimeout()
        self._wakeup = Wakeup()
        self._stopping = False
        self._end_session = False
        self._thread: threading.Thread | None = None
        self._heartbeat = Heartbeat()
        self._number = 0
        self._resolver = Resolver()
        # Files that can't be used are an error right away, and no reason to try again later.
        self._client = ControlClient(role, broker, session, self)
        self._plane: DataPlane = NoPlane()
        self._descriptor = -1
        # Held by whoever uses the plane; the loop lets go of it while it waits.
        self._turning = threading.Lock()
        self._up = False
        self._up_since = math.inf
        self._lost: str | None = None
        self._rest = 0.0
        self._refused = False
        self._hurry = False

    @property
    def status(self) -> ConnectionStatus:
        return self._link.status

    @property
    def overdue(self) -> float:
        """How many seconds ago the thread should have made progress; else negative."""
        return self._heartbeat.overdue

    @property
    def in_flight(self) -> int:
        return self._plane.in_flight

    def start(self, on_crash: Callable[[], None]) -> None:
        self._thread = spawn(self._role, self._run, on_crash)

    def wake(self) -> None:
        """Have the loop turn soon; from any thread."""
        self._wakeup.call()

    def try_send(self) -> None:
        """Send what there is to send, here and now if that is possible; from any thread."""
        if self._up and self._turning.acquire(False):
            try:
                done = self._send_now()
            finally:
                self._turning.release()
            if done:
                return
        self.wake()

    def serve(self) -> tuple[int, bool]:
        """Take in what came, and send what can be sent without the disk: for a leader."""
        with self._turning:
            if not self._up or self._lost is not None:
                return 0, False
            plane = self._plane
            count = self._read()[0]
            while plane.buffered and self._lost is None:
                count += self._read()[0]
            lost = self._lost is not None
            if lost or ((plane.wants_write or self._handler.wants_turn()) and not self._send_now()):
                self.wake()  # what is left takes the disk, or the network's time
            return count, plane.full

    def stop(self, timeout: float, *, end_session: bool = False) -> None:
        """Send what is queued, say goodbye, and end the thread; `timeout` in seconds.

        With `end_session` the broker forgets the session (which takes MQTT 5).
        """
        self._end_session = end_session
        self._stopping = True
        self.wake()
        if self._thread is not None:
            # One that is just trying to connect has nothing to say: it ends with the process.
            self._thread.join(timeout if self._up else _TRYING_SECONDS)
            if self._thread.is_alive():
                return
        self._wakeup.close()

    # For the handler, from within its calls:

    def subscribe(self, topic_filter: str, qos: int) -> None:
        self._patience.subscribing()
        self._client.subscribe(topic_filter, qos)

    def unsubscribe(self, topic_filter: str) -> None:
        self._client.unsubscribe(topic_filter)

    @property
    def silent(self) -> bool:
        """Whether it was given up for want of an answer."""
        return self._lost is not None and self._lost == self._patience.doubt

    @property
    def selective(self) -> bool:
        """Whether others were answered, when one was not."""
        return self._patience.selective

    def publish_results(
        self, topic: str, qos: int, parcels: Sequence[ResultBatch]
    ) -> list[tuple[ResultBatch, str]]:
        """Gives those of which no packet can be made, and why; so does `publish_rows`."""
        return self._plane.publish_results(topic, qos, parcels)

    def publish_rows(self, rows: Sequence[StoredMessage]) -> list[tuple[StoredMessage, str]]:
        return self._plane.publish_rows(rows)

    def acknowledge(self, session: int, packet_ids: Sequence[int]) -> None:
        """Tell the broker that it can forget these, which came by connection number `session`."""
        self._plane.acknowledge(session, packet_ids)

    def room(self, window: int) -> int:
        """How many more messages may be published now, of `window` in flight."""
        return self._plane.room(window)

    def hurry(self) -> None:
        """Make the next attempt at once: is the broker there, whatever it thinks of a message?"""
        self._hurry = True

    def drop(self, reason: str, *, refused: bool = False) -> None:
        """Give this connection up and open another one after a while: a longer one when the broker
        has `refused` what it is for."""
        self._refused |= refused
        self._lost = self._lost or reason

    # The thread:

    def _run(self) -> None:
        backoff = Backoff(
            _FIRST_RETRY, _LAST_RETRY, eager=_EAGER_RETRY, eager_seconds=_EAGER_SECONDS
        )
        short_lives = 0
        while not self._stopping:
            self._up_since = math.inf
            reason = self._attempt()
            if self._stopping:
                break
            lived = time.monotonic() - self._up_since
            hurry, self._hurry = self._hurry, False
            if lived > _STABLE_SECONDS or hurry:
                backoff.reset()
            unexplained = reason == loss(up=True)
            short_lives = short_lives + 1 if unexplained and lived <= _STABLE_SECONDS else 0
            if short_lives >= _MOST_SHORT_LIVES:
                rival = f"does another client use the id {self._session.client_id}"
                reason += f" soon after it was up, again and again: {rival}, is it running twice?"
            self._link.lost(reason, refused=self._refused and lived >= 0)
            patient = not hurry and (self._refused or short_lives >= _MOST_SHORT_LIVES)
            pause = 0.0 if hurry else backoff.next(patient=patient)
            self._pause(max(pause, self._rest))

    def _attempt(self) -> str:
        """Connect and serve; says why it ended."""
        self._heartbeat.beat(OPEN_SECONDS)
        self._lost = None
        self._rest = 0.0
        self._refused = False
        self._number += 1
        self._link.attempt()
        deadline = Deadline()
        try:
            # A new one each time: what was in flight is ours to send again, not paho's.
            self._client = ControlClient(self._role, self._broker, self._session, self)
            sock = self._client.connect(deadline, self._resolver)
        except ConfigError as error:
            return error.problems[0].message
        except Exception as error:  # TCP, TLS and WebSocket fail in many ways
            return explain(error, self._broker.host)
        with self._turning:
            plane = BulkPlane if self._carriage.bulk else PlainPlane
            self._plane = plane(self._client, sock, self._number)
            self._serve(sock, deadline)
        return self._lost or "connection lost"

    def _serve(self, sock: Any, deadline: Deadline) -> None:
        """Turn the loop until the connection is lost or to be stopped."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._wakeup, _READ)
            self._descriptor = sock.fileno()
            self._loop(selector, sock, deadline)
            if self._carriage.leader is not None:
                self._carriage.leader.leave(self._descriptor)
            if self._stopping:
                self._say_goodbye(sock)
        self._close(sock)

    def _loop(self, selector: selectors.BaseSelector, sock: Any, deadline: Deadline) -> None:
        plane, leader = self._plane, self._carriage.leader
        keep_alive = KeepAlive(self._client, plane)
        watched = 0
        pace = Linger(self._carriage.max_linger_us)
        while self._lost is None and not self._stopping:
            led = leader if self._up and leader is not None and leader.is_active else None
            full = self._up and self._handler.full
            wanted = 0 if led or full else _READ
            if plane.wants_write:
                wanted |= selectors.EVENT_WRITE
            _watch(selector, sock, watched, wanted)
            watched = wanted
            self._heartbeat.beat(TURN_SECONDS)
            buffered = plane.buffered and not full
            at_once = buffered or (self._up and self._handler.wants_turn())
            linger = 0.0 if at_once or led else pace.linger_seconds
            longest = led.look_seconds if led else _FULL_SECONDS if full else _TICK_SECONDS
            if not self._up:
                longest = min(longest, deadline.left)
            self._turning.release()
            try:
                if linger:
                    time.sleep(linger)
                ready = selector.select(0 if at_once else longest)
            finally:
                self._turning.acquire()
            if self._lost is not None:
                return  # the leader found it so
            readable = {key.fileobj for key, events in ready if events & _READ}
            if self._wakeup in readable:
                self._wakeup.answer()
            self._turn(pace, read=sock in readable or buffered)
            if self._up:
                keep_alive.tick(full=full)
                self._look_for_answers(full)
            elif not deadline.left:
                self.drop(str(deadline.no_answer("CONNECT", HINT)))

    def _look_for_answers(self, full: bool) -> None:
        patience, oldest = self._patience, self._plane.oldest
        if patience.tick(oldest, lambda: bytes_moved(self._descriptor), busy=full):
            self.drop(patience.doubt)
        self._link.doubt(patience.doubt)

    def _turn(self, pace: Linger, *, read: bool) -> None:
        if read:
            pace.note(sum(self._read()), self._plane.full)
        if self._up and self._lost is None:
            self._handler.on_turn()
        self._write()

    def _send_now(self) -> bool:
        """Whether there is nothing left that the loop should do."""
        if not self._up or self._lost is not None:
            return False
        more = self._handler.on_try_send()
        self._write()
        if self._lost is not None or self._plane.wants_write:
            return False
        # What was written may have made room for it.
        return not (more and self._handler.wants_turn())

    def _read(self) -> tuple[int, int]:
        """Read and hand on; says how many messages came, and how many are safe now."""
        plane = self._plane
        try:
            plane.read()
        except Exception as error:
            self._fail(error)
        arrived = plane.arrived()
        if arrived is None:
            return 0, self._report()
        self._handler.on_messages(arrived)
        return len(arrived.packet_ids), self._report()

    def _write(self) -> None:
        plane = self._plane
        if plane.wants_write:
            try:
                plane.write()
            except Exception as error:
                self._fail(error)
            self._report()

    def _fail(self, error: Exception) -> None:
        if isinstance(error, ssl.SSLError):
            self.drop(explain(error, self._broker.host))
        elif isinstance(error, OSError):
            self.drop(loss(self._up))
        elif isinstance(error, Malformed):
            self.drop(f"what arrived is not MQTT: {error}")
        else:  # parsers raise whatever they stumbled over
            self.drop(f"what arrived is not MQTT ({type(error).__name__}): {HINT}")

    def _report(self) -> int:
        safe, refused = self._plane.outcomes()
        if not safe and not refused:
            return 0
        if self._patience.doubt:
            self._patience.answered()
        self._handler.on_published(safe, refused)
        return sum(map(count_of, safe))

    def _say_goodbye(self, sock: Any) -> None:
        if not self._up or self._lost is not None:
            return
        deadline = time.monotonic() + _FAREWELL_SECONDS
        plane = self._plane
        self._handler.on_turn()
        self._client.disconnect(end_session=self._end_session)
        while self._lost is None and plane.wants_write and time.monotonic() < deadline:
            self._write()
            if plane.wants_write:
                select.select([], [sock], [], _TRYING_SECONDS)
        self._report()

    def _close(self, sock: Any) -> None:
        try:
            sock.close()
        except OSError:
            pass  # it is lost either way
        self._report()
        if self._up:
            self._up = False
            # While the plane is there: what is in flight is counted there, until it is elsewhere.
            known = self._handler.on_lost(self._plane.unsafe())
            if known is not None:
                self._lost = f"{self._lost or 'connection lost'}: {known}"
        self._plane = NoPlane()

    def _pause(self, seconds: float) -> None:
        self._heartbeat.beat(seconds + TURN_SECONDS)
        deadline = time.monotonic() + seconds
        with selectors.DefaultSelector() as selector:
            selector.register(self._wakeup, _READ)
            while not self._stopping and (left := deadline - time.monotonic()) > 0:
                if selector.select(left):
                    self._wakeup.answer()

    # What the client tells, from within `read` and `write`:

    def on_connected(self, session_present: bool, limits: BrokerLimits) -> None:
        self._up = True
        self._up_since = time.monotonic()
        self._link.connected(self._patience.doubt)
        self._patience.connected()
        if self._carriage.leader is not None:
            self._carriage.leader.join(self._descriptor, self)
        self._handler.on_connected(session_present, limits)

    def on_subscribed(self, code: int, reason: str) -> None:
        self._patience.answered()
        self._handler.on_subscribed(code, reason)

    def on_ended(self, reason: str, *, taken_over: bool = False, refused: bool = False) -> None:
        if taken_over:
            # To come back at once would throw the other one out, and so on for ever.
            self._rest = _TAKEN_OVER_SECONDS
        self.drop(reason, refused=refused)


def _watch(selector: selectors.BaseSelector, sock: Any, watched: int, wanted: int) -> None:
    """Have the socket watched for `wanted` events, which are `watched` for now; 0 is none."""
    if watched == wanted:
        return
    if not watched:
        selector.register(sock, wanted)
    elif wanted:
        selector.modify(sock, wanted)
    else:
        selector.unregister(sock)
