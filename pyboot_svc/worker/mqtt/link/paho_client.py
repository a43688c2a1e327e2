"""The control plane of one connection: paho-mqtt, which nobody else uses.

CONNECT, authentication, SUBSCRIBE, keep-alive and all that is rare. Its socket and its time are
its owner's: nothing here waits, but `connect`.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Protocol, cast

from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from pyboot_svc.config import Broker
from pyboot_svc.config.settings import credential_name
from pyboot_svc.credentials import delivered
from pyboot_svc.text import printable
from pyboot_svc.worker.invalid_messages import HEADROOM_BYTES
from pyboot_svc.worker.mqtt.interfaces import MAX_PACKET_BYTES, BrokerLimits, Session
from pyboot_svc.worker.mqtt.link.credentials import read_password
from pyboot_svc.worker.mqtt.link.lean_paho import client as paho
from pyboot_svc.worker.mqtt.link.opening import (
    Deadline,
    PunctualSocket,
    Resolver,
    dial,
)
from pyboot_svc.worker.mqtt.refusal.refusals import Refusal
from pyboot_svc.worker.mqtt.wire.encoder import encode_user_properties
from pyboot_svc.worker.mqtt.wire.errors import Broken, Malformed
from pyboot_svc.worker.mqtt.wire.tls_errors import explain_alert

if TYPE_CHECKING:
    import ssl

# How often `keep_alive` is called.
_TICK_SECONDS = 1.0
# How long the broker is asked to keep a session whose client is away.
SESSION_SECONDS = 7 * 24 * 3600
# MQTT 5, section 3.8.3.1.
_RETAINED_IF_NEW = SubscribeOptions.RETAIN_SEND_IF_NEW_SUB
# MQTT 5, section 3.14.2.1.
_TAKEN_OVER = 0x8E
# From here on reason codes are those of failures.
_FAILURES = 0x80
_TOO_LARGE = 0x95
# Server unavailable, server busy: as while it starts.
_SOON_THERE = (0x88, 0x89)
# Not authorized, retain not supported, QoS not supported: of MQTT 3.1.1, not authorized.
_OF_THE_WILL = (0x87, 0x9A, 0x9B)
_QOS_NOT_SUPPORTED = 0x9B
_PUBLISH = 0x30
# A CONNACK of MQTT 3.1.1: so many bytes, MQTT 5 has more; and one of its codes, which paho knows.
_CONNACK_OF_3_BYTES = 2
_VERSION_REFUSED = 1
# How the end of a connection is said whose broker gives no sign of life.
LIFELESS = "connection lost: no answer to PINGREQ"
HINT = "is it an MQTT broker, and of this protocol version?"

# Topic, payload, packet identifier, the packet's first byte, its properties.
OnMessage = Callable[[bytes, bytes, int, int, bytes], None]
OnPublished = Callable[[int, Refusal | None], None]


class Events(Protocol):
    """What a client tells its owner, from within the owner's calls of `read` and `write`."""

    def on_connected(self, session_present: bool, limits: BrokerLimits) -> None: ...
    def on_subscribed(self, topic_filter: str, code: int, reason: str) -> None: ...
    def on_unsubscribed(self) -> None: ...
    def on_ended(self, reason: str, *, taken_over: bool = False, refused: bool = False) -> None:
        """`refused`: for a reason that will be the same for a while."""


