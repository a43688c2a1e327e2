"""How latency spread over the day: by model, in bounded memory."""

from __future__ import annotations

import json

from support.held import held_bytes

from pyboot_svc.master.history import History
from pyboot_svc.master.peer import Reading
from pyboot_svc.master.spread import MOST_SPREAD_BYTES, SPREAD_TIERS, Spread
from pyboot_svc.master.tiers import SAMPLE_SECONDS
from pyboot_svc.metrics.snapshot import LATENCY_BOUNDS

BUCKETS = len(LATENCY_BOUNDS) + 1
FIRST = SPREAD_TIERS[-1].seconds // SAMPLE_SECONDS * 1000  # where an interval of each begins


def counts(**at: int) -> list[int]:
    """`b3=7`: seven in the bucket 3."""
    return [at.get(f"b{number}", 0) for number in range(BUCKETS)]


def newest(spread: Spread, tier: int = 0, back: int = 1) -> list[int] | None:
    column: list[int] | None = spread.document()["tiers"][tier]["counts"][-back]
    return column


def test_a_day_is_kept() -> None:
    assert [tier.seconds * tier.values for tier in SPREAD_TIERS] == [900, 3 * 3600, 24 * 3600]


def test_what_instances_have_counted_more_is_added_up() -> None:
    spread = Spread()
    spread.push(FIRST, {"a-1": counts(b1=100), "a-2": counts(b1=10)})
    assert newest(spread) is None  # nothing to compare with
    spread.push(FIRST + 1, {"a-1": counts(b1=105, b4=1), "a-2": counts(b1=11)})
    assert newest(spread) == counts(b1=6, b4=1)
    spread.push(FIRST + 2, {"a-1": counts(b1=106, b4=1), "a-2": counts(b1=11)})
    spread.push(FIRST + 3, {"a-1": counts(b1=108, b4=1), "a-2": counts(b1=11)})
    assert newest(spread, back=2) == counts(b1=7, b4=1)
    assert newest(spread) == counts(b1=2)
    assert newest(spread, 1) == newest(spread, 2) == counts(b1=9, b4=1)


def test_a_restart_begins_anew_and_an_absence_leaves_a_gap() -> None:
    spread = Spread()
    spread.push(FIRST, {"a-1": counts(b1=100)})
    spread.push(FIRST + 1, {"a-1": counts(b1=3)})
    assert newest(spread) == counts(b1=3)
    for number in range(3, 7):
        spread.push(FIRST + number, {})
    assert newest(spread) is None
    spread.push(FIRST + 7, {"a-1": counts(b1=1000)})
    assert newest(spread) is None  # nobody knows when these were
    assert newest(spread, 1) == counts(b1=3)


def test_whatever_is_counted_it_takes_no_more_than_is_said() -> None:
    spread = Spread()
    for number in range(SPREAD_TIERS[-1].seconds * 50 // SAMPLE_SECONDS):
        spread.push(FIRST + number, {"a-1": [number % 2 * 2**62] * BUCKETS})
    assert held_bytes(spread) < MOST_SPREAD_BYTES
    assert newest(spread, 2) == [2**32 - 1] * BUCKETS
    assert [len(one["counts"]) for one in spread.document()["tiers"]] == [60, 60, 48]


def test_the_history_keeps_it_by_model() -> None:
    now = 1_800_000.0
    said: dict[str, list[int]] = {}

    def sample() -> None:
        nonlocal now
        history.sample()
        now += SAMPLE_SECONDS

    history = History(
        lambda: {
            name: Reading({"histograms": {"latency_s": {"counts": told, "sum": 0.0}}}, None)
            for name, told in said.items()
        },
        lambda: now,
    )
    said = {"a-1": counts(b1=1), "a-2": counts(b1=1), "b-1": counts(b2=1)}
    sample()
    said = {"a-1": counts(b1=4), "a-2": counts(b1=1), "b-1": counts(b2=1)}
    sample()
    assert history.latency("a")["tiers"][0]["counts"][-1] == counts(b1=3)
    assert history.latency("b")["tiers"][0]["counts"][-1] == counts()
    now += 10 * 24 * 3600  # the host stood still
    sample()
    assert not any(history.latency("a")["tiers"][0]["counts"])
    del said["b-1"]
    sample()
    assert not any(history.latency("b")["tiers"][2]["counts"])
    assert json.dumps(history.latency("nobody"))
