"""When it is tried again: soon at first, less often with time, and patiently with rivals."""

from __future__ import annotations

import pytest

from pyboot_svc.worker.mqtt.link.life import Ending
from pyboot_svc.worker.mqtt.link.paho_client import loss
from pyboot_svc.worker.mqtt.link.retries import Retries

REFUSED = "connection refused (is a broker listening there?)"


def test_the_pause_grows_and_stays_short_for_a_while() -> None:
    retries = Retries("pyboot-m-1")
    pauses = [retries.after(Ending(REFUSED))[0] for _ in range(12)]
    assert 0.25 <= pauses[0] <= 0.5
    assert 0.5 <= pauses[1] <= 1.0
    assert all(2.0 <= pause <= 4.0 for pause in pauses[4:])
    assert all(retries.after(Ending(REFUSED))[1] == REFUSED for _ in range(2))


def test_what_was_up_for_long_is_tried_again_soon() -> None:
    retries = Retries("pyboot-m-1")
    for _ in range(8):
        retries.after(Ending(REFUSED))
    pause, _ = retries.after(Ending(loss(up=True), lived=3600.0))
    assert pause <= 0.5


def test_who_is_in_a_hurry_waits_no_longer_than_at_first() -> None:
    retries = Retries("pyboot-m-1")
    for _ in range(8):
        retries.after(Ending(REFUSED))
    assert retries.after(Ending("a message", hurry=True))[0] <= 0.5


def test_who_is_taken_over_rests_a_little_more_each_time() -> None:
    """Neither do two of our own fight ever faster, nor is one rival enough to keep us out."""
    retries = Retries("pyboot-m-1")
    taken = Ending("taken over", taken_over=True, lived=1.0)
    rests = [retries.after(taken)[0] for _ in range(8)]
    assert 1.0 <= rests[0] <= 2.0
    assert all(10.0 <= rest <= 20.0 for rest in rests[4:])
    assert len(set(rests)) == len(rests)
    assert retries.after(Ending("taken over", taken_over=True, lived=3600.0))[0] <= 2.0


@pytest.mark.parametrize("reason", [REFUSED, loss(up=False)])
def test_a_broker_that_refuses_is_asked_less_and_less(reason: str) -> None:
    retries = Retries("pyboot-m-1")
    pauses = [retries.after(Ending(reason, refused=True))[0] for _ in range(12)]
    assert all(15.0 <= pause <= 30.0 for pause in pauses[8:])


def test_two_of_one_id_are_told_of_it_and_slow_down() -> None:
    """They throw each other out, and most brokers don't say so."""
    retries = Retries("pyboot-m-1")
    reasons = [retries.after(Ending(loss(up=True), lived=1.0))[1] for _ in range(4)]
    assert reasons[:3] == [loss(up=True)] * 3
    assert "does another client use the id pyboot-m-1, is it running twice?" in reasons[3]
    _, reason = retries.after(Ending(loss(up=True), lived=3600.0))
    assert reason == loss(up=True)


def test_a_broker_that_hangs_up_on_a_subscription_is_no_rival() -> None:
    retries = Retries("pyboot-m-1")
    ending = Ending(loss(up=True), lived=1.0, unanswered="t/in")
    reasons = [retries.after(ending)[1] for _ in range(4)]
    lost = "connection lost before an answer to SUBSCRIBE t/in"
    assert reasons[:3] == [lost] * 3
    assert reasons[3] == f"{lost}, again and again: may the client pyboot-m-1 subscribe to that?"
    assert ending.refused, "so that it isn't told of each connection"
