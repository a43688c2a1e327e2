"""What travels through a worker, from the inbox to its acknowledgement: messages in columns.

Many messages move as one object, whose columns are lists with an item for each; what concerns a
single message, which is rare, is cut out of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol, TypeVar

from pyboot_svc.worker.invalid_messages import InvalidMessage

try:
    # The one that hashlib gives, which would load OpenSSL, too: 4 MB of each worker.
    from _blake2 import blake2b
except ImportError:
    from hashlib import blake2b

DIGEST_BYTES = 16
ID_BYTES = 2 * DIGEST_BYTES  # a digest as text
# The user property that carries the id of a result's input.
ID_PROPERTY = "pyboot-id"

T = TypeVar("T")

# The first byte of a PUBLISH packet, and its properties as they stand in it, without their length.
About = tuple[int, bytes]


class Message(NamedTuple):
    """One input message, for those who look at single ones."""

    topic: str
    payload: bytes

    @property
    def digest(self) -> bytes:
        return _digests([self.topic], [self.payload])[0]

    @property
    def id(self) -> str:
        """Names the message by its content: the same when it is delivered and computed again."""
        return self.digest.hex()


class Origin(Protocol):
    """Who brought a batch, and wants to know when its messages have come to their end."""

    def acknowledge(self, batch: MessageBatch, start: int, stop: int) -> None:
        """Of this batch, those from the place `start` to before `stop`."""


class Nowhere:
    """The origin of messages that nobody waits for."""

    def acknowledge(self, batch: MessageBatch, start: int, stop: int) -> None: ...


NOWHERE = Nowhere()


class Particulars(NamedTuple):
    """What is so of few messages of a batch, by their places in it.

    `invalid` are those that no model gets. `retained` are those that the broker had kept and sends
    for the first time. `about` is more of what came with them, where there is any: the flags of
    their packet, and its properties. `tick` says of the batch that it is none of a broker's, but a
    call that is due.
    """

    invalid: Mapping[int, InvalidMessage] = MappingProxyType({})
    retained: Sequence[int] = ()
    about: Mapping[int, About] = MappingProxyType({})
    tick: bool = False

    @property
    def size(self) -> int:
        """How many bytes that takes."""
        return sum([len(properties) for _, properties in self.about.values()])

    def of(self, places: Sequence[int]) -> Particulars:
        """What is so of these."""
        retained = frozenset(self.retained)  # they may be as many as the places
        return Particulars(
            _among(self.invalid, places),
            [at for at, place in enumerate(places) if place in retained] if retained else (),
            _among(self.about, places),
            self.tick,
        )

    def followed_by(self, other: Particulars, count: int) -> Particulars:
        """With those of another batch, which stands behind `count` messages."""
        return Particulars(
            {**self.invalid, **_behind(count, other.invalid)},
            [*self.retained, *(count + place for place in other.retained)],
            {**self.about, **_behind(count, other.about)},
            self.tick,
        )


# Of nearly all batches.
NOTHING_PARTICULAR = Particulars()
TICK = Particulars(tick=True)


class MessageBatch:
    """Consecutive messages, at least one, by columns.

    `packet_ids` are what their `origin`, which who delivers them sets, knows them by; they are good
    for the connection that `session` numbers. 0 is that of QoS 0, and a negative one of a message
    that isn't dropped either, but comes once. `arrived` is the monotonic clock in ns.
    `redeliverable` says that one of them may be delivered again after a crash. `size` is how many
    bytes all that has.
    """

    __slots__ = (
        *("arrived", "origin", "packet_ids", "particulars", "payloads", "redeliverable"),
        *("session", "size", "topics"),
    )

    def __init__(
        self,
        topics: list[str],
        payloads: list[bytes],
        packet_ids: list[int],
        arrived: list[int],
        session: int = 0,
        particulars: Particulars = NOTHING_PARTICULAR,
    ) -> None:
        self.topics = topics
        self.payloads = payloads
        self.packet_ids = packet_ids
        self.arrived = arrived
        self.session = session
        self.particulars = particulars
        self.origin: Origin = NOWHERE
        # Topics may be as long as payloads, and each may be another one.
        if len(payloads) == 1:
            self.redeliverable = packet_ids[0] > 0
            self.size = len(payloads[0]) + len(topics[0])
        else:
            self.redeliverable = max(packet_ids, default=0) > 0
            self.size = sum(map(len, payloads)) + sum(map(len, topics))
        if particulars is not NOTHING_PARTICULAR:
            self.redeliverable |= len(particulars.retained) > 0
            self.size += particulars.size

    def __len__(self) -> int:
        return len(self.payloads)

    def message(self, place: int) -> Message:
        return Message(self.topics[place], self.payloads[place])

    def part(self, start: int, stop: int) -> MessageBatch:
        return self.only(range(start, stop))

    def only(self, places: Sequence[int]) -> MessageBatch:
        """Those at these places."""
        particulars = self.particulars
        if particulars is not NOTHING_PARTICULAR:
            particulars = particulars.of(places)
        found = MessageBatch(
            pick(self.topics, places),
            pick(self.payloads, places),
            pick(self.packet_ids, places),
            pick(self.arrived, places),
            self.session,
            particulars,
        )
        found.origin = self.origin
        return found

    def extend(self, other: MessageBatch) -> None:
        """Put one of the same origin and session behind."""
        if other.particulars is not NOTHING_PARTICULAR:
            self.particulars = self.particulars.followed_by(other.particulars, len(self))
        self.topics += other.topics
        self.payloads += other.payloads
        self.packet_ids += other.packet_ids
        self.arrived += other.arrived
        self.redeliverable |= other.redeliverable
        self.size += other.size


def _among(column: Mapping[int, T], places: Sequence[int]) -> dict[int, T]:
    """What a column that has something for few has for these places."""
    if not column:
        return {}
    return {at: column[place] for at, place in enumerate(places) if place in column}


def _behind(count: int, column: Mapping[int, T]) -> dict[int, T]:
    return {count + place: value for place, value in column.items()}


class Fault(NamedTuple):
    """Why a message ends here: its kind, the error with its traceback, how often it was tried."""

    kind: str
    error: str
    attempts: int = 1


class Chunk:
    """A part of a batch that one model thread works through.

    Chunks are numbered in order of arrival. `results` has an item for each message that is done
    with: what to publish, or None; `failures` says of those that failed why, by their place.
    `unusual` says that a result may be several, or `Addressed`. `handed_on` counts those whose
    outcome was handed on already. `as_one_call` says that the model has all of the rest at once;
    `singly`, that a model of batches gets one message a call. `began` is when a model thread took
    it up, in seconds of the clock of `arrived`, and `took` how long it worked; 0: it still does.

    Only the thread at work adds to it. Whoever takes the work away from it goes on with a
    successor of the same number.
    """

    __slots__ = (
        *("_digests", "as_one_call", "batch", "began", "failures", "handed_on", "number"),
        *("results", "singly", "took", "unusual"),
    )

    def __init__(self, number: int, batch: MessageBatch) -> None:
        self.number = number
        self.batch = batch
        self.results: list[Result] = []
        self.failures: dict[int, Fault] = {}
        self.handed_on = 0
        self.began = self.took = 0.0
        self.as_one_call = self.singly = self.unusual = False
        self._digests: list[bytes] | None = None

    def __len__(self) -> int:
        return len(self.batch.payloads)

    def successor(self, done: int) -> Chunk:
        """The same work from the place `done` on, one message a call."""
        chunk = Chunk(self.number, self.batch)
        chunk._digests = self._digests
        chunk.handed_on = self.handed_on
        chunk.singly = True
        chunk.unusual = self.unusual
        # The thread notes a failure before its result: of one that isn't kept, neither is.
        failed = dict(self.failures)
        chunk.results = self.results[:done]
        chunk.failures = {at: failed[at] for at in failed if at < done}
        return chunk

    @property
    def digests(self) -> list[bytes]:
        """Of topic and payload of each message, made when first asked for."""
        found = self._digests
        if found is None:
            batch = self.batch
            found = self._digests = _digests(batch.topics, batch.payloads)
        return found

    @property
    def waiting(self) -> int:
        """How many the model has not been called for."""
        if self.as_one_call:
            return 0
        return max(len(self) - len(self.results) - 1, 0)


# What the model has made of a message: several results, one, or none.
Result = bytes | tuple[bytes, ...] | None


def payloads_of(result: Result) -> tuple[bytes, ...]:
    """All of them, in their order."""
    if result is None:
        return ()
    return result if isinstance(result, tuple) else (result,)


class ResultBatch:
    """Results of one chunk on their way out: `payloads[n]` is that of the message `places[n]`.

    Where a message has several, its place stands there several times, and `numbers` count its
    results from 0. `size` is how many bytes they have, with topics and properties of their own.
    """

    __slots__ = ("chunk", "numbers", "payloads", "places", "size")

    def __init__(
        self,
        chunk: Chunk,
        places: Sequence[int],
        payloads: list[bytes],
        numbers: Sequence[int] | None = None,
    ) -> None:
        self.chunk = chunk
        self.places = places
        self.payloads = payloads
        self.numbers = numbers
        self.size = sum(map(len, payloads))
        if chunk.unusual:
            to = [one.destination for one in payloads if isinstance(one, Addressed)]
            self.size += sum([len(one.topic) + len(one.properties) for one in to])

    def __len__(self) -> int:
        return len(self.payloads)

    def part(self, start: int, stop: int) -> ResultBatch:
        """The results from `start` to `stop`; itself if those are all."""
        if start == 0 and stop >= len(self.payloads):
            return self
        numbers = self.numbers[start:stop] if self.numbers is not None else None
        return ResultBatch(self.chunk, self.places[start:stop], self.payloads[start:stop], numbers)

    def ids(self) -> list[bytes]:
        """The id of each result, as it stands in a packet: of a first one, that of its input."""
        digests = self.chunk.digests
        if self.numbers is not None:
            return _ids_of_results(digests, self.places, self.numbers)
        return ids_of(digests if len(self.places) == len(digests) else pick(digests, self.places))

    def arrivals(self) -> list[int]:
        return pick(self.chunk.batch.arrived, self.places)

    @property
    def redeliverable(self) -> bool:
        return self.chunk.batch.redeliverable


def pick(column: list[T], places: Sequence[int]) -> list[T]:
    """The items at these places."""
    if isinstance(places, range):
        if len(places) == len(column):
            return column
        return column[places.start : places.stop]
    return [column[place] for place in places]


def _digests(topics: Sequence[str], payloads: Sequence[bytes]) -> list[bytes]:
    if len(payloads) == 1:  # nothing to have in common
        content = topics[0].encode() + b"\0" + payloads[0]
        return [blake2b(content, digest_size=DIGEST_BYTES).digest()]
    found = []
    last: str | None = None
    begin: Callable[[], Any] | None = None
    for topic, payload in zip(topics, payloads, strict=True):
        if topic is not last:
            last, begin = topic, None
            digest = blake2b(_lead(topic) + payload, digest_size=DIGEST_BYTES)
        else:
            # Topics mostly come in runs: what they have in common is digested once.
            if begin is None:
                begin = blake2b(_lead(topic), digest_size=DIGEST_BYTES).copy
            digest = begin()
            digest.update(payload)
        found.append(digest.digest())
    return found


def _lead(topic: str) -> bytes:
    return topic.encode() + b"\0"


def ids_of(digests: Sequence[bytes]) -> list[bytes]:
    """The id of each message, as it stands in a packet."""
    if len(digests) == 1:
        return [digests[0].hex().encode()]
    names = b"".join(digests).hex().encode()
    return [names[at : at + ID_BYTES] for at in range(0, len(names), ID_BYTES)]


def _ids_of_results(
    digests: Sequence[bytes], places: Sequence[int], numbers: Sequence[int]
) -> list[bytes]:
    """Names the result `number` of the message at each place: the first as the message is.

    The others have their number in front of what they have in common, which takes no hashing.
    """
    count = max(numbers) + 1
    leads = [number.to_bytes(2).hex().encode() for number in range(count)]
    if numbers != [*range(count)] * (len(numbers) // count):
        found = ids_of([digests[place] for place in places])
        return [
            leads[number] + id_[: -len(leads[0])] if number else id_
            for number, id_ in zip(numbers, found, strict=True)
        ]
    # Mostly each message has as many results as the others: a column for each number.
    firsts = ids_of([digests[place] for place in places[::count]])
    tails = [id_[: -len(leads[0])] for id_ in firsts]
    found = [b""] * len(numbers)
    found[::count] = firsts
    for number in range(1, count):
        found[number::count] = map(leads[number].__add__, tails)
    return found


@dataclass(frozen=True, slots=True)
class Destination:
    """Where a result goes, and how: `properties` are those of MQTT 5, encoded, but for its id."""

    topic: str
    qos: int
    retain: bool = False
    properties: bytes = b""


class Addressed(bytes):
    """A result's payload with a destination of its own, where not all have the same."""

    destination: Destination

    @classmethod
    def to(cls, destination: Destination, payload: bytes) -> Addressed:
        made = cls(payload)
        made.destination = destination
        return made


