"""What was published and is not known to be safe: the one account of it.

Of QoS 1 a message is safe when the broker has answered its packet identifier; of QoS 0, when the
socket has taken its last byte.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from pyboot_svc.worker.messages import ResultBatch, Sendable

LAST_ID = 65_535


class _Sent:
    """What was published together at QoS 1, and how many of it are safe: the first ones.

    `before` counts the packet identifiers that the connection had gone through by then.
    """

    __slots__ = ("before", "item", "packet_ids", "safe")

    def __init__(self, packet_ids: Sequence[int], item: Sendable, before: int) -> None:
        self.packet_ids = packet_ids
        self.item = item
        self.before = before
        self.safe = 0

    def part(self, start: int, stop: int) -> Sendable:
        return self.item.part(start, stop) if isinstance(self.item, ResultBatch) else self.item


class InFlight:
    """Numbers messages, and tells which of them an answer is for; `count` are in flight."""

    def __init__(self) -> None:
        self.count = 0
        self._sent: deque[_Sent] = deque()
        self._last_id = 0
        # How many numbers were given out, or passed over, since the connection was opened.
        self._gone = 0
        # Of QoS 0: the number of the last byte, the item, and how many messages that is.
        self.unwritten: deque[tuple[int, Sendable, int]] = deque()

    def add(self, item: Sendable, count: int) -> Sequence[int]:
        """Numbers for what is in flight from now on, `count` messages of QoS 1."""
        before = self._gone
        first = self._last_id % LAST_ID + 1
        last = first + count - 1
        oldest = self._sent[0].before if self._sent else before
        packet_ids: Sequence[int]
        # Nearly always all that are in flight are among the latest numbers, and the next are free.
        if before + count - oldest <= LAST_ID and last <= LAST_ID:
            packet_ids = range(first, last + 1)
            self._last_id = last
            self._gone += count
        else:
            packet_ids = self._free(count)
        self._sent.append(_Sent(packet_ids, item, before))
        self.count += count
        return packet_ids

    def add_unanswered(self, item: Sendable, count: int, end: int) -> None:
        """`count` messages of QoS 0, safe when `end` bytes of all there ever were are written."""
        self.unwritten.append((end, item, count))
        self.count += count

    def written(self, end: int) -> list[Sendable]:
        """So many bytes are written; says what is safe by that."""
        unwritten = self.unwritten
        if len(unwritten) == 1 and unwritten[0][0] <= end:
            _, item, count = unwritten.popleft()
            self.count -= count
            return [item]
        found: list[Sendable] = []
        while unwritten and unwritten[0][0] <= end:
            _, item, count = unwritten.popleft()
            self.count -= count
            found.append(item)
        return found

    def settle(self, packet_ids: list[int]) -> list[Sendable]:
        """The broker has these; says what they were. One that is not known is nobody's any more.

        Brokers answer in order: a number of answers is for as many that were sent first.
        """
        found: list[Sendable] = []
        at, count = 0, len(packet_ids)
        while at < count and self._sent:
            sent = self._sent[0]
            start, total = sent.safe, len(sent.packet_ids)
            stop = min(start + count - at, total)
            if list(sent.packet_ids[start:stop]) == packet_ids[at : at + stop - start]:
                found.append(sent.item if stop - start == total else sent.part(start, stop))
                sent.safe = stop
                self.count -= stop - start
                at += stop - start
                if stop == total:
                    self._sent.popleft()
            else:
                item = self.take(packet_ids[at])
                if item is not None:
                    found.append(item)
                at += 1
        return found

    def settle_one(self, packet_id: int) -> list[Sendable]:
        """The same for a single one, which nearly always is the first, and alone."""
        sent = self._sent[0] if self._sent else None
        if sent is None or len(sent.packet_ids) > 1 or sent.packet_ids[0] != packet_id:
            return self.settle([packet_id])
        self._sent.popleft()
        self.count -= 1
        return [sent.item]

    def take(self, packet_id: int) -> Sendable | None:
        """Take one out; None if it isn't in flight."""
        for number, sent in enumerate(self._sent):
            if packet_id in sent.packet_ids:
                at, count = sent.packet_ids.index(packet_id), len(sent.packet_ids)
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
        """The number of what was sent first; None when nothing waits for an answer."""
        return self._sent[0].packet_ids[self._sent[0].safe] if self._sent else None

    def unsafe(self) -> list[Sendable]:
        """All of it, in the order in which it was sent; what is to be answered before the rest."""
        answered = [sent.part(sent.safe, len(sent.packet_ids)) for sent in self._sent]
        return answered + [item for _, item, _ in self.unwritten]

    def _free(self, count: int) -> list[int]:
        """The next numbers that are not in flight."""
        taken = {number for sent in self._sent for number in sent.packet_ids[sent.safe :]}
        found: list[int] = []
        number = self._last_id
        while len(found) < count:
            number = number % LAST_ID + 1
            self._gone += 1
            if number not in taken:
                found.append(number)
        self._last_id = number
        return found
