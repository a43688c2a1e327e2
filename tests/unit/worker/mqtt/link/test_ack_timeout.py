from __future__ import annotations

import pytest

from pyboot_svc.worker.mqtt.link.ack_timeout import ANSWER_SECONDS, AckTimeout


class Time:
    """Passes when the test says so."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.moved = 0
        self.patience = AckTimeout(lambda: self.now)

    def ends(
        self, seconds: float, head: int | None, *, moving: int = 0, busy: bool = False
    ) -> bool:
        """Whether the patience ends within so many seconds."""
        for _ in range(int(seconds)):
            self.now += 1
            self.moved += moving
            if self.patience.tick(head, lambda: self.moved, busy=busy):
                return True
        return False


@pytest.fixture
def time() -> Time:
    return Time()


def test_a_publish_without_an_answer_ends_it_within_half_a_minute(time: Time) -> None:
    assert not time.ends(ANSWER_SECONDS - 1, 1)
    assert time.ends(29 - ANSWER_SECONDS, 1)
    assert time.patience.doubt == "no answer to PUBLISH within 25 s"


def test_a_subscribe_without_an_answer_ends_it_within_half_a_minute(time: Time) -> None:
    time.patience.subscribing()
    assert time.ends(29, None)
    assert time.patience.doubt == "no answer to SUBSCRIBE within 25 s"


def test_a_broker_that_answers_slowly_and_steadily_has_all_the_time(time: Time) -> None:
    for mid in range(1, 100):
        assert not time.ends(20, mid)


def test_nothing_in_flight_needs_no_answer(time: Time) -> None:
    assert not time.ends(1000, None)


def test_while_nothing_is_read_no_answer_is_missed(time: Time) -> None:
    time.patience.subscribing()
    assert not time.ends(1000, 1, busy=True)
    assert time.ends(29, 1)


def test_a_slow_network_that_moves_has_more_time_and_not_for_ever(time: Time) -> None:
    assert not time.ends(250, 1, moving=10_000)
    assert time.ends(60, 1, moving=10_000)
    assert time.patience.doubt == "no answer to PUBLISH within 300 s"


def test_a_subscription_behind_a_backlog_is_doubted_in_time_and_not_given_up(time: Time) -> None:
    time.patience.subscribing()
    assert not time.ends(29, None, moving=10_000)
    assert time.patience.doubt == "no answer to SUBSCRIBE within 25 s"
    time.patience.subscribed()
    assert not time.patience.doubt


def test_each_of_several_subscriptions_needs_an_answer(time: Time) -> None:
    for _ in range(2):
        time.patience.subscribing()
    assert not time.ends(20, None)
    time.patience.subscribed()
    assert not time.ends(20, None), "the next one may take as long"
    assert time.ends(9, None)
    assert time.patience.doubt == "no answer to SUBSCRIBE within 25 s"
    time.patience.connected()
    for _ in range(2):
        time.patience.subscribing()
    time.patience.subscribed()
    time.patience.answered()
    assert time.patience.doubt, "neither another SUBACK nor a PUBACK answers it"
    time.patience.subscribed()
    assert not time.patience.doubt


def test_pings_alone_are_no_progress(time: Time) -> None:
    assert time.ends(29, 1, moving=4)


def test_a_process_that_was_stopped_has_not_waited(time: Time) -> None:
    assert not time.ends(10, 1)
    time.now += 3600
    assert not time.patience.tick(1, lambda: 0, busy=False)
    assert not time.ends(10, 1)


def test_the_doubt_stays_until_an_answer_comes(time: Time) -> None:
    assert time.ends(29, 1)
    time.patience.connected()
    assert not time.ends(20, 1)
    assert time.patience.doubt
    time.patience.answered()
    assert not time.patience.doubt


def test_the_doubt_passes_when_there_is_nothing_to_answer(time: Time) -> None:
    assert time.ends(29, 1)
    time.patience.connected()
    assert not time.ends(20, None)
    assert time.patience.doubt
    assert not time.ends(10, None)
    assert not time.patience.doubt


def test_a_broker_that_answers_others_is_told_from_one_that_answers_none(time: Time) -> None:
    found = []
    for answers in (False, False, True, False, True):
        time.patience.connected()
        if answers:
            time.patience.answered()
        assert time.ends(29, 1)
        found.append(time.patience.selective)
    assert found == [False, False, True, False, True]