class PatientClient(paho.Client):
    """paho, but what comes at QoS 2 is told at once, and gets its PUBREC when it is processed.

    paho answers at once and tells it afterwards: a crash would lose what the broker has forgotten.
    And its socket is opened by `open_socket`: paho's timeouts differ from version to version, and
    begin anew with each byte. Its owner hears of the broker's DISCONNECT by `told_to_go`: paho 2.1
    drops the reason of a short one; and by `answered_as_3` of an answer to CONNECT that is none of
    MQTT 5, which paho can't tell from what isn't MQTT. And paho collects whatever is said to be one
    packet: of those that are no message, none is larger than `most_bytes`. It is `pinged` from a
    PINGREQ to a PINGRESP.
    """

    open_socket: Callable[[], Any]
    told_to_go: Callable[[bytes], None]
    answered_as_3: Callable[[], None]
    most_bytes: int
    pinged = False

    def _create_socket(self) -> Any:
        return self.open_socket()

    def _packet_read(self) -> MQTTErrorCode:
        result = super()._packet_read()
        packet = self._in_packet
        length = packet["remaining_length"]
        if length > self.most_bytes and packet["command"] & 0xF0 != _PUBLISH:
            raise Malformed(f"a packet of {length} bytes that is no message")
        return result

    def _handle_connack(self) -> MQTTErrorCode:
        packet = self._in_packet["packet"]
        of_3 = len(packet) == _CONNACK_OF_3_BYTES and packet[1] != _VERSION_REFUSED
        if self._protocol == MQTTProtocolVersion.MQTTv5 and of_3:
            self.answered_as_3()
            return MQTTErrorCode.MQTT_ERR_PROTOCOL
        return super()._handle_connack()

    def _send_pingreq(self) -> MQTTErrorCode:
        self.pinged = True
        return super()._send_pingreq()

    def _handle_pingresp(self) -> MQTTErrorCode:
        self.pinged = False
        return super()._handle_pingresp()

    def _handle_disconnect(self) -> None:
        self.told_to_go(bytes(self._in_packet["packet"]))
        super()._handle_disconnect()

    def take_over(self, mid: int) -> None:
        super()._send_pubrec(mid)

    def _send_pubrec(self, mid: int) -> MQTTErrorCode:
        return MQTTErrorCode.MQTT_ERR_SUCCESS

    def _handle_publish(self) -> MQTTErrorCode:
        result = super()._handle_publish()
        while self._in_messages:
            self._handle_on_message(self._in_messages.popitem(last=False)[1])
        return result

    def _handle_pubrel(self) -> MQTTErrorCode:
        mid = int.from_bytes(self._in_packet["packet"][:2])
        super()._handle_pubrel()
        return self._send_pubcomp(mid)  # also for one that another process took over

    def _handle_pubrec(self) -> MQTTErrorCode:
        """A refusal is the end of it; paho goes on as if the broker had taken the message."""
        refused = self._refusal()
        if refused is None:
            return super()._handle_pubrec()
        return self._end(refused)

    def _handle_pubackcomp(self, cmd: Any) -> MQTTErrorCode:
        """Of any reason code: paho ends the connection at those that it doesn't expect."""
        refused = self._refusal()
        if refused is None:
            return super()._handle_pubackcomp(cmd)
        # At PUBCOMP the broker has had the message since its PUBREC.
        return self._end(refused if cmd == "PUBACK" else ReasonCode(PacketTypes.PUBCOMP))

    def _refusal(self) -> Refusal | None:
        packet = self._in_packet["packet"]
        if self._protocol != MQTTProtocolVersion.MQTTv5 or len(packet) < 3 or packet[2] < 0x80:
            return None
        return refusal(packet[2], bytes(packet[3:]))

    def _end(self, outcome: Any) -> MQTTErrorCode:
        mid = int.from_bytes(self._in_packet["packet"][:2])
        with self._out_message_mutex:
            if mid in self._out_messages:
                return self._do_on_publish(mid, outcome, cast(Any, None))
        return MQTTErrorCode.MQTT_ERR_SUCCESS


