"""Which message is given up for a broker's hanging up, and which losses are nobody's fault."""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import takewhile

import pytest
from support.clock import Clock
from support.columns import result_batch_of

from pyboot_svc.worker.messages import DEAD_LETTERS, RESULTS, Sendable, StoredMessage
from pyboot_svc.worker.mqtt.refusal.hangups import HangUps


class World:
    """A broker that hangs up on the rows in `bad`, soon after they were sent, and an outbox."""

    def __init__(
        self,
        rows: Sequence[int],
        bad: set[int],
        lanes: int = 1,
        *,
        at_once: int = 5,
        heard: int = 1000,
    ) -> None:
        """So many are in flight `at_once`; of those taken before one that is bad, the first that
        are `heard` of are acknowledged."""
        self.at_once, self.heard = at_once, heard
        self.clock = Clock()
        self.hang_ups = HangUps("out", self.clock)
        self.waiting = [
            StoredMessage("out", b"%d" % row, 1, {}, lane=row % lanes, row=row) for row in rows
        ]
        self.bad = bad
        self.delivered: list[int] = []
        self.given_up: list[int] = []
        self.losses = 0

    def connection(self, lives: float = float("inf")) -> None:
        """One connection, which ends by itself after `lives` seconds."""
        end = self.clock.now + lives
        self.hang_ups.connected()
        in_flight: list[Sendable] = []
        while self.waiting and self.clock.now < end:
            if self.hang_ups.alone and not self.hang_ups.may_send():
                self.clock.now += 0.5
                continue
            sent = self.waiting[: self.hang_ups.window or self.at_once]
            if self.hang_ups.alone:
                self.hang_ups.sent(answered=True)
            self.clock.now += 0.05
            if not self.answered(sent) or self.clock.now >= end:
                in_flight = list(self.waiting[: self.hang_ups.window or self.at_once])
                break
        if not self.waiting:
            return
        self.losses += 1
        culprit = self.hang_ups.lost(in_flight)
        if isinstance(culprit, StoredMessage):
            self.given_up.append(culprit.row)
            self.waiting.remove(culprit)

    def answered(self, sent: list[StoredMessage]) -> bool:
        """Whether all are: those before one that is bad are, too, as far as that is heard of."""
        taken = list(takewhile(lambda row: row.row not in self.bad, sent))
        all_taken = len(taken) == len(sent)
        for row in taken if all_taken else taken[: self.heard]:
            self.waiting.remove(row)
            self.delivered.append(row.row)
            if self.hang_ups.window is not None:
                self.hang_ups.delivered(1)
        return all_taken


@pytest.mark.parametrize("lanes", [1, 2])
@pytest.mark.parametrize("bad", [{0}, {1}, {19}, {3, 4, 5}, {0, 10, 19}, set()])
def test_those_that_are_bad_are_given_up_and_no_others(bad: set[int], lanes: int) -> None:
    world = World(range(20), bad, lanes)
    for _ in range(100):
        world.connection()
    assert world.given_up == sorted(bad)
    assert world.delivered == [row for row in range(20) if row not in bad]
    assert world.losses <= 6 * len(bad) + 1


@pytest.mark.parametrize("heard", [0, 1, 2])
@pytest.mark.parametrize("at_once", [20, 100])
@pytest.mark.parametrize("place", [0, 1, 5, 19, 30, 99])
def test_one_that_is_bad_is_found_wherever_it_stands(place: int, at_once: int, heard: int) -> None:
    """Acknowledgements of those before it are lost with the connection, but for some."""
    world = World(range(150), {place}, at_once=at_once, heard=heard)
    began = world.clock.now
    while world.waiting:
        world.connection()
    assert world.given_up == [place]
    assert world.delivered == [row for row in range(150) if row != place]
    assert world.losses <= 25
    assert world.clock.now - began < 60


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("longest", [0.2, 1.0, 3.0])
def test_a_connection_that_falls_at_any_time_gives_nothing_up(seed: int, longest: float) -> None:
    """However often what is first in flight is the same."""
    source = random.Random(seed)
    world = World(range(20), set(range(20)))
    # None is answered before the connection falls, of itself.
    for _ in range(200):
        world.connection(source.uniform(0.0, min(longest, 0.05)))
    assert world.given_up == []


