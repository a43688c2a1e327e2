"""Rows that are in memory alone, since the disk can't be written while the broker is there."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass

from pyboot_svc.worker.messages import StoredMessage
from pyboot_svc.worker.storage.rows import ROW_BYTES, Row, with_options, without_options


@dataclass(eq=False)
class Batch:
    """What was appended at once: how many are left, and whom to tell when there are none."""

    left: int
    done: Callable[[], None]

    def one_less(self) -> bool:
        """Whether that was the last."""
        self.left -= 1
        return self.left == 0


class Unwritten:
    """In order, by numbers below 0; none is older than what the database holds.

    Its owner's lock is held in each call.
    """

    def __init__(self, lane: int) -> None:
        self._lane = lane
        self._rows: dict[int, tuple[StoredMessage, Batch]] = {}
        self._last = 0

    def __len__(self) -> int:
        return len(self._rows)

    def append(self, rows: Sequence[Row], done: Callable[[], None]) -> None:
        batch = Batch(len(rows), done)
        for topic, payload, qos, properties in rows:
            self._last -= 1
            size = len(payload) + ROW_BYTES
            user, options = without_options(properties)
            number = self._last
            item = StoredMessage(topic, payload, qos, user, self._lane, number, size, options)
            self._rows[number] = item, batch

    def without(self, out: Container[int]) -> Iterator[StoredMessage]:
        return (item for item, _ in self._rows.values() if item.row not in out)

    def remove(self, numbers: Sequence[int]) -> list[Batch]:
        """Gives the batches that have none left, by now."""
        entries = [self._rows.pop(number, None) for number in numbers]
        return [entry[1] for entry in entries if entry is not None and entry[1].one_less()]

    def clear(self) -> list[tuple[Row, Batch]]:
        """Gives what was in it."""
        kept, self._rows = self._rows, {}
        return [(_row(item), batch) for item, batch in kept.values()]


def _row(item: StoredMessage) -> Row:
    properties = item.properties
    if item.options is not None:
        properties = with_options(properties, *item.options)
    return item.topic, item.payload, item.qos, properties