class ControlClient:
    """A client for one connection. `connect` raises what TCP, TLS and WebSocket raise, and
    ConfigError for files that can't be used."""

    def __init__(self, role: str, broker: Broker, session: Session, events: Events) -> None:
        self._role = role
        self._broker = broker
        self._session = session
        self._events = events
        self._up = False
        # Why the broker has ended the session, in its words.
        self.farewell = ""
        self.too_large = False
        # What it was asked to subscribe to, by packet identifier, and has not been answered.
        self._asked: dict[int, str] = {}
        # Of what it was asked to unsubscribe from, the packet identifiers.
        self._leaving: set[int] = set()
        # How many seconds without a sign of life the broker allows.
        self.keepalive: float = broker.keepalive
        self._tls: ssl.SSLContext | None = None
        if broker.tls is not None:
            from pyboot_svc.worker.mqtt.link.tls import delivered_tls, name_of, tls_context

            self._server_name = name_of(broker.tls, broker.host)
            self._tls = tls_context(delivered_tls(broker.tls, role), broker.host)
        # Whether packets of paho's own wait to be written; and who else is told when they do.
        self.wants_write = False
        self.on_queued: Callable[[], None] = lambda: None
        self._client = self._make()

    @property
    def v5(self) -> bool:
        return self._broker.protocol == "5"

    @property
    def max_message(self) -> int:
        return self._session.max_message

    @property
    def unanswered(self) -> str:
        """What it was asked to subscribe to, while the broker has not answered; else empty."""
        return printable(" and ".join(self._asked.values()))

    def connect(self, deadline: Deadline, resolver: Resolver) -> Any:
        """Open the connection and queue CONNECT; gives the socket, or a layer that is like one."""
        broker, session = self._broker, self._session
        self._client.open_socket = lambda: self._open(deadline, resolver)
        if not self.v5:
            self._client.connect(broker.host, broker.port, broker.keepalive)
            return self._client.socket()
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.ReceiveMaximum = session.window
        properties.MaximumPacketSize = min(session.max_message + HEADROOM_BYTES, MAX_PACKET_BYTES)
        if session.persistent:
            properties.SessionExpiryInterval = SESSION_SECONDS
        self._client.connect(
            broker.host,
            broker.port,
            broker.keepalive,
            clean_start=not session.persistent,
            properties=properties,
        )
        return self._client.socket()

    def _open(self, deadline: Deadline, resolver: Resolver) -> Any:
        broker = self._broker
        sock = dial(resolver.resolve(broker.host, broker.port, deadline), deadline)
        if self._tls is not None:
            from pyboot_svc.worker.mqtt.link.tls import secure

            sock = secure(sock, self._tls, self._server_name, deadline)
        if broker.transport != "websockets":
            return sock
        # Here, as it brings OpenSSL.
        from pyboot_svc.worker.mqtt.link.websocket import Place, WebSocket, shake_hands

        punctual = PunctualSocket(sock, deadline)
        try:
            place = Place(broker.host, broker.port, broker.path, self._tls is not None)
            shake_hands(punctual, place)
        except BaseException:
            sock.close()
            raise
        punctual.settle()
        return WebSocket(punctual)

    def use_socket(self, stand_in: Any) -> None:
        """Let paho read and write by `stand_in` from here on: all that touches its insides."""
        self._client._sock = stand_in

    def listen(self, on_message: OnMessage, on_published: OnPublished) -> None:
        """Have messages and the outcomes of `publish` told: for an owner that leaves them here."""

        def told_message(client: paho.Client, userdata: Any, message: paho.MQTTMessage) -> None:
            payload = bytes(message.payload)
            try:
                topic = message.topic.encode()
            except UnicodeDecodeError as error:  # paho decodes it when it is asked for
                topic = error.object
            flags = message.dup << 3 | message.qos << 1 | message.retain
            on_message(topic, payload, message.mid, flags, _packed(message.properties))

        def told_published(
            client: paho.Client, userdata: Any, mid: int, reason: Any, properties: Any
        ) -> None:
            on_published(mid, reason if isinstance(reason, Refusal) else None)

        self._client.on_message = told_message
        self._client.on_publish = told_published

    def turned_away(self) -> None:
        """The broker closed the connection without an answer to CONNECT: by MQTT 3.1.1 it may mind
        the QoS of the last will, and is tried with the other one at each other attempt."""
        will = self._session.will
        if will is not None and not self.v5:
            will.qos = 1 - will.qos

    def read(self) -> None:
        """Read one packet; raises Broken, and what the owner raises when it is told of it."""
        with _breaking():
            self._client.loop_read()

    def write(self) -> None:
        """Write what is queued; raises Broken."""
        with _breaking():
            self._client.loop_write()

    def keep_alive(self) -> None:
        """To be called about once a second; every other second is enough for a long keepalive."""
        self._client.loop_misc()

    def ping(self) -> None:
        """Queue PINGREQ, and don't insist on an answer before `keep_alive` is called again."""
        self._client._send_pingreq()

    @property
    def pinged(self) -> bool:
        """Whether no answer has come since the last PINGREQ of paho's."""
        return self._client.pinged

    def excuse(self) -> None:
        """Don't insist on the answer to the last PINGREQ; the next one goes out in its time."""
        self._client._ping_t = 0.0

    def _obey(self, server_keepalive: int) -> None:
        """The broker allows no more than that many seconds; 0 would be any number."""
        # paho 2.1 doesn't heed it; 2.2 does, and would never ping at 0.
        heeded: float = self._broker.keepalive
        if 0 < server_keepalive < heeded:
            self.keepalive = server_keepalive
            # Less what paho may be late by, which counts where seconds are few.
            heeded = server_keepalive - min(_TICK_SECONDS, server_keepalive / 2)
        self._client._keepalive = heeded  # type: ignore[assignment]

    def subscribe(self, topic_filter: str, qos: int) -> None:
        """By MQTT 5 retained messages come with a new subscription only, not with each connection
        of a session that has it."""
        if self.v5:
            options = SubscribeOptions(qos, retainHandling=_RETAINED_IF_NEW)
            _, mid = self._client.subscribe(topic_filter, options=options)
        else:
            _, mid = self._client.subscribe(topic_filter, qos)
        if mid is not None:
            self._asked[mid] = topic_filter

    def unsubscribe(self, topic_filter: str) -> None:
        _, mid = self._client.unsubscribe(topic_filter)
        if mid is not None:
            self._leaving.add(mid)

    def publish(
        self,
        topic: str,
        payload: bytes,
        qos: int,
        user: Mapping[str, str],
        options: tuple[bool, bytes],
    ) -> int:
        """Queue a message and number it. `options` are whether it is retained, and properties,
        encoded; those and `user` need MQTT 5."""
        retain, others = options
        properties = None
        if self.v5:
            properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
            properties.unpack(encode_user_properties(user, others))  # type: ignore[no-untyped-call]
        return self._client.publish(topic, payload, qos, retain, properties).mid

    def acknowledge(self, mid: int, *, exact: bool) -> None:
        """By PUBACK, or PUBREC for what came at QoS 2."""
        if exact:
            self._client.take_over(mid)
        else:
            self._client.ack(mid, 1)

    def disconnect(self, *, end_session: bool) -> None:
        """Queue DISCONNECT; with `end_session` the broker forgets the session (MQTT 5)."""
        properties = None
        if end_session and self.v5:
            properties = Properties(PacketTypes.DISCONNECT)  # type: ignore[no-untyped-call]
            properties.SessionExpiryInterval = 0
        self._client.disconnect(properties=properties)

    def _on_connect(
        self, client: paho.Client, userdata: Any, flags: Any, reason: Any, properties: Any
    ) -> None:
        if self._up:
            raise Malformed("a second CONNACK packet")
        if reason.is_failure:
            hint = "; set `protocol: 3.1.1`" if "protocol" in str(reason).lower() else ""
            if reason == "Client identifier not valid" and not self.v5:
                # What mosquitto's max_keepalive makes of it, which has no other word for it.
                hint = "; or is `keepalive` longer than it allows?"
            lasting = reason.value not in _SOON_THERE
            will = self._session.will
            if will is not None and reason.value in _OF_THE_WILL:
                topic = printable(will.topic)
                hint += f"; or doesn't it take a retained will at {topic} (`status`)?"
                if will.qos and reason.value == _QOS_NOT_SUPPORTED:
                    will.qos, lasting = 0, False
                    hint = "; trying a last will (`status`) of QoS 0"
            refused = _with_details(
                f"the broker refused: {reason}", properties, f"client id {self._session.client_id}"
            )
            with _telling():
                self._events.on_ended(f"{refused}{hint}", refused=lasting)
            return
        self._up = True
        self._obey(getattr(properties, "ServerKeepAlive", 0))
        client.on_log = None  # from here on it would cost something for each packet
        limits = BrokerLimits(
            in_flight=getattr(properties, "ReceiveMaximum", 65_535),
            packet_bytes=getattr(properties, "MaximumPacketSize", MAX_PACKET_BYTES),
            session_seconds=getattr(properties, "SessionExpiryInterval", None),
            shares=bool(getattr(properties, "SharedSubscriptionAvailable", 1)),
            qos=getattr(properties, "MaximumQoS", 2),
            retains=bool(getattr(properties, "RetainAvailable", 1)),
        )
        with _telling():
            self._events.on_connected(flags.session_present, limits)

    def _on_answered_as_3(self) -> None:
        text = "the broker's answer to CONNECT is not MQTT 5; set `protocol: 3.1.1`"
        self._events.on_ended(text, refused=True)

    def _on_told_to_go(self, packet: bytes) -> None:
        """The broker's DISCONNECT, behind its length: a reason, 0 when it is left out, and
        properties, if there are any."""
        reason = packet[0] if packet else 0
        properties = _unpacked(PacketTypes.DISCONNECT, packet[1:])
        if reason == _TAKEN_OVER:
            taken = _with_details(
                f"another client took over the session {self._session.client_id}", properties
            )
            self._events.on_ended(f"{taken}: is it running twice?", taken_over=True)
        else:
            name = _with_details(_reason_name(PacketTypes.DISCONNECT, reason), properties)
            if reason >= _FAILURES:
                self.farewell = name
            self.too_large = reason == _TOO_LARGE
            text, asked = f"the broker ended the session: {name}", self.unanswered
            self._events.on_ended(
                f"{text}, instead of an answer to SUBSCRIBE {asked}" if asked else text
            )

    def _on_disconnect(
        self, client: paho.Client, userdata: Any, flags: Any, reason: Any, properties: Any
    ) -> None:
        """Also after the two above, whose reason stands."""
        unanswered = self._up and reason == "Keep alive timeout"
        self._events.on_ended(LIFELESS if unanswered else loss(self._up))

    def _on_log(self, client: paho.Client, userdata: Any, level: int, text: str) -> None:
        # How a broker refuses our certificate under TLS 1.3; paho tells of it nowhere else.
        alert = explain_alert(text)
        if alert is not None:
            self._events.on_ended(alert, refused=True)

    def _on_subscribe(
        self, client: paho.Client, userdata: Any, mid: int, reasons: Any, properties: Any
    ) -> None:
        for reason in reasons[:1]:  # there was one filter
            topic_filter = self._asked.pop(mid, None)
            if topic_filter is None:
                return  # it answers nothing
            words = _with_details(str(reason), properties)
            with _telling():
                self._events.on_subscribed(topic_filter, reason.value, words)

    def _on_unsubscribe(
        self, client: paho.Client, userdata: Any, mid: int, reasons: Any, properties: Any
    ) -> None:
        if mid not in self._leaving:
            return  # it answers nothing
        self._leaving.remove(mid)
        with _telling():
            self._events.on_unsubscribed()

    def _on_queued(self, client: paho.Client, userdata: Any, sock: Any) -> None:
        self.wants_write = True
        self.on_queued()

    def _on_written(self, client: paho.Client, userdata: Any, sock: Any) -> None:
        self.wants_write = False

    def _on_socket_open(self, client: paho.Client, userdata: Any, sock: Any) -> None:
        # By descriptor: `sock` may be a TLS or WebSocket layer, and the option is TCP's.
        with socket.socket(fileno=socket.dup(sock.fileno())) as tcp:
            tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def _make(self) -> PatientClient:
        broker, session = self._broker, self._session
        client = PatientClient(
            CallbackAPIVersion.VERSION2,
            client_id=session.client_id,
            clean_session=None if self.v5 else not session.persistent,
            protocol=MQTTProtocolVersion.MQTTv5 if self.v5 else MQTTProtocolVersion.MQTTv311,
            reconnect_on_failure=False,
            manual_ack=True,
        )
        if self._tls is not None:
            client.tls_set_context(self._tls)
        if broker.username is not None:
            # Read anew for each connection: the password may have been changed meanwhile.
            password = None
            if broker.password_file is not None:
                name = credential_name(self._role, "password")
                password = read_password(delivered(broker.password_file, name))
            client.username_pw_set(broker.username, password)
        if session.will is not None:
            will = session.will
            client.will_set(will.topic, will.payload, will.qos, retain=True)
        client.max_inflight_messages_set(session.window)
        client.on_log = self._on_log
        client.on_connect = self._on_connect
        client.told_to_go = self._on_told_to_go
        client.answered_as_3 = self._on_answered_as_3
        client.most_bytes = session.max_message + HEADROOM_BYTES
        client.on_disconnect = self._on_disconnect
        client.on_subscribe = self._on_subscribe
        client.on_unsubscribe = self._on_unsubscribe
        client.on_socket_open = self._on_socket_open
        # With these set, paho queues packets, and the loop writes them once a turn.
        client.on_socket_register_write = self._on_queued
        client.on_socket_unregister_write = self._on_written
        return client