def test_a_connection_that_always_falls_at_the_same_age_gives_nothing_up() -> None:
    for age in (0.01, 0.5, 1.01, 1.5, 2.02, 3.9):
        world = World(range(3), set())
        world.answered = lambda sent: False  # type: ignore[method-assign]
        for _ in range(50):
            world.hang_ups.connected()
            end = world.clock.now + age
            sent = False
            while world.clock.now < end:
                if not world.hang_ups.alone or world.hang_ups.may_send():
                    if world.hang_ups.alone and not sent:
                        world.hang_ups.sent(answered=True)
                    sent = True
                world.clock.now += 0.01
            assert world.hang_ups.lost(list(world.waiting) if sent else []) is None


def test_a_result_is_the_same_when_it_has_gone_to_the_spool() -> None:
    clock = Clock()
    hang_ups = HangUps("out", clock)
    live = result_batch_of([b"1", b"2"])
    row = StoredMessage("out", b"1", 1, {}, row=7)
    hang_ups.lost([live])
    assert not hang_ups.alone
    hang_ups.lost([row])
    assert hang_ups.alone


def test_another_head_in_flight_is_another_matter() -> None:
    hang_ups = HangUps("out", Clock())
    for number in range(10):
        hang_ups.lost([StoredMessage("out", b"%d" % number, 1, {}, row=number)])
    assert not hang_ups.alone


def test_a_broker_that_takes_long_to_hang_up_is_found_too() -> None:
    clock = Clock()
    hang_ups = HangUps("out", clock)
    row = StoredMessage("out", b"1", 1, {}, row=1)
    culprit: Sendable | None = None
    for _ in range(10):
        hang_ups.connected()
        while hang_ups.alone and not hang_ups.may_send():
            clock.now += 0.5
        if hang_ups.alone:
            hang_ups.sent(answered=True)
        clock.now += 5.0
        culprit = culprit or hang_ups.lost([row])
    assert culprit is row


def test_lanes_are_told_apart() -> None:
    """A dead letter whose answer is lost is no reason to suspect the result beside it."""
    hang_ups = HangUps("out", Clock())
    letter = StoredMessage("dead", b"1", 1, {}, lane=DEAD_LETTERS, row=1)
    for number in range(2):
        hang_ups.lost(
            [StoredMessage("out", b"%d" % number, 1, {}, lane=RESULTS, row=number), letter]
        )
    assert hang_ups.alone


def alone_and_lost(hang_ups: HangUps, clock: Clock, row: StoredMessage, *, at_once: bool) -> bool:
    """One connection: the message is sent when it may be, and lost with it; True if given up."""
    hang_ups.connected(at_once=at_once)
    while hang_ups.alone and not hang_ups.may_send():
        clock.now += 0.5
    if hang_ups.alone:
        hang_ups.sent(answered=True)
    clock.now += 0.1
    return hang_ups.lost([row]) is row


@pytest.mark.parametrize(("at_once", "losses"), [(True, 5), (False, 22)])
def test_a_broker_that_is_away_after_each_loss_was_restarted_more_likely(
    at_once: bool, losses: int
) -> None:
    """It takes many to say that a message ends it."""
    clock = Clock()
    hang_ups = HangUps("out", clock)
    row = StoredMessage("out", b"1", 1, {}, row=1)
    ends = [alone_and_lost(hang_ups, clock, row, at_once=at_once) for _ in range(losses)]
    assert ends == [False] * (losses - 1) + [True]


def test_a_loss_counts_once_though_the_connection_is_open_for_long() -> None:
    clock = Clock()
    hang_ups = HangUps("out", clock)
    row = StoredMessage("out", b"1", 1, {}, row=1)
    for _ in range(3):
        alone_and_lost(hang_ups, clock, row, at_once=True)
    hang_ups.connected()
    while not hang_ups.may_send():
        clock.now += 0.5
    hang_ups.sent(answered=True)
    clock.now += 100.0
    assert hang_ups.lost([row]) is None
    hang_ups.connected()
    while not hang_ups.may_send():
        clock.now += 0.5
    hang_ups.sent(answered=True)
    hang_ups.delivered(1)
    assert not hang_ups.suspects


def test_what_alone_is_left_without_an_answer_is_given_up() -> None:
    hang_ups = HangUps("out", Clock())
    rows = [StoredMessage("out", b"%d" % number, 1, {}, row=number) for number in (1, 2)]
    for _ in range(10):  # the broker has no answer for any
        assert hang_ups.ignored(rows, others_answered=False) is None
    assert not hang_ups.alone
    assert [hang_ups.ignored(rows, others_answered=True) for _ in range(3)] == [None, None, rows[0]]
    # What comes next is another matter.
    assert hang_ups.ignored(rows[1:], others_answered=True) is None
    assert hang_ups.ignored([], others_answered=True) is None
