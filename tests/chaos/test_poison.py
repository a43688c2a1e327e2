"""A message that kills the process is quarantined; the others are processed."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from chaos.rig import Rig

CRASHES = 3


@pytest.mark.parametrize("how", ["exit", "segfault", "memory", "abort"])
def test_poison_is_quarantined_after_three_crashes(how: str, make_rig: Callable[..., Rig]) -> None:
    rig = make_rig("lethal", options={"at": [13, 57], "how": how})
    rig.start()
    rig.feed.send(100)
    found = rig.collect()
    found.expect_all()
    letters = rig.letters
    # One that was buried just before the next crash may be sent, and buried, again.
    assert {letter.number for letter in letters} == {13, 57}
    assert {letter.user["kind"] for letter in letters} == {"poison"}
    assert {letter.user["attempts"] for letter in letters} == {str(CRASHES)}
    assert "died 3 times with this message in hand" in letters[0].user["error"]
    results = {arrival.number for arrival in rig.results}
    assert results == set(range(100)) - {13, 57}
    assert rig.worker.crashes == 2 * CRASHES


def test_innocent_neighbours_are_not_quarantined(make_rig: Callable[..., Rig]) -> None:
    """Four threads each have one in hand when it crashes; slow, so that they always have."""
    poison = [20, 40, 41]
    options = {"at": poison, "how": "exit", "seconds": 0.01}
    rig = make_rig("lethal", threads=4, options=options)
    rig.start()
    rig.feed.send(300)
    found = rig.collect()
    found.expect_all()
    assert {letter.number for letter in rig.letters} == set(poison)
    assert rig.worker.crashes >= CRASHES
    # The first crash of each counts for all in hand; after that, one works alone.
    assert rig.worker.crashes <= len(poison) * CRASHES


def test_poison_of_one_instance_spares_the_other(make_rig: Callable[..., Rig]) -> None:
    rig = make_rig("lethal", instance=2, options={"at": [30], "how": "segfault"})
    rig.start()
    rig.feed.send(200)
    found = rig.collect()
    found.expect_all()
    assert [letter.number for letter in rig.letters] == [30]
    crashes = sorted(worker.crashes for worker in rig.workers)
    assert crashes == [0, CRASHES]