class _OwnersError(Exception):
    """The owner raised `error`."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


def _packed(properties: Any) -> bytes:
    """Encoded, without the length that paho puts in front."""
    if properties is None or properties.isEmpty():
        return b""
    packed: bytes = properties.pack()
    return packed[next(at for at, byte in enumerate(packed) if byte < 0x80) + 1 :]


@contextmanager
def _telling() -> Iterator[None]:
    """The owner is told something: what it raises is a fault of ours, and not the broker's."""
    try:
        yield
    except Exception as error:
        raise _OwnersError(error) from error


@contextmanager
def _breaking() -> Iterator[None]:
    """paho is at work: whatever it stumbles over ends the connection."""
    try:
        yield
    except _OwnersError as error:
        raise error.error from None
    except Exception as error:
        raise Broken from error


def loss(up: bool) -> str:
    """How the end of a connection is said, which may have been `up`."""
    return "connection lost" if up else f"closed before it answered CONNECT: {HINT}"


def refusal(reason: int, properties: bytes = b"") -> Refusal:
    """A PUBACK's or PUBREC's reason code, in words, and in those of the broker's own that stand
    behind it."""
    name = _reason_name(PacketTypes.PUBACK, reason)
    told = _unpacked(PacketTypes.PUBACK, properties) if properties else None
    return Refusal(_with_details(name, told), reason)


def _unpacked(packet: int, properties: bytes) -> Properties:
    """As far as they can be read: what can't be takes nothing from the reason before them."""
    found = Properties(packet)  # type: ignore[no-untyped-call]
    with suppress(Exception):
        found.unpack(properties)  # type: ignore[no-untyped-call]
    return found


def _reason_name(packet: int, reason: int) -> str:
    """In words, also of a code that is not meant for that packet."""
    for kind in (packet, PacketTypes.DISCONNECT, PacketTypes.CONNACK, PacketTypes.SUBACK):
        with suppress(KeyError, ValueError):
            return str(ReasonCode(kind, identifier=reason))
    return f"reason code {reason}"


def _with_details(text: str, properties: Any, more: str = "") -> str:
    """What else the broker says, why, in its own words, and whom to ask instead; and `more`."""
    told = [getattr(properties, name, "") for name in ("ReasonString", "ServerReference")]
    details = "; ".join(printable(detail) for detail in (*told, more) if detail)
    return f"{text} ({details})" if details else text
