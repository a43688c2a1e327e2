"""What was published at QoS 1 and not answered yet, by packet identifiers."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from pyboot_svc.worker.messages import ResultBatch, Sendable

_LAST_MID = 65_535


@dataclass(slots=True)
class _Sent:
    """What was published together at QoS 1, and how many of it are safe: the first ones.

    `before` counts the packet identifiers that the connection had gone through by then.
    """

    packet_ids: Sequence[int]
    item: Sendable
    before: int
    safe: int = 0

    def part(self, start: int, stop: int) -> Sendable:
        return self.item.part(start, stop) if isinstance(self.item, ResultBatch) else self.item


class InFlight:
    """Numbers messages, and tells which of them an answer is for; `count` are in flight."""

    def __init__(self) -> None:
        self.count = 0
        self._sent: deque[_Sent] = deque()
        self._last_mid = 0
        # How many numbers were given out, or passed over, since the connection was opened.
        self._gone = 0

    def add(self, item: Sendable, count: int) -> Sequence[int]:
        """Numbers for what is in flight from now on, `count` messages."""
        before = self._gone
        packet_ids = self._next(count)
        self._sent.append(_Sent(packet_ids, item, before))
        self.count += count
        return packet_ids

    def settle(self, packet_ids: list[int]) -> list[Sendable]:
        """The broker has these; says what they were. One that is not known is nobody's any more.

        Brokers answer in order: a number of answers is for as many that were sent first.
        """
        found: list[Sendable] = []
        at, count = 0, len(packet_ids)
        while at < count and self._sent:
            sent = self._sent[0]
            start = sent.safe
            stop = min(start + count - at, len(sent.packet_ids))
            if list(sent.packet_ids[start:stop]) == packet_ids[at : at + stop - start]:
                found.append(sent.part(start, stop))
                sent.safe = stop
                self.count -= stop - start
                at += stop - start
                if stop == len(sent.packet_ids):
                    self._sent.popleft()
            else:
                item = self.take(packet_ids[at])
                if item is not None:
                    found.append(item)
                at += 1
        return found

    def take(self, mid: int) -> Sendable | None:
        """Take one out; None if it isn't in flight."""
        for number, sent in enumerate(self._sent):
            if mid in sent.packet_ids:
                at, count = sent.packet_ids.index(mid), len(sent.packet_ids)
                if at < sent.safe:
                    continue
                del self._sent[number]
                self.count -= 1
                for start, stop in ((at + 1, count), (sent.safe, at)):
                    if start < stop:
                        rest = _Sent(
                            sent.packet_ids[start:stop], sent.part(start, stop), sent.before
                        )
                        self._sent.insert(number, rest)
                return sent.part(at, at + 1)
        return None

    @property
    def oldest(self) -> int | None:
        """The number of what was sent first; None when nothing is in flight."""
        return self._sent[0].packet_ids[self._sent[0].safe] if self._sent else None

    def unsafe(self) -> list[Sendable]:
        """All of it, in the order in which it was sent."""
        return [sent.part(sent.safe, len(sent.packet_ids)) for sent in self._sent]

    def _next(self, count: int) -> Sequence[int]:
        first = self._last_mid % _LAST_MID + 1
        oldest = self._sent[0].before if self._sent else self._gone
        # Nearly always all that are in flight are among the latest numbers, and the next are free.
        if self._gone + count - oldest <= _LAST_MID and first + count - 1 <= _LAST_MID:
            self._last_mid = first + count - 1
            self._gone += count
            return range(first, first + count)
        taken = {mid for sent in self._sent for mid in sent.packet_ids[sent.safe :]}
        found: list[int] = []
        mid = self._last_mid
        while len(found) < count:
            mid = mid % _LAST_MID + 1
            self._gone += 1
            if mid not in taken:
                found.append(mid)
        self._last_mid = mid
        return found
