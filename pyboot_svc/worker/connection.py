"""One connection to a broker, for ever: opened, served by a thread of its own, opened again.

paho-mqtt does the protocol; only this module imports it. Its loop functions are driven from
here, so that all messages of one read are handed on together.
"""

from __future__ import annotations

import math
import selectors
import socket
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from pyboot_svc.backoff import Backoff
from pyboot_svc.config import Broker
from pyboot_svc.config.schema import credential_name
from pyboot_svc.errors import ConfigError
from pyboot_svc.threads import spawn
from pyboot_svc.worker.credentials import delivered, delivered_tls, read_password, tls_context
from pyboot_svc.worker.handler import MAX_PACKET_BYTES, BrokerLimits, Handler, Session
from pyboot_svc.worker.link import Link, LinkStatus, explain, explain_alert
from pyboot_svc.worker.message import Message
from pyboot_svc.worker.progress import OPEN_SECONDS, TURN_SECONDS, Heartbeat

_CONNECT_SECONDS = 5.0
_ANSWER_SECONDS = 10.0
_FIRST_RETRY, _LAST_RETRY = 0.5, 30.0
# A connection that was up for so long starts the backoff anew. Two clients of one id throw each
# other out, and most brokers don't tell them: they must not do it ever faster.
_STABLE_SECONDS = 60.0
_MOST_SHORT_LIVES = 3
_SESSION_SECONDS = 7 * 24 * 3600
_MOST_PACKETS_A_READ = 256
_TICK_SECONDS = 1.0
_FAREWELL_SECONDS = 1.0
_TRYING_SECONDS = 0.1
# MQTT 5, section 3.14.2.1.
_TAKEN_OVER = 0x8E
_TAKEN_OVER_SECONDS = 60.0
_HINT = "is it an MQTT broker, and of this protocol version?"


