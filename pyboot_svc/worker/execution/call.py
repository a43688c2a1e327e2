"""What a model can ask and say during a call: the messages at hand, and results of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from operator import index
from typing import Any

from pyboot_svc.config import Edge
from pyboot_svc.model.codec import Codec, PayloadError, PayloadFault
from pyboot_svc.model.context import MOST_RESULTS, NO_CALL, NO_MESSAGE, ReceivedMessage
from pyboot_svc.model.plain import simpler
from pyboot_svc.topics import RESPONSE, NotFilledIn, check_text, check_topic, template_of
from pyboot_svc.worker.messages import ID_PROPERTY, About, Addressed, Destination, MessageBatch
from pyboot_svc.worker.properties import PublishProperties, decode_properties
from pyboot_svc.worker.wall_clock import WallClock

_MOST_EXPIRY = 2**32 - 1
_MOST_QOS = 2
_RETAIN = 0x01
_NOTHING: About = (0, b"")


class Publishing:
    """How results are addressed and encoded: the same for all calls of an instance."""

    def __init__(self, edge: Edge, codec: Codec) -> None:
        self._codec = codec
        # Of a result, also for those whose topic doesn't matter; raises PayloadError.
        self.encode = codec.encode
        self._v5 = edge.post.broker.protocol == "5"
        self._response = edge.post.topic == RESPONSE
        self._template = None if self._response else template_of(edge.post.topic)
        self._most_qos = _MOST_QOS if edge.post.qos == _MOST_QOS else 1
        options = edge.results
        self._properties = PublishProperties(options.expiry, options.content_type)
        self._usual = Destination(
            edge.post.topic, edge.post.qos, options.retain, self._properties.encode()
        )

    @property
    def differs(self) -> bool:
        """Whether results have a topic each."""
        return self._response or self._template is not None

    def returned(self, result: Any, call: CallAtHand) -> bytes:
        """What the model has returned, to be published; raises PayloadError."""
        payload = self._codec.encode(result)
        if not self.differs:
            return payload
        try:
            topic = self._topic(result, call)
        except NotFilledIn as error:
            raise PayloadError(PayloadFault.NOT_ENCODABLE, str(error)) from None
        if not self._response:
            return Addressed.to(self._as_usual(topic), payload)
        return Addressed.to(self._destination(topic, call), payload)

    def published(
        self,
        payload: Any,
        topic: str | None,
        retain: bool | None,
        qos: int | None,
        user: Mapping[str, str] | None,
        expiry: int | None,
        call: CallAtHand,
    ) -> bytes:
        """What the model publishes by itself; raises TypeError and ValueError for the model."""
        if payload is None:
            raise TypeError("context.publish needs a payload: None is nothing to publish")
        try:
            encoded = self._codec.encode(payload)
            found = self._topic(payload, call) if topic is None else _checked_topic(topic)
        except (PayloadError, NotFilledIn) as error:
            raise ValueError(str(error)) from None
        if not user and expiry is None and qos is None and retain is None and not self._response:
            if found == self._usual.topic:
                return encoded  # what has no destination of its own goes where all else goes
            return Addressed.to(self._as_usual(found), encoded)
        if (user or expiry is not None) and not self._v5:
            raise ValueError("properties and expiry need `protocol: 5` of the post broker")
        to = self._destination(found, call, _pairs(user or {}), _checked_expiry(expiry))
        return Addressed.to(
            replace(
                to,
                qos=to.qos if qos is None else self._checked_qos(qos),
                retain=to.retain if retain is None else _truth(retain),
            ),
            encoded,
        )

    def _checked_qos(self, qos: Any) -> int:
        number = _whole(qos, 0, self._most_qos)
        if number is None:
            more = "" if self._most_qos == _MOST_QOS else "; 2 needs `post_qos: 2`"
            raise ValueError(f"qos must be 0 to {self._most_qos}, not {qos!r}{more}")
        return number

    def _as_usual(self, topic: str) -> Destination:
        """That topic, and all else as it is configured."""
        usual = self._usual
        if topic == usual.topic:
            return usual
        return Destination(topic, usual.qos, usual.retain, usual.properties)

    def _topic(self, result: Any, call: CallAtHand) -> str:
        if self._response:
            topic = call.properties().response_topic
            if topic is None:
                raise NotFilledIn(
                    "post_topic is {response}, and the message has no response topic (MQTT 5)"
                )
            try:
                return _checked_topic(topic)
            except ValueError as error:
                raise NotFilledIn(f"the message's response topic can't be used: {error}") from None
        if self._template is not None:
            return self._template.fill(result, call.topic, simpler)
        return self._usual.topic

    def _destination(
        self,
        topic: str,
        call: CallAtHand,
        user: tuple[tuple[str, str], ...] = (),
        expiry: int | None = None,
    ) -> Destination:
        properties = replace(self._properties, user=user)
        if expiry is not None:
            properties = replace(properties, expiry=expiry)
        if self._response:
            properties = replace(properties, correlation=call.properties().correlation)
        encoded = properties.encode() if self._v5 else b""
        return Destination(topic, self._usual.qos, self._usual.retain, encoded)


class CallAtHand:
    """One thread's. Whoever calls the model says for which messages, by their `places` in `batch`,
    and takes what it has published by `take`."""

    def __init__(self, publishing: Publishing, clock: WallClock) -> None:
        self._publishing = publishing
        self._clock = clock
        self._batch: MessageBatch | None = None
        self._places: Sequence[int] = ()
        # What the call has published so far.
        self.results: list[bytes] = []
        # Whether there is a call: the model may have threads that outlive it.
        self.open = False
        self.encode: Callable[[Any], bytes] | None = None
        # Of the message at hand, if it is one.
        self.place = 0

    def sibling(self, place: int) -> CallAtHand:
        """For a call that is made meanwhile."""
        other = CallAtHand(self._publishing, self._clock)
        other.begin(self._batch)
        other.place = place
        return other

    def begin(self, batch: MessageBatch | None, places: Sequence[int] = ()) -> None:
        """What comes is about these; without `places`, about one at a time, at `place`."""
        self._batch = batch
        self._places = places
        self.open = True
        # Where a topic has to be found for each, `publish` does.
        self.encode = None if self._publishing.differs else self._publishing.encode

    def end(self) -> None:
        self.open = False
        self.encode = None

    @property
    def topic(self) -> str:
        return self._batch.topics[self._at()[0]] if self._batch is not None else ""

    def properties(self) -> PublishProperties:
        if self._batch is None:
            return PublishProperties()
        about = self._batch.particulars.about
        return decode_properties(about.get(self._at()[0], _NOTHING)[1])

    def messages(self) -> tuple[ReceivedMessage, ...]:
        batch = self._batch
        if batch is None or not self.open:
            raise RuntimeError(NO_MESSAGE)
        return tuple(_received(batch, place, self._clock) for place in self._at())

    def publish(
        self,
        payload: Any,
        topic: str | None,
        retain: bool | None,
        qos: int | None,
        properties: Mapping[str, str] | None,
        expiry: int | None,
    ) -> None:
        if not self.open:
            raise RuntimeError(NO_CALL)
        if len(self.results) >= MOST_RESULTS:
            raise ValueError(f"a call publishes no more than {MOST_RESULTS} results")
        made = self._publishing.published(payload, topic, retain, qos, properties, expiry, self)
        self.results.append(made)

    def packed(self, result: Any) -> bytes | None:
        """The payload of what was returned, if there is any; raises PayloadError."""
        return None if result is None else self._publishing.returned(result, self)

    def take(self, returned: bytes | None) -> bytes | tuple[bytes, ...] | None:
        """All results of a call that has ended well."""
        published, self.results = self.results, []
        if not published:
            return returned
        if returned is None:
            return tuple(published)
        return *published, returned

    def forget(self) -> None:
        """The call has failed."""
        self.results = []

    def _at(self) -> Sequence[int]:
        return self._places or (self.place,)


def _received(batch: MessageBatch, place: int, clock: WallClock) -> ReceivedMessage:
    first, encoded = batch.particulars.about.get(place, _NOTHING)
    about = decode_properties(encoded)
    return ReceivedMessage(
        batch.topics[place],
        max(first >> 1 & 3, 1 if batch.packet_ids[place] else 0),
        bool(first & _RETAIN),
        datetime.fromtimestamp(clock.unix_ns(batch.arrived[place]) / 1e9, UTC),
        about.content_type,
        about.response_topic,
        about.correlation,
        about.user,
        about.expiry,
    )


def _checked_topic(topic: str) -> str:
    check_topic(topic)
    return topic


def _pairs(user: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    if not isinstance(user, Mapping):
        raise TypeError(f"properties are a dict of texts, not {type(user).__name__}")
    pairs = tuple(user.items())
    if ID_PROPERTY in user:
        raise ValueError(f"the property {ID_PROPERTY} is pyboot's own")
    for text in (text for pair in pairs for text in pair):
        if not isinstance(text, str):
            raise TypeError(f"properties are texts, not {type(text).__name__}")
        check_text(text, "the property")
    return pairs


def _checked_expiry(expiry: Any) -> int | None:
    if expiry is None:
        return None
    seconds = _whole(expiry, 1, _MOST_EXPIRY)
    if seconds is None:
        raise ValueError(f"expiry must be a whole number of seconds above 0, not {expiry!r}")
    return seconds


def _whole(value: Any, least: int, most: int) -> int | None:
    """An integer between these, also one of numpy's; None if it isn't."""
    try:
        number = index(value)
    except TypeError:
        return None
    return number if type(value) is not bool and least <= number <= most else None


def _truth(value: Any) -> bool:
    """Also one of numpy's; a text such as "no" would be true."""
    if value in (0, 1):
        return bool(value)
    raise ValueError(f"retain must be True or False, not {value!r}")
