"""Which status messages are given up, and for how long."""

from __future__ import annotations

from collections.abc import Callable

from support.clock import Clock

from pyboot_svc.worker.mqtt.refusal.unwelcome import Unwelcome


def connection(unwelcome: Unwelcome, clock: Clock, topics: list[str], bad: str) -> str | None:
    """One on which each is sent until the broker hangs up on the `bad` one; gives what is given
    up for that."""
    unwelcome.connected(at_once=True)
    if not unwelcome.alone:
        return unwelcome.lost(topics[topics.index(bad) :], silent=False)
    while not unwelcome.may_send():
        clock.now += 0.5
    for topic in topics:
        unwelcome.sent(answered=True)
        clock.now += 0.05
        if topic == bad:
            return unwelcome.lost([topic], silent=False)
    raise AssertionError("the broker took all of them")


def given_up(find: Callable[[], str | None]) -> tuple[str, int]:
    """What is, and after how many connections."""
    for number in range(1, 20):
        culprit = find()
        if culprit is not None:
            return culprit, number
    raise AssertionError("nothing was")


def test_the_one_that_a_broker_hangs_up_on_is_found_behind_others() -> None:
    """Each connection is told all anew, and takes the first one each time."""
    clock = Clock()
    unwelcome = Unwelcome(clock)
    found = given_up(lambda: connection(unwelcome, clock, ["status", "sensor"], "sensor"))
    assert found == ("sensor", 5)


def test_after_all_were_answered_a_loss_is_the_first_one() -> None:
    clock = Clock()
    unwelcome = Unwelcome(clock)
    for _ in range(20):
        assert connection(unwelcome, clock, ["status"], "status") is None
        assert connection(unwelcome, clock, ["status"], "status") is None
        assert unwelcome.alone
        unwelcome.all_answered()
        assert not unwelcome.alone


def test_a_kind_that_was_given_up_is_tried_again_after_an_hour() -> None:
    clock = Clock()
    unwelcome = Unwelcome(clock)
    unwelcome.give_up("discovery")
    assert (unwelcome.allows("status"), unwelcome.allows("discovery")) == (True, False)
    clock.now += 3599
    assert not unwelcome.is_over()
    clock.now += 1
    assert unwelcome.is_over()
    unwelcome.forgive()
    assert unwelcome.allows("discovery")
    assert not unwelcome.is_over()
