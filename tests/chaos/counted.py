"""Counted traffic: every message carries a number; what came out is compared with what went in."""

from __future__ import annotations

import json
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from support.poll import until

_SESSION_SECONDS = 3600
# What mosquitto allows in flight: with more, it would end the connection at QoS 2.
_WINDOW = 20
_TURN_SECONDS = 0.002
_RECONNECT_SECONDS = 0.1

# Messages come from so many in turn.
DEVICES = 7

_Message = tuple[str, bytes]


# A loopback port, or the path of a UNIX socket.
At = int | str


def _client(name: str, at: At) -> Client:
    """A client whose session, and what is in flight, outlives its connections."""
    client = Client(
        CallbackAPIVersion.VERSION2,
        client_id=name,
        protocol=MQTTProtocolVersion.MQTTv5,
        transport="tcp" if isinstance(at, int) else "unix",
    )
    client.max_inflight_messages_set(_WINDOW)
    client.max_queued_messages_set(0)
    client.reconnect_delay_set(0.1, 0.5)  # type: ignore[arg-type]
    return client


def _connect(client: Client, at: At) -> None:
    properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
    properties.SessionExpiryInterval = _SESSION_SECONDS
    host, port = ("127.0.0.1", at) if isinstance(at, int) else (at, 1883)
    client.connect(host, port, clean_start=False, properties=properties)


@dataclass(frozen=True)
class Arrival:
    """One message as it arrived, with its MQTT 5 user properties."""

    topic: str
    payload: bytes
    user: dict[str, str]

    @property
    def number(self) -> int:
        number: int = json.loads(self.payload)["n"]
        return number


class Collector:
    """Gets all that is published on its topics, also what is while it is disconnected."""

    def __init__(self, name: str, at: At, *topics: str) -> None:
        self.arrivals: list[Arrival] = []
        self._numbers: set[int] = set()
        self._topics = topics
        self._subscribed = threading.Event()
        self._client = _client(name, at)
        self._client.on_connect = self._on_connect
        self._client.on_message = self._on_message
        self._client.on_subscribe = lambda *_: self._subscribed.set()
        _connect(self._client, at)
        self._client.loop_start()
        assert self._subscribed.wait(20), "no SUBACK"

    def on(self, topic: str) -> list[Arrival]:
        return [arrival for arrival in list(self.arrivals) if arrival.topic == topic]

    @property
    def distinct(self) -> int:
        """How many different numbers have arrived, on any topic."""
        return len(self._numbers)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _on_connect(self, client: Client, *_: Any) -> None:
        for topic in self._topics:
            client.subscribe(topic, 1)

    def _on_message(self, client: Client, userdata: Any, message: MQTTMessage) -> None:
        pairs = getattr(message.properties, "UserProperty", [])
        arrival = Arrival(message.topic, bytes(message.payload), dict(pairs))
        self.arrivals.append(arrival)
        try:
            self._numbers.add(arrival.number)
        except (ValueError, KeyError, TypeError):
            pass  # a payload of another kind; the test looks at it itself


