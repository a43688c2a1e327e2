"""Births and wills beside results: they are the instance's own, and no results."""

from __future__ import annotations

import json
from typing import Any, cast

import pytest
from support.store import configured

from pyboot_svc.config import StatusOptions
from pyboot_svc.worker.messages import Sendable, StoredMessage
from pyboot_svc.worker.mqtt.interfaces import BrokerLimits
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
    found.connected()
    return found


def sent(presence: Presence, limits: BrokerLimits = LIMITS, room: int = 10) -> list[StoredMessage]:
    plane = Plane()
    presence.send(cast(DataPlane, plane), limits, room)
    return plane.rows


def states(rows: list[StoredMessage]) -> list[Any]:
    return [json.loads(row.payload)["state"] if row.payload else None for row in rows]


def test_without_the_key_there_is_none() -> None:
    none = presence_of(configured())
    assert isinstance(none, NoPresence)
    assert none.will is None
    none.connected()
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
    presence.connected()
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