def topic_of(payload: bytes, usual: str) -> str:
    """The topic of a result: its own, or the `usual` one."""
    return payload.destination.topic if isinstance(payload, Addressed) else usual


RESULTS, DEAD_LETTERS = 0, 1


@dataclass(frozen=True, slots=True, eq=False)
class StoredMessage:
    """The row `row` of the lane `lane`; `properties` are user properties.

    `options` are `retain` and other properties, encoded, where they are a result's own. `size` is
    what the row takes of the disk, in bytes, as it is estimated. `flaw` says why it can't be sent.
    """

    topic: str
    payload: bytes
    qos: int
    properties: Mapping[str, str]
    lane: int = 0
    row: int = 0
    size: int = 0
    options: tuple[bool, bytes] | None = None
    flaw: str | None = None


# What can be on its way to the broker: results that come straight from the model, or a row.
Sendable = ResultBatch | StoredMessage


def lane_of(item: Sendable) -> int:
    """What goes straight out is a result."""
    return item.lane if isinstance(item, StoredMessage) else RESULTS


def content_of(item: Sendable, usual: str) -> tuple[str, bytes]:
    """Topic and payload of a row, or of the first of results whose topic is the `usual` one."""
    if isinstance(item, StoredMessage):
        return item.topic, item.payload
    return topic_of(item.payloads[0], usual), bytes(item.payloads[0])


def by_destination(
    results: ResultBatch, usual: Destination
) -> Iterator[tuple[Destination, ResultBatch]]:
    """The results in runs that have a destination in common, in their order."""
    if set(map(type, results.payloads)) == {bytes}:
        yield usual, results
        return
    start, found = 0, [getattr(payload, "destination", usual) for payload in results.payloads]
    for place in range(1, len(found) + 1):
        if place < len(found) and found[place] is found[start]:
            continue  # most are the same object, and the comparison takes a while
        if place == len(found) or found[place] != found[start]:
            yield found[start], results.part(start, place)
            start = place


def count_of(item: Sendable) -> int:
    """How many messages that is."""
    return len(item.payloads) if isinstance(item, ResultBatch) else 1
