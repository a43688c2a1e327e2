"""Whatever is refused for now: nothing is lost, and what is sent last stands in order."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from support.clock import Clock
from support.columns import result_batch_of

from pyboot_svc.worker.messages import DEAD_LETTERS, RESULTS, Sendable, StoredMessage, lane_of
from pyboot_svc.worker.mqtt.refusal import holds
from pyboot_svc.worker.mqtt.refusal.holds import Holds
from pyboot_svc.worker.mqtt.refusal.refusals import MOST_UNCLEAR, Refusal

QUOTA = Refusal("Quota exceeded", 0x97)
UNCLEAR = Refusal("Unspecified error", 0x80)
DENIED = Refusal("Not authorized", 0x87)


class World:
    """A broker that refuses at random for a while, and what is to be sent, in two lanes."""

    def __init__(self, seed: int, count: int) -> None:
        self.source = random.Random(seed)
        self.clock = Clock(0.0)
        self.holds = Holds(20, self.clock)
        self.waiting: dict[int, list[StoredMessage]] = {
            lane: [
                StoredMessage("t", b"%d" % n, 1, {}, lane=lane, row=n) for n in range(1, count + 1)
            ]
            for lane in (RESULTS, DEAD_LETTERS)
        }
        self.held: set[int] = set()
        self.in_flight: list[StoredMessage] = []
        # What the broker has taken, in order; what is safe.
        self.taken: dict[int, list[int]] = {RESULTS: [], DEAD_LETTERS: []}
        self.safe: dict[int, Counter[int]] = {RESULTS: Counter(), DEAD_LETTERS: Counter()}

    def send(self) -> None:
        for lane in self.holds.due():
            self.held.discard(lane)
        room = 20
        if self.holds.active:
            room = 0 if self.holds.stopping else self.holds.window
        for lane in (DEAD_LETTERS, RESULTS):
            while lane not in self.held and self.waiting[lane] and len(self.in_flight) < room:
                self.in_flight.append(self.waiting[lane].pop(0))

    def answer(self, chance: float) -> None:
        count = self.source.randint(0, len(self.in_flight))
        answered, self.in_flight = self.in_flight[:count], self.in_flight[count:]
        safe: list[Sendable] = []
        for row in answered:
            if self.source.random() < chance:
                assert self.holds.takes(row, QUOTA, "t")
            else:
                self.taken[row.lane].append(row.row)
                safe.append(row)
        if self.holds.active:
            safe = self.holds.safe(safe)
        for item in safe:
            assert isinstance(item, StoredMessage)
            self.safe[item.lane][item.row] += 1
        if self.holds.active:
            left = Counter(row.lane for row in self.in_flight)
            for lane, again in self.holds.answered({RESULTS: left[RESULTS], DEAD_LETTERS: left[1]}):
                self.held.add(lane)
                self.take_back(again)

    def lose(self) -> None:
        again = self.holds.lost()
        self.held.clear()
        self.take_back([*again, *self.in_flight])
        self.in_flight = []

    def take_back(self, items: list[Sendable]) -> None:
        for item in items:
            assert isinstance(item, StoredMessage)
            assert item not in self.waiting[item.lane]
            self.waiting[item.lane].append(item)
        for rows in self.waiting.values():
            rows.sort(key=lambda row: row.row)

    @property
    def done(self) -> bool:
        return not self.in_flight and not any(self.waiting.values())


@pytest.mark.parametrize("seed", range(60))
def test_all_is_safe_once_and_the_last_copies_are_in_order(seed: int) -> None:
    world = World(seed, 50)
    for _ in range(5000):
        world.send()
        world.answer(0.1 if world.clock.now < 100 else 0.0)
        world.clock.now += 0.2
        if world.source.random() < 0.01:
            world.lose()
        if world.done:
            break
    assert world.done
    for lane in (RESULTS, DEAD_LETTERS):
        assert world.safe[lane] == Counter(range(1, 51))
        last = [n for at, n in enumerate(world.taken[lane]) if n not in world.taken[lane][at + 1 :]]
        assert last == list(range(1, 51))


def test_other_refusals_are_for_good() -> None:
    assert not Holds(20).takes(StoredMessage("t", b"1", 1, {}), DENIED, "t")
    assert not Holds(20).takes(StoredMessage("t", b"1", 1, {}), Refusal("not asked"), "t")


def test_what_stays_unclear_is_given_up_after_some_times() -> None:
    """Also a result that went to the spool after the first."""
    held = Holds(20)
    assert held.takes(result_batch_of([b"1"]), UNCLEAR, "out")
    answers = [
        held.takes(StoredMessage("out", b"1", 1, {}, row=3), UNCLEAR, "out") for _ in range(4)
    ]
    assert answers == [True] * (MOST_UNCLEAR - 2) + [False]


def test_pauses_grow_and_the_window_opens_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(holds, "TRUSTED_WINDOW", 4)
    clock = Clock(0.0)
    held = Holds(20, clock)
    row = StoredMessage("t", b"1", 1, {}, row=1)
    pauses = []
    for _ in range(4):
        held.takes(row, QUOTA, "t")
        assert held.stopping
        assert [(lane, again) for lane, again in held.answered(Counter())] == [(RESULTS, [row])]
        assert (held.stopping, held.window, held.reason(RESULTS)) == (False, 1, "Quota exceeded")
        began = clock.now
        while not list(held.due()):
            clock.now += 0.1
        pauses.append(clock.now - began)
    assert pauses == sorted(pauses)
    assert 3.9 < pauses[-1] < 8.2
    assert held.safe([row]) == [row]
    assert (held.active, held.window) == (True, 2)
    held.safe([row, row])
    assert (held.active, held.window, held.reason(RESULTS)) == (False, 20, "")


def test_live_results_are_behind_rows_and_by_their_chunks() -> None:
    items: list[Sendable] = [
        result_batch_of([b"4"], 5),
        StoredMessage("t", b"2", 1, {}, row=-1),
        result_batch_of([b"3"], 2),
        StoredMessage("t", b"1", 1, {}, row=9),
    ]
    assert {lane_of(item) for item in items} == {RESULTS}
    found = sorted(items, key=holds.place_of)
    payloads = [i.payload if isinstance(i, StoredMessage) else i.payloads[0] for i in found]
    assert payloads == [b"1", b"2", b"3", b"4"]
