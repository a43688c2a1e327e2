"""Rows from the disk that the outbox makes packets of: a crash meanwhile is counted against one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pyboot_svc.worker.execution.crash_journal import CrashJournal
from pyboot_svc.worker.execution.poison import MOST_CRASHES, PoisonTracker
from pyboot_svc.worker.messages import Message, StoredMessage


class StoredInHand:
    """Notes rows in the journal's slot `slot`, which has room for `most`."""

    def __init__(
        self, journal: CrashJournal, slot: int, most: int, suspects: PoisonTracker
    ) -> None:
        self._journal = journal
        self._slot = slot
        self._most = most
        self._suspects = suspects

    def crashes(self, row: StoredMessage) -> int:
        """How many crashes it was in hand at, if they are too many; else 0."""
        if not self._suspects.counts:
            return 0
        count = self._suspects.crashes(_content(row))
        return count if count >= MOST_CRASHES else 0

    def each(self, rows: Sequence[StoredMessage]) -> Iterator[StoredMessage]:
        """These rows; each is in hand until the next is asked for."""
        journal = self._journal
        words, cursor = journal.cursor(self._slot)
        for start in range(0, len(rows), self._most):
            part = rows[start : start + self._most]
            journal.begin(self._slot, [_content(row).digest for row in part])
            for number, row in enumerate(part):
                words[cursor] = number
                yield row
                self._clear(row)
            journal.end(self._slot)

    def _clear(self, row: StoredMessage) -> None:
        if self._suspects.counts:
            self._suspects.clear(_content(row))


def _content(row: StoredMessage) -> Message:
    return Message(row.topic, row.payload)
