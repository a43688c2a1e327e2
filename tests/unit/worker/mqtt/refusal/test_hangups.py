"""Which message is given up for a broker's hanging up, and which losses are nobody's fault."""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import takewhile

import pytest
from support.columns import result_batch_of

from pyboot_svc.worker.messages import DEAD_LETTERS, RESULTS, Sendable, StoredMessage
from pyboot_svc.worker.mqtt.refusal.hangups import HangUps, Lesson, Unanswered


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


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


def test_the_size_of_results_is_learnt_once_a_smaller_one_gets_through() -> None:
    lesson = Lesson(clock=Clock())
    lesson.given_up(3000, "out")
    lesson.taken(100, "out")
    assert not lesson.forbids(3000, "out"), "it may be something else in a single one"
    lesson.given_up(3100, "out")
    assert not lesson.forbids(3000, "out")
    lesson.taken(100, "out")
    assert [lesson.forbids(size, "out") for size in (2999, 3000, 5000)] == [False, True, True]


def test_one_is_enough_where_the_broker_says_that_it_is_too_large() -> None:
    lesson = Lesson(clock=Clock())
    lesson.given_up(3000, "out", too_large=True)
    lesson.taken(100, "out")
    assert lesson.forbids(3000, "out")


def test_one_as_large_that_gets_through_teaches_that_it_is_not_the_size() -> None:
    lesson = Lesson(clock=Clock())
    for content in (3000, 3000, 2999):
        lesson.given_up(content, "out")
        lesson.taken(3000, "out")
        lesson.taken(100, "out")
        assert not lesson.forbids(9000, "out")


def test_a_smaller_one_to_another_topic_says_nothing_of_the_size() -> None:
    lesson = Lesson(clock=Clock())
    lesson.given_up(3000, "forbidden")
    lesson.given_up(3000, "forbidden")
    lesson.taken(100, "out")
    assert not lesson.forbids(3000, "out")
    lesson.taken(200, "forbidden")
    assert lesson.forbids(3000, "out")


def test_it_is_not_the_topic_when_many_have_such() -> None:
    lesson = Lesson(clock=Clock())
    for number in range(3):
        lesson.given_up(3000 + number, f"out/{number}")
        assert not lesson.forbids(3000, "out")
        lesson.taken(100, "out/small")
    assert lesson.forbids(3000, "out")
    assert lesson.of_topics


def test_to_a_topic_that_takes_something_more_is_tried() -> None:
    """Those of which all were given up may be forbidden, whatever the size."""
    lesson = Lesson(clock=Clock())
    for number in range(3):
        lesson.given_up(300, f"forbidden/{number}")
    lesson.taken(100, "out")
    assert (lesson.forbids(300, "forbidden/9"), lesson.forbids(300, "out")) == (True, False)
    lesson.taken(300, "out")
    assert not lesson.forbids(300, "forbidden/9")
    assert not lesson.open


def test_a_size_that_nothing_tells_of_is_not_asked_about_for_ever() -> None:
    clock = Clock()
    lesson = Lesson(clock=clock)
    lesson.given_up(3000, "forbidden")
    clock.now += 601
    lesson.taken(100, "out")
    assert not lesson.open


def test_a_lesson_is_forgotten_after_a_while() -> None:
    clock = Clock()
    lesson = Lesson(clock=clock)
    lesson.given_up(3000, "out")
    lesson.given_up(3000, "out")
    lesson.taken(100, "out")
    assert lesson.forbids(3000, "out")
    clock.now += 601
    assert not lesson.forbids(3000, "out")
    assert not lesson.open


def test_after_some_in_a_row_attempts_are_slow_until_one_gets_through() -> None:
    lesson = Lesson(clock=Clock())
    for size in (30, 20, 10):
        assert not lesson.slow
        lesson.given_up(size, "out")
    assert lesson.slow
    lesson.taken(10, "out")
    assert not lesson.slow


def closed(lesson: Lesson, topic: str, size: int = 44) -> bool:
    """After three that were given up, one after the other."""
    for _ in range(3):
        assert not lesson.closes(topic)
        lesson.given_up(size, topic)
        lesson.taken(40, "good")
    lesson.given_up(size, topic)
    return lesson.closes(topic)


def test_a_topic_of_which_some_in_a_row_were_given_up_is_not_tried() -> None:
    clock = Clock()
    lesson = Lesson(clock=clock)
    assert closed(lesson, "forbidden")
    assert not lesson.closes("good")
    assert not lesson.forbids(9000, "out")
    clock.now += 601
    assert not lesson.closes("forbidden")
    lesson.taken(40, "good")
    assert not lesson.open


def test_it_may_be_the_size_where_no_other_is_nearly_as_large() -> None:
    assert not closed(Lesson(clock=Clock()), "large", 81)


