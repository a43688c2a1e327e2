"""What travels through a worker, from the inbox to its acknowledgement: messages in columns.

Many messages move as one object, whose columns are lists with an item for each; what concerns a
single message, which is rare, is cut out of them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

from pyboot_svc.worker.misfits import Misfit

DIGEST_BYTES = 16

T = TypeVar("T")


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


class Batch:
    """Consecutive messages, at least one, by columns.

    `mids` are packet identifiers, 0 for QoS 0; they are good for the connection that `session`
    numbers. `arrived` is the monotonic clock in ns. `recurs` says that one of them may be delivered
    again after a crash. Of messages that are tried again, `rows` are those among the dead.
    `misfits` are those that no model gets, by their places. `retained` are the places of those that
    the broker had kept and sends for the first time.
    """

    __slots__ = (
        *("arrived", "mids", "misfits", "payloads", "recurs", "retained", "rows", "session"),
        "topics",
    )

    def __init__(
        self,
        topics: list[str],
        payloads: list[bytes],
        mids: list[int],
        arrived: list[int],
        session: int = 0,
        *,
        recurs: bool = True,
        rows: list[int] | None = None,
        misfits: dict[int, Misfit] | None = None,
        retained: Sequence[int] = (),
    ) -> None:
        self.topics = topics
        self.payloads = payloads
        self.mids = mids
        self.arrived = arrived
        self.session = session
        self.recurs = recurs
        self.rows = rows
        self.misfits = misfits
        self.retained = retained

    def __len__(self) -> int:
        return len(self.payloads)

    def message(self, place: int) -> Message:
        return Message(self.topics[place], self.payloads[place])

    def part(self, start: int, stop: int) -> Batch:
        return Batch(
            self.topics[start:stop],
            self.payloads[start:stop],
            self.mids[start:stop],
            self.arrived[start:stop],
            self.session,
            recurs=self.recurs,
            rows=self.rows[start:stop] if self.rows is not None else None,
            misfits=self._misfits_of(range(start, stop)),
        )

    def only(self, places: Sequence[int]) -> Batch:
        """Those at these places."""
        return Batch(
            pick(self.topics, places),
            pick(self.payloads, places),
            pick(self.mids, places),
            pick(self.arrived, places),
            self.session,
            recurs=self.recurs,
            rows=pick(self.rows, places) if self.rows is not None else None,
            misfits=self._misfits_of(places),
        )

    def extend(self, other: Batch) -> None:
        """Put one of the same session behind."""
        if other.retained:
            self.retained = [*self.retained, *(len(self) + place for place in other.retained)]
        if other.misfits:
            moved = {len(self) + place: misfit for place, misfit in other.misfits.items()}
            self.misfits = {**(self.misfits or {}), **moved}
        self.topics += other.topics
        self.payloads += other.payloads
        self.mids += other.mids
        self.arrived += other.arrived
        self.recurs |= other.recurs
        if self.rows is not None and other.rows is not None:
            self.rows += other.rows

    @property
    def held(self) -> int:
        """How many somebody waits to have acknowledged."""
        return len(self.mids) - self.mids.count(0)

    def _misfits_of(self, places: Sequence[int]) -> dict[int, Misfit] | None:
        if not self.misfits:
            return None
        found = ((at, self.misfits.get(place)) for at, place in enumerate(places))
        return {at: misfit for at, misfit in found if misfit is not None}


class Chunk:
    """A batch that one model thread works through.

    Chunks are numbered in order of arrival. `results` has an item for each message that is done
    with: what to publish, or None. Only the thread at work appends to it; whoever takes the work
    away from it goes on with a list of its own. `together` says that the model has them all.

    Settlement keeps its account here: the first `settled` messages are, and of the others `holds`
    says what has still to come true, one thing each without it.
    """

    __slots__ = ("_digests", "batch", "holds", "number", "results", "settled", "together")

    def __init__(self, number: int, batch: Batch) -> None:
        self.number = number
        self.batch = batch
        self.results: list[bytes | None] = []
        self.together = False
        self.settled = 0
        self.holds: list[int] | None = None
        self._digests: list[bytes] = []

    def __len__(self) -> int:
        return len(self.batch.payloads)

    @property
    def digests(self) -> list[bytes]:
        """Of topic and payload of each message, made when first asked for."""
        if not self._digests:
            self._digests = _digests(self.batch.topics, self.batch.payloads)
        return self._digests

    @property
    def waiting(self) -> int:
        """How many the model has not been called for."""
        if self.together:
            return 0
        return max(len(self) - len(self.results) - 1, 0)


class Parcel:
    """Results of one chunk on their way out: `payloads[n]` is that of the message `places[n]`."""

    __slots__ = ("chunk", "payloads", "places")

    def __init__(self, chunk: Chunk, places: Sequence[int], payloads: list[bytes]) -> None:
        self.chunk = chunk
        self.places = places
        self.payloads = payloads

    def __len__(self) -> int:
        return len(self.payloads)

    def part(self, start: int, stop: int) -> Parcel:
        """The results from `start` to `stop`; itself if those are all."""
        if start == 0 and stop >= len(self.payloads):
            return self
        return Parcel(self.chunk, self.places[start:stop], self.payloads[start:stop])

    def digests(self) -> list[bytes]:
        return pick(self.chunk.digests, self.places)

    def arrivals(self) -> list[int]:
        return pick(self.chunk.batch.arrived, self.places)

    @property
    def recurs(self) -> bool:
        return self.chunk.batch.recurs


def pick(column: list[T], places: Sequence[int]) -> list[T]:
    """The items at these places."""
    if isinstance(places, range):
        if len(places) == len(column):
            return column
        return column[places.start : places.stop]
    return [column[place] for place in places]


def _digests(topics: Sequence[str], payloads: Sequence[bytes]) -> list[bytes]:
    found = []
    last: str | None = None
    begin: Callable[[], Any] | None = None
    for topic, payload in zip(topics, payloads, strict=True):
        if topic is not last:
            last, begin = topic, None
            digest = hashlib.blake2b(_lead(topic) + payload, digest_size=DIGEST_BYTES)
        else:
            # Topics mostly come in runs: what they have in common is digested once.
            if begin is None:
                begin = hashlib.blake2b(_lead(topic), digest_size=DIGEST_BYTES).copy
            digest = begin()
            digest.update(payload)
        found.append(digest.digest())
    return found


def _lead(topic: str) -> bytes:
    return topic.encode() + b"\0"