class Feed:
    """Publishes numbered messages from a thread of its own, and counts on.

    With `lead` it waits while so many are out and have no result yet, so that faults always find
    messages on their way.

    One thread does it all, since what is judged is the order of results: from another thread, paho
    sends a new message before CONNACK, and after it what the lost connection left unacknowledged.
    """

    def __init__(self, name: str, at: At, topic: str, qos: int, pad: int = 0) -> None:
        self.sent = 0
        self._topic = topic
        self._qos = qos
        self._pad = "x" * pad
        self._runs: deque[Iterator[_Message | None]] = deque()
        self._closing = threading.Event()
        self._published = 0
        self._confirmed = 0
        self._uncounted = 0
        self._client = _client(name, at)
        self._client.on_publish = self._on_publish
        _connect(self._client, at)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        until(self._client.is_connected, "the feed is connected")

    def start(
        self, count: int, finished: Callable[[], int] = lambda: 0, lead: int | None = None
    ) -> None:
        """Publish `count` more, in the background."""
        numbers = range(self.sent, self.sent + count)
        self.sent += count
        self._runs.append(self._numbered(numbers, finished, lead))

    def finish(self, timeout: float = 60.0) -> None:
        """Wait until the broker has all of them."""
        until(
            lambda: self._confirmed - self._uncounted >= self.sent,
            "the broker has all messages",
            timeout,
        )

    def send(self, count: int) -> None:
        self.start(count)
        self.finish()

    def publish(self, payload: bytes, topic: str | None = None) -> None:
        """One message that isn't counted."""
        before = self._confirmed
        self._uncounted += 1
        self._runs.append(iter([(topic or self._topic, payload)]))
        until(lambda: self._confirmed > before, "the broker has the message")

    def close(self) -> None:
        self._closing.set()
        self._thread.join(10)
        self._client.disconnect()

    def _numbered(
        self, numbers: range, finished: Callable[[], int], lead: int | None
    ) -> Iterator[_Message | None]:
        """None whenever it has to wait for results."""
        for number in numbers:
            while lead is not None and number - finished() >= lead:
                yield None
            yield self._topic, self._payload(number)

    def _payload(self, number: int) -> bytes:
        return json.dumps({"n": number, "device": number % DEVICES, "pad": self._pad}).encode()

    def _run(self) -> None:
        while not self._closing.is_set():
            if self._client.loop(_TURN_SECONDS) != MQTTErrorCode.MQTT_ERR_SUCCESS:
                self._reconnect()
            elif self._client.is_connected():
                self._publish_some()

    def _publish_some(self) -> None:
        while self._runs and self._published - self._confirmed < _WINDOW:
            try:
                message = next(self._runs[0])
            except StopIteration:
                self._runs.popleft()
                continue
            if message is None:
                return
            self._published += 1
            self._client.publish(*message, self._qos)

    def _reconnect(self) -> None:
        try:
            self._client.reconnect()
        except OSError:
            self._closing.wait(_RECONNECT_SECONDS)  # the broker is away

    def _on_publish(self, *_: object) -> None:
        self._confirmed += 1


@dataclass(frozen=True)
class Count:
    """What a comparison found; `late` are results that came after a later one."""

    sent: int
    arrived: int
    duplicates: int
    lost: list[int]
    strange: list[int]
    late: list[int]

    def expect_all(self, in_order: bool = False) -> None:
        """Fail when anything was lost or came from nowhere, or results are out of order."""
        wrong = self.lost + self.strange + (self.late if in_order else [])
        assert not wrong, str(self)

    def __str__(self) -> str:
        return (
            f"{self.sent} in, {self.arrived} out, {self.duplicates} duplicates, "
            f"{len(self.lost)} lost{_some(self.lost)}, "
            f"{len(self.strange)} from nowhere{_some(self.strange)}, "
            f"{len(self.late)} out of order{_some(self.late)}"
        )


def count(sent: Iterable[int], results: list[Arrival], letters: Iterable[Arrival] = ()) -> Count:
    """Compare the numbers sent with those that arrived, as results or as dead letters."""
    expected = set(sent)
    times = Counter(arrival.number for arrival in [*results, *letters])
    firsts = list(times)
    return Count(
        sent=len(expected),
        arrived=len(firsts),
        duplicates=times.total() - len(firsts),
        lost=sorted(expected - set(firsts)),
        strange=sorted(set(firsts) - expected),
        late=_late([arrival.number for arrival in results]),
    )


def _late(numbers: list[int]) -> list[int]:
    """Those that came for the first time after a greater one."""
    greatest = -1
    late: list[int] = []
    for number in dict.fromkeys(numbers):
        if number < greatest:
            late.append(number)
        greatest = max(greatest, number)
    return late


def _some(numbers: list[int]) -> str:
    return f" ({', '.join(map(str, numbers[:10]))}{'…' if len(numbers) > 10 else ''})" * bool(
        numbers
    )