def test_a_topic_of_which_one_gets_through_is_allowed() -> None:
    lesson = Lesson(clock=Clock())
    for _ in range(5):
        lesson.given_up(44, "some")
        lesson.given_up(44, "some")
        lesson.taken(44, "some")
    assert not lesson.closes("some")


def test_topics_that_are_remembered_are_bounded() -> None:
    lesson = Lesson(clock=Clock())
    for number in range(101):
        assert closed(lesson, f"forbidden/{number}")
    assert not lesson.closes("forbidden/0")
    assert lesson.closes("forbidden/100")


def test_dead_letters_are_tried_again_once_as_large_results_get_through() -> None:
    lesson = Lesson(optional=True, clock=Clock())
    lesson.warned(300)
    lesson.disproved(299)
    assert lesson.forbids(300, "out")
    lesson.disproved(300)
    assert not lesson.forbids(300, "out")


def test_of_dead_letters_none_is_tried_after_some_in_a_row() -> None:
    lesson = Lesson(optional=True, clock=Clock())
    lesson.given_up(3000, "out")
    assert [lesson.forbids(size, "out") for size in (2999, 3000)] == [False, True]
    lesson.given_up(2000, "out")
    lesson.given_up(2500, "out")
    assert lesson.forbids(1, "out")
    assert not lesson.slow


def test_lanes_are_told_apart() -> None:
    """A dead letter whose answer is lost is no reason to suspect the result beside it."""
    hang_ups = HangUps("out", Clock())
    letter = StoredMessage("dead", b"1", 1, {}, lane=DEAD_LETTERS, row=1)
    for number in range(2):
        hang_ups.lost(
            [StoredMessage("out", b"%d" % number, 1, {}, lane=RESULTS, row=number), letter]
        )
    assert hang_ups.alone


def results(*sizes: int) -> list[Sendable]:
    return [result_batch_of([b"x" * size for size in sizes])]


def test_at_qos_0_results_of_the_spool_count_and_dead_letters_do_not() -> None:
    clock = Clock()
    unanswered = Unanswered(clock)
    for size, lane in ((100, RESULTS), (9000, DEAD_LETTERS), (3000, RESULTS)):
        unanswered.written([StoredMessage("out", b"x" * size, 0, {}, lane=lane)])
    assert unanswered.lost() == (3000, False)


def test_at_qos_0_a_message_of_unusual_size_is_named_and_then_taken_for_too_large() -> None:
    clock = Clock()
    unanswered = Unanswered(clock)
    found = []
    for size in (3000, 5000, 4000):
        for _ in range(10):
            unanswered.written(results(100, 120))
            clock.now += 0.3
        unanswered.written(results(size, 100))
        clock.now += 0.2
        found.append(unanswered.lost())
    assert found == [(3000, False), (5000, False), (3000, True)]


@pytest.mark.parametrize("place", [0, 1, 10, 19])
def test_at_qos_0_the_one_of_unusual_size_is_found_in_any_place(place: int) -> None:
    sizes = [100] * 20
    sizes[place] = 3000
    clock = Clock()
    at_once, one_by_one = Unanswered(clock), Unanswered(clock)
    at_once.written(results(*sizes))
    one_by_one.written([one for size in sizes for one in results(size)])
    assert at_once.lost() == one_by_one.lost() == (3000, False)


def test_at_qos_0_a_message_that_comes_alone_is_judged_as_others_are() -> None:
    clock = Clock()
    one_by_one, together = Unanswered(clock), Unanswered(clock)
    for round_ in range(3):
        for size in (*[100, 120] * 10, 3000 + 500 * round_, 110):
            one_by_one.written_one(size)
            together.written(results(size))
            clock.now += 0.03
        assert (
            one_by_one.lost()
            == together.lost()
            == (3000 if round_ == 2 else 3000 + 500 * round_, round_ == 2)
        )


@pytest.mark.parametrize("sizes", [[100], [100, 150], [3000]])
def test_at_qos_0_messages_of_usual_size_are_not_named(sizes: list[int]) -> None:
    clock = Clock()
    unanswered = Unanswered(clock)
    for _ in range(10):
        unanswered.written(results(*sizes))
        clock.now += 0.1
        assert unanswered.lost() == (None, False)
    assert unanswered.lost() == (None, False)


def test_at_qos_0_what_was_long_before_a_loss_did_no_harm() -> None:
    clock = Clock()
    unanswered = Unanswered(clock)
    unanswered.written(results(3000, 100))
    clock.now += 1.1
    unanswered.written(results(100))
    assert unanswered.lost() == (None, False)
    unanswered.written(results(3000))
    assert unanswered.lost() == (None, False)


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
