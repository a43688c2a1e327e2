"""Acknowledges inputs in order of arrival, whatever the order in which they were finished."""

from __future__ import annotations

from collections.abc import Sequence

from pyboot_svc.worker.delivery.model_state import StateSaver
from pyboot_svc.worker.memory_budget import MemoryBudget
from pyboot_svc.worker.messages import Chunk, MessageBatch


class Settlement:
    """Tells the origin of messages that they, and all before them, have come to their end.

    Every message of every chunk is to be settled once, whatever its end. A batch that is settled
    as a whole is let go of in `budget`.
    """

    def __init__(self, budget: MemoryBudget, saver: StateSaver) -> None:
        self._budget = budget
        self._saver = saver
        # The chunk that is acknowledged next, by its number.
        self._head = 0
        # Of chunks of which a part is settled, or of which others are before.
        self._accounts: dict[int, _Account] = {}
        # How many have arrived that are to be acknowledged, and are not.
        self.unacknowledged = 0
        self._lock = saver.lock

    def admit(self, batch: MessageBatch) -> None:
        """These have arrived; those that are not of QoS 0 wait to be acknowledged."""
        with self._lock:
            self.unacknowledged += len(batch.packet_ids) - batch.packet_ids.count(0)

    def hold(self, chunk: Chunk, places: list[int]) -> None:
        """Each of these, in ascending order, is to be settled as often as it stands there; to be
        called before any of them is."""
        with self._lock:
            self._account(chunk).hold(places)

    def settle(self, chunk: Chunk, places: Sequence[int]) -> None:
        """One thing that each of these was held for has come true."""
        number, batch = chunk.number, chunk.batch
        # Also while they are handed over: two threads must not do that in turn.
        with self._lock:
            if number == self._head and number not in self._accounts:
                count = len(batch.payloads)
                if places == range(count):  # nearly always all, and in order
                    if not self._saver.idle:
                        self._acknowledge(number, batch, 0, count)
                    elif batch.redeliverable:
                        self.unacknowledged -= count - batch.packet_ids.count(0)
                        batch.origin.acknowledge(batch, 0, count)
                    if self._accounts:
                        self._finish(batch)
                    else:
                        self._head += 1
                        budget = self._budget
                        budget.settled += batch.size
                        if budget.full:
                            budget.judge()
                    return
            elif number < self._head:
                return  # it was at its end already
            account = self._account(chunk)
            before = account.settled
            account.settle(places)
            if number == self._head:
                self._acknowledge(number, batch, before, account.settled)
                if account.complete:
                    self._finish(batch)

    def _acknowledge(self, number: int, batch: MessageBatch, start: int, stop: int) -> None:
        if stop <= start:
            return
        if self._saver.idle:
            self._confirm(batch, start, stop)
        else:
            self._saver.acknowledge(number, batch, start, stop, self._confirm)

    def _confirm(self, batch: MessageBatch, start: int, stop: int) -> None:
        if batch.redeliverable:
            self.unacknowledged -= stop - start - batch.packet_ids[start:stop].count(0)
            batch.origin.acknowledge(batch, start, stop)

    def _finish(self, batch: MessageBatch) -> None:
        """All of the first chunk is settled: those behind it may have been for long."""
        self._let_go(batch)
        self._accounts.pop(self._head, None)
        self._head += 1
        while (account := self._accounts.get(self._head)) is not None:
            self._acknowledge(self._head, account.batch, 0, account.settled)
            if not account.complete:
                return
            self._let_go(account.batch)
            del self._accounts[self._head]
            self._head += 1

    def _let_go(self, batch: MessageBatch) -> None:
        self._budget.settled += batch.size
        if self._budget.full:
            self._budget.judge()

    def _account(self, chunk: Chunk) -> _Account:
        account = self._accounts.get(chunk.number)
        if account is None:
            account = self._accounts[chunk.number] = _Account(chunk.batch)
        return account


class _Account:
    """One chunk's: the first `settled` messages are.

    While all goes in order, `due` has the places that are settled next where some are several
    times, of which the first `met` are met. Otherwise `holds` says of each message how often it is
    still to be settled, once without it.
    """

    def __init__(self, batch: MessageBatch) -> None:
        self.batch = batch
        self.settled = 0
        self._due: list[int] = []
        self._met = 0
        self._holds: list[int] | None = None

    @property
    def complete(self) -> bool:
        return self.settled == len(self.batch)

    def hold(self, places: list[int]) -> None:
        in_order = self._holds is None and self._met == len(self._due)
        first, last = places[0], places[-1]
        if in_order and first == self.settled and len(set(places)) == last + 1 - first:
            self._due, self._met = places, 0
            return
        _hold(self._one_by_one(), places)

    def settle(self, places: Sequence[int]) -> None:
        if self._holds is None and self._settle_in_order(places):
            return
        holds = self._one_by_one()
        for place in places:
            holds[place] -= 1
        settled, count = self.settled, len(holds)
        while settled < count and holds[settled] <= 0:
            settled += 1
        self.settled = settled

    def _settle_in_order(self, places: Sequence[int]) -> bool:
        due, met = self._due, self._met
        if met == len(due):
            if isinstance(places, range) and places.start == self.settled:
                self.settled = places.stop
                return True
            return False
        self._met = stop = met + len(places)
        if due[met:stop] != places:
            self._met = met
            return False
        self.settled = due[stop] if stop < len(due) else due[-1] + 1
        return True

    def _one_by_one(self) -> list[int]:
        if self._holds is None:
            self._holds = [0] * self.settled + [1] * (len(self.batch) - self.settled)
            _hold(self._holds, self._due[self._met :])
        return self._holds


def _hold(holds: list[int], places: Sequence[int]) -> None:
    """Each as often as it stands there, and not once."""
    for place in set(places):
        holds[place] -= 1
    for place in places:
        holds[place] += 1