class Connection:
    """Keeps one MQTT connection and calls `handler` from the thread that serves it."""

    def __init__(self, role: str, broker: Broker, session: Session, handler: Handler) -> None:
        self._role = role
        self._broker = broker
        self._session = session
        self._handler = handler
        self._client = self._make_client()
        self._link = Link(role, broker.address)
        self._wake_out, self._wake_in = socket.socketpair()
        self._wake_out.setblocking(False)
        self._wake_in.setblocking(False)
        self._woken = False
        self._stopping = False
        self._end_session = False
        self._thread: threading.Thread | None = None
        self._heartbeat = Heartbeat()
        self._number = 0
        self._up = False
        self._up_since = math.inf
        self._lost: str | None = None
        self._rest = 0.0
        self._arrived: list[Message] = []
        self._outcomes: list[tuple[int, str | None]] = []

    @property
    def status(self) -> LinkStatus:
        return self._link.status

    @property
    def overdue(self) -> float:
        """For how many seconds the thread has not got on as it should; else negative."""
        return self._heartbeat.overdue

    def start(self, on_crash: Callable[[], None]) -> None:
        self._thread = spawn(self._role, self._run, on_crash)

    def wake(self) -> None:
        """Have the loop turn soon; from any thread."""
        if self._woken:
            return
        self._woken = True
        try:
            self._wake_in.send(b"\0")
        except BlockingIOError:
            pass  # it is full of wake-ups already

    def stop(self, timeout: float, *, end_session: bool = False) -> None:
        """Send what is queued, say goodbye, and end the thread; `timeout` in seconds.

        With `end_session` the broker forgets the session (which takes MQTT 5).
        """
        self._end_session = end_session
        self._stopping = True
        self._woken = False
        self.wake()
        if self._thread is not None:
            # One that is just trying to connect has nothing to say: it ends with the process.
            self._thread.join(timeout if self._up else _TRYING_SECONDS)

    @property
    def _rival_hint(self) -> str:
        return f"does another client use the id {self._session.client_id}, does it run twice?"

    # For the handler, from the connection's own thread:

    def subscribe(self, topic_filter: str, qos: int) -> None:
        self._client.subscribe(topic_filter, qos)

    def unsubscribe(self, topic_filter: str) -> None:
        self._client.unsubscribe(topic_filter)

    def publish(self, topic: str, payload: bytes, qos: int, user: Mapping[str, str]) -> int:
        """Queue a message and number it, for `on_published`; `user` properties need MQTT 5."""
        properties = None
        if self._broker.protocol == "5":
            properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
            properties.UserProperty = list(user.items())
        return self._client.publish(topic, payload, qos, properties=properties).mid

    def acknowledge(self, message: Message) -> None:
        """Tell the broker that it can forget the message.

        One that came by an earlier connection is not its business any more: the broker sends it
        again, and that copy will be acknowledged.
        """
        if message.session == self._number:
            self._client.ack(message.mid, message.qos)

    def drop(self, reason: str) -> None:
        """Give this connection up and open another one after a while."""
        self._lost = self._lost or reason

    # The thread:

    def _run(self) -> None:
        backoff = Backoff(_FIRST_RETRY, _LAST_RETRY)
        short_lives = 0
        while not self._stopping:
            self._up_since = math.inf
            reason = self._open() or self._serve()
            if self._stopping:
                break
            lived = time.monotonic() - self._up_since
            if lived > _STABLE_SECONDS:
                backoff.reset()
            short_lives = short_lives + 1 if 0 <= lived <= _STABLE_SECONDS else 0
            if short_lives >= _MOST_SHORT_LIVES:
                reason = f"{reason} soon after it was up, again and again: {self._rival_hint}"
            self._link.lost(reason)
            self._pause(max(backoff.next(), self._rest))

    def _open(self) -> str | None:
        """Connect and send CONNECT; what went wrong, or None."""
        self._heartbeat.beat(OPEN_SECONDS)
        self._lost = None
        self._rest = 0.0
        self._number += 1
        self._link.attempt()
        try:
            # A new one each time: what was in flight is ours to send again, not paho's.
            self._client = self._make_client()
            self._connect()
        except ConfigError as error:
            return error.problems[0].message
        except Exception as error:  # TCP, TLS and WebSocket fail in many ways
            return explain(error, self._broker.host)
        return None

    def _connect(self) -> None:
        broker, session = self._broker, self._session
        if broker.protocol != "5":
            self._client.connect(broker.host, broker.port, broker.keepalive)
            return
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.ReceiveMaximum = session.window
        if session.persistent:
            properties.SessionExpiryInterval = _SESSION_SECONDS
        self._client.connect(
            broker.host,
            broker.port,
            broker.keepalive,
            clean_start=not session.persistent,
            properties=properties,
        )

    def _serve(self) -> str:
        """Turn the loop until the connection is lost or to be stopped; says why it was lost."""
        sock: Any = self._client.socket()
        if sock is not None:
            with selectors.DefaultSelector() as selector:
                selector.register(self._wake_out, selectors.EVENT_READ)
                selector.register(sock, selectors.EVENT_READ)
                self._loop(selector, sock)
                if self._stopping:
                    self._say_goodbye()
            self._close(sock)
        return self._lost or "connection lost"

    def _loop(self, selector: selectors.BaseSelector, sock: Any) -> None:
        answer_due = time.monotonic() + _ANSWER_SECONDS
        next_misc = 0.0
        watched = selectors.EVENT_READ
        while self._lost is None and not self._stopping:
            wanted = selectors.EVENT_READ
            if self._client.want_write():
                wanted |= selectors.EVENT_WRITE
            if wanted != watched:
                selector.modify(sock, wanted)
                watched = wanted
            self._heartbeat.beat(TURN_SECONDS)
            at_once = _buffered(sock) or (self._up and self._handler.wants_turn())
            ready = selector.select(0 if at_once else _TICK_SECONDS)
            self._turn({key.fileobj for key, _ in ready}, sock)
            now = time.monotonic()
            if self._up and now >= next_misc:
                self._client.loop_misc()
                next_misc = now + _TICK_SECONDS
            if not self._up and now > answer_due:
                self.drop(f"no answer to CONNECT within {_ANSWER_SECONDS:.0f} s: {_HINT}")

    def _turn(self, ready: set[Any], sock: Any) -> None:
        if self._wake_out in ready:
            self._drain_wakeups()
        if sock in ready or _buffered(sock):
            self._guarded(self._read)
        self._hand_on()
        if self._up and self._lost is None:
            self._handler.on_turn()
        if self._client.want_write():
            self._guarded(self._client.loop_write)
        self._hand_on()

    def _guarded(self, step: Callable[[], object]) -> None:
        try:
            step()
        except Exception as error:  # paho's parser raises whatever it stumbled over
            self.drop(f"what arrived is not MQTT ({type(error).__name__}): {_HINT}")

    def _read(self) -> None:
        """Read packets until the socket has no whole one left: paho reads one a call."""
        for _ in range(_MOST_PACKETS_A_READ):
            before = len(self._arrived) + len(self._outcomes)
            self._client.loop_read()
            if self._lost is not None or len(self._arrived) + len(self._outcomes) == before:
                return

    def _hand_on(self) -> None:
        if self._arrived:
            batch, self._arrived = self._arrived, []
            self._handler.on_messages(batch)
        if self._outcomes:
            outcomes, self._outcomes = self._outcomes, []
            self._handler.on_published(outcomes)

    def _say_goodbye(self) -> None:
        if not self._up or self._lost is not None:
            return
        deadline = time.monotonic() + _FAREWELL_SECONDS
        self._handler.on_turn()
        properties = None
        if self._end_session and self._broker.protocol == "5":
            properties = Properties(PacketTypes.DISCONNECT)  # type: ignore[no-untyped-call]
            properties.SessionExpiryInterval = 0
        self._client.disconnect(properties=properties)
        while self._client.want_write() and time.monotonic() < deadline:
            self._guarded(self._client.loop_write)
        self._hand_on()

    def _close(self, sock: Any) -> None:
        try:
            sock.close()
        except OSError:
            pass  # it is lost either way
        self._hand_on()
        if self._up:
            self._up = False
            self._handler.on_lost()

    def _pause(self, seconds: float) -> None:
        self._heartbeat.beat(seconds + TURN_SECONDS)
        deadline = time.monotonic() + seconds
        with selectors.DefaultSelector() as selector:
            selector.register(self._wake_out, selectors.EVENT_READ)
            while not self._stopping and (left := deadline - time.monotonic()) > 0:
                if selector.select(left):
                    self._drain_wakeups()

    def _drain_wakeups(self) -> None:
        # Before the work is looked at: a wake-up that comes later leads to another turn.
        try:
            self._wake_out.recv(4096)
        except BlockingIOError:
            pass
        self._woken = False

    # paho's callbacks; they only note what happened:

    def _on_connect(
        self, client: Client, userdata: Any, flags: Any, reason: Any, properties: Any
    ) -> None:
        if reason.is_failure:
            hint = "; set `protocol: 3.1.1`" if "protocol" in str(reason).lower() else ""
            self.drop(f"the broker refused: {reason}{hint}")
            return
        self._up = True
        self._up_since = time.monotonic()
        self._client.on_log = None  # from here on it would cost something for each packet
        self._link.connected()
        limits = BrokerLimits(
            in_flight=getattr(properties, "ReceiveMaximum", 65_535),
            packet_bytes=getattr(properties, "MaximumPacketSize", MAX_PACKET_BYTES),
        )
        self._handler.on_connected(flags.session_present, limits)

    def _on_disconnect(
        self, client: Client, userdata: Any, flags: Any, reason: Any, properties: Any
    ) -> None:
        if flags.is_disconnect_packet_from_server and reason.value == _TAKEN_OVER:
            # To come back at once would throw the other one out, and so on for ever.
            self._rest = _TAKEN_OVER_SECONDS
            client_id = self._session.client_id
            self.drop(f"another client took over the session {client_id}: does it run twice?")
        elif flags.is_disconnect_packet_from_server:
            self.drop(f"the broker ended the session: {reason}")
        elif self._up:
            self.drop("connection lost")
        else:
            self.drop(f"closed before it answered CONNECT: {_HINT}")

    def _on_log(self, client: Client, userdata: Any, level: int, text: str) -> None:
        # How a broker refuses our certificate under TLS 1.3; paho tells of it nowhere else.
        alert = explain_alert(text)
        if alert is not None:
            self.drop(alert)

    def _on_message(self, client: Client, userdata: Any, paho: MQTTMessage) -> None:
        now = time.monotonic_ns()
        self._arrived.append(
            Message(paho.topic, bytes(paho.payload), paho.qos, paho.mid, self._number, now)
        )

    def _on_publish(
        self, client: Client, userdata: Any, mid: int, reason: Any, properties: Any
    ) -> None:
        self._outcomes.append((mid, str(reason) if reason.is_failure else None))

    def _on_subscribe(
        self, client: Client, userdata: Any, mid: int, reasons: Any, properties: Any
    ) -> None:
        refused = [str(reason) for reason in reasons if reason.is_failure]
        self._handler.on_subscribed(refused[0] if refused else None)

    def _on_socket_open(self, client: Client, userdata: Any, sock: Any) -> None:
        # By descriptor: `sock` may be a TLS or WebSocket layer, and the option is TCP's.
        with socket.socket(fileno=socket.dup(sock.fileno())) as tcp:
            tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._broker.transport == "websockets":
            sock.send = _whole_frames(sock.send)

    # Set-up:

    def _make_client(self) -> Client:
        broker, session = self._broker, self._session
        v5 = broker.protocol == "5"
        self._client = client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=session.client_id,
            clean_session=None if v5 else not session.persistent,
            protocol=MQTTProtocolVersion.MQTTv5 if v5 else MQTTProtocolVersion.MQTTv311,
            transport="websockets" if broker.transport == "websockets" else "tcp",
            reconnect_on_failure=False,
            manual_ack=True,
        )
        if broker.transport == "websockets":
            client.ws_set_options(path=broker.path)
        if broker.tls is not None:
            client.tls_set_context(tls_context(delivered_tls(broker.tls, self._role)))
        self._log_in()
        client.connect_timeout = _CONNECT_SECONDS
        client.max_inflight_messages_set(session.window)
        client.on_log = self._on_log
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_message = self._on_message
        client.on_publish = self._on_publish
        client.on_subscribe = self._on_subscribe
        client.on_socket_open = self._on_socket_open
        # With this set, paho queues packets, and the loop writes them once a turn.
        client.on_socket_register_write = lambda *_: None
        return client

    def _log_in(self) -> None:
        # Anew for each connection: the password may have been changed meanwhile.
        broker = self._broker
        if broker.username is not None:
            password = None
            if broker.password_file is not None:
                name = credential_name(self._role, "password")
                password = read_password(delivered(broker.password_file, name))
            self._client.username_pw_set(broker.username, password)


def _whole_frames(send: Callable[[Any], int]) -> Callable[[Any], int]:
    """Mends paho's WebSocket layer: it says 0 for a frame that the socket took only a part of.

    paho then forgets the packet, and the rest of the frame is never sent.
    """

    def send_or_block(data: Any) -> int:
        sent = send(data)
        if sent == 0:
            raise BlockingIOError
        return sent

    return send_or_block


def _buffered(sock: Any) -> bool:
    """Whether a TLS or WebSocket layer holds bytes, which select can't see."""
    pending = getattr(sock, "pending", None)
    return pending is not None and pending() > 0
