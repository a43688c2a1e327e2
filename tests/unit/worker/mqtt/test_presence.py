"""Births and wills beside results: they are the instance's own, and no results."""

from __future__ import annotations

import json
from typing import Any, cast

import pytest
from support.store import configured

from pyboot_svc.config import StatusOptions
from pyboot_svc.worker.messages import Sendable, StoredMessage
from pyboot_svc.worker.mqtt.interfaces import BrokerLimits, Link
from pyboot_svc.worker.mqtt.presence import NoPresence, Presence, presence_of
from pyboot_svc.worker.mqtt.refusal.refusals import Refusal
from pyboot_svc.worker.mqtt.wire.plane import DataPlane

LIMITS = BrokerLimits(10, 1000)


class Plane:
    def __init__(self) -> None:
        self.rows: list[StoredMessage] = []

    def publish_rows(self, rows: list[StoredMessage]) -> list[tuple[StoredMessage, str]]:
        self.rows += rows
        return []


@pytest.fixture
def presence() -> Presence:
    found = presence_of(configured(status=StatusOptions("s/{instance}")))
    found.connected(at_once=True)
    return found


def sent(
    presence: Presence,
    limits: BrokerLimits = LIMITS,
    room: int = 10,
    reason: str | None = None,
) -> list[StoredMessage]:
    plane = Plane()
    presence.send(cast(DataPlane, plane), limits, room, lambda item: reason)
    return plane.rows


class ALink:
    """A connection that was lost, for want of an answer if it was `silent`."""

    def __init__(self, *, silent: bool = False) -> None:
        self.silent = silent
        self.hurried = False
        self.farewell = ""

    def hurry(self) -> None:
        self.hurried = True


def lose(presence: Presence, rows: list[StoredMessage], *, silent: bool = False) -> str | None:
    told = presence.lost([*rows], cast(Link, ALink(silent=silent)))
    presence.connected(at_once=True)
    return told


def states(rows: list[StoredMessage]) -> list[Any]:
    return [json.loads(row.payload)["state"] if row.payload else None for row in rows]


def test_without_the_key_there_is_none() -> None:
    none = presence_of(configured())
    assert isinstance(none, NoPresence)
    assert none.will is None
    none.connected(at_once=True)
    none.leaving(for_good=True)
    none.stopped()
    assert not none.due
    assert sent(none) == []


def test_states_follow_each_other_and_none_is_left_out(presence: Presence) -> None:
    presence.leaving(for_good=False)
    presence.leaving(for_good=False)
    presence.stopped()
    assert presence.due
    rows = sent(presence)
    assert states(rows) == ["online", "draining", "offline"]
    assert {(row.qos, row.options) for row in rows} == {(1, (True, b""))}
    assert not presence.due


def test_another_connection_is_told_the_state_alone(presence: Presence) -> None:
    presence.leaving(for_good=False)
    presence.connected(at_once=True)
    assert states(sent(presence)) == ["draining"]


def test_for_good_leaves_nothing(presence: Presence) -> None:
    sent(presence)
    presence.leaving(for_good=True)
    presence.stopped()
    assert states(sent(presence)) == ["draining", None]


def test_without_room_nothing_waits_for_an_answer(presence: Presence) -> None:
    presence.leaving(for_good=False)
    assert [row.qos for row in sent(presence, room=1)] == [1, 0]


def test_a_broker_that_keeps_nothing_is_told_all_the_same(presence: Presence) -> None:
    [row] = sent(presence, BrokerLimits(10, 1000, retains=False, qos=0))
    assert (row.qos, row.options) == (0, (False, b""))


def test_its_own_messages_are_no_results(
    presence: Presence, caplog: pytest.LogCaptureFixture
) -> None:
    presence.leaving(for_good=False)
    first, second = sent(presence)
    other = StoredMessage(first.topic, first.payload, 1, {})
    items: list[Sendable] = [first, other, second]
    assert presence.without_own(items) == [other]
    presence.answered([first, other], [(second, Refusal("Not authorized", 0x87))])
    assert presence.unanswered == []
    assert "refuses the status at s/" in caplog.text


def test_what_is_too_large_is_named_and_not_sent(
    presence: Presence, caplog: pytest.LogCaptureFixture
) -> None:
    assert sent(presence, reason="larger than 500 bytes") == []
    assert "the status at s/" in caplog.text
    assert "is not published: larger than 500 bytes" in caplog.text
    assert not presence.due


def test_its_qos_is_none_above_that_of_its_last_will(presence: Presence) -> None:
    assert presence.will is not None
    presence.will.qos = 0
    assert [row.qos for row in sent(presence)] == [0]


def test_a_status_that_is_never_answered_is_given_up(
    presence: Presence, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(3):
        assert "is not published" not in caplog.text
        rows = sent(presence)
        assert lose(presence, rows, silent=True) == ""
    assert "is not published for an hour" in caplog.text
    assert "leaves it without an answer" in caplog.text
    assert sent(presence) == []
    presence.leaving(for_good=False)
    assert sent(presence) == []


def test_a_connection_that_is_lost_behind_a_result_is_not_its_fault(
    presence: Presence, caplog: pytest.LogCaptureFixture
) -> None:
    result = StoredMessage("out", b"1", 1, {})
    for _ in range(20):
        rows = sent(presence)
        assert len(rows) == 1
        assert lose(presence, [result, *rows]) is None
    assert "is not published" not in caplog.text


def test_after_two_losses_one_goes_alone_and_not_at_once(presence: Presence) -> None:
    for _ in range(2):
        assert lose(presence, sent(presence)) == ""
    assert sent(presence) == []
    assert presence.due
    assert lose(presence, []) is None  # it falls without any, too
    assert len(sent(presence)) == 1
