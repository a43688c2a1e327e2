"""What was before: sampled, coarser with age, and never more than it may take."""

from __future__ import annotations

import sys
import tracemalloc
from array import array
from collections.abc import Callable
from typing import Any

import pytest
from support.poll import until

from pyboot_svc.master.history import COLUMNS, MOST_BYTES, RECENT, TIERS, History
from pyboot_svc.master.load import reckon
from pyboot_svc.master.peer import Reading

STEP = TIERS[0].seconds
ABSENT = Reading(None, "absent: not connected")


class Plant:
    """A History, and what its workers say next."""

    def __init__(self, *instances: str) -> None:
        self.now = 6000.0  # where an interval of each tier begins
        self.readings: dict[str, Reading] = dict.fromkeys(instances, ABSENT)
        self.history = History(lambda: dict(self.readings), lambda: self.now)

    def say(self, name: str, **figures: Any) -> None:
        self.readings[name] = Reading({"pre_queue": 0, "post_queue": 0, **figures}, None)

    def sample(self, times: int = 1, each: Callable[[], None] = lambda: None) -> None:
        for _ in range(times):
            each()
            self.history.sample()
            self.now += STEP

    def tier(self, number: int, column: str, *instances: str) -> list[float | None]:
        names = instances or tuple(self.readings)
        values: list[float | None] = self.history.combined(names)[number][column]
        return values


def test_what_an_instance_says_is_kept_by_column() -> None:
    plant = Plant()
    plant.say("a-1", pre_queue=3, rates={"in": 10.5, "out": 9}, latency_ms={"p50": 1, "p99": 20})
    plant.sample()
    newest = {name: plant.tier(0, name)[-1] for name in COLUMNS}
    assert newest["in"] == 10.5
    assert (newest["out"], newest["pre_queue"], newest["p50"], newest["p99"]) == (9, 3, 1, 20)
    assert newest["done"] is None  # nothing to compare with
    assert plant.tier(0, "in")[:-1] == [None] * (TIERS[0].values - 1)


def test_a_counter_is_told_by_its_growth() -> None:
    plant = Plant()
    for processed, failed in ((100, 0), (150, 10), (20, 1)):  # begun anew at last
        plant.say("a-1", counters={"processed": processed}, errors={"model": failed}, cpu_s=1.0)
        plant.sample()
    assert plant.tier(0, "done")[-2:] == [10, 4]
    assert plant.tier(0, "errors")[-2:] == [2, 0.2]


def test_a_first_error_is_counted() -> None:
    plant = Plant()
    plant.say("a-1", errors={})
    plant.sample()
    plant.say("a-1", errors={"model": 5})
    plant.sample()
    assert plant.tier(0, "errors")[-1] == 1


def test_one_that_is_away_leaves_a_gap_and_keeps_what_was() -> None:
    plant = Plant()
    plant.say("a-1", rates={"in": 7, "out": 7})
    plant.sample()
    plant.readings["a-1"] = ABSENT
    plant.sample(2)
    plant.say("a-1", rates={"in": 8, "out": 8})
    plant.sample()
    assert plant.tier(0, "in")[-4:] == [7, None, None, 8]


def test_after_a_gap_counters_are_compared_with_nothing_old() -> None:
    plant = Plant()
    plant.say("a-1", counters={"processed": 1000})
    plant.sample()
    plant.readings["a-1"] = ABSENT
    plant.sample()
    plant.say("a-1", counters={"processed": 5})
    plant.sample()
    assert plant.tier(0, "done")[-1] is None


def test_the_longer_ago_the_coarser() -> None:
    plant = Plant()
    numbers = iter(range(24))
    plant.sample(
        24, lambda: plant.say("a-1", pre_queue=(n := next(numbers)), rates={"in": n, "out": 0})
    )
    assert plant.tier(1, "in")[-3:] == [None, 5.5, 17.5]
    assert plant.tier(1, "pre_queue")[-2:] == [11, 23]  # peaks stay
    plant.sample(96, lambda: plant.say("a-1", rates={"in": 2, "out": 0}))
    assert plant.tier(2, "in")[-2:] == [None, pytest.approx((5.5 + 17.5 + 8 * 2) / 10)]


def test_a_day_is_kept_and_no_more() -> None:
    assert [tier.seconds * tier.values for tier in TIERS] == [15 * 60, 3 * 3600, 24 * 3600]


def test_a_host_that_stood_still_leaves_a_gap() -> None:
    plant = Plant()
    plant.say("a-1", pre_queue=1)
    plant.sample()
    plant.now += 3 * STEP
    plant.sample()
    assert plant.tier(0, "pre_queue")[-5:] == [1, None, None, None, 1]
    plant.now += 10 * 24 * 3600
    plant.sample()
    assert plant.tier(0, "pre_queue")[:-1] == [None] * (TIERS[0].values - 1)


def test_twice_in_an_interval_counts_once() -> None:
    plant = Plant()
    plant.say("a-1", pre_queue=1)
    plant.history.sample()
    plant.history.sample()
    assert plant.tier(0, "pre_queue")[-2:] == [None, 1]


def test_who_is_not_listed_any_longer_is_forgotten() -> None:
    plant = Plant("a-1", "a-2")
    plant.sample()
    del plant.readings["a-2"]
    plant.sample()
    assert plant.history.instances() == ["a-1"]
    assert plant.history.combined(["a-2"])[0]["in"] == []


def test_several_together_are_added_and_quantiles_are_not() -> None:
    plant = Plant("c-1")
    for number in (1, 2):
        figures = {"rates": {"in": number, "out": 0}, "latency_ms": {"p50": None, "p99": number}}
        plant.say(f"a-{number}", **figures)
    plant.sample()
    assert plant.tier(0, "in")[-1] == 3
    assert plant.tier(0, "p99")[-1] == 2
    assert plant.tier(0, "p50")[-1] is None


def test_recent_lines_are_short() -> None:
    plant = Plant()
    queues = iter((1, 5, 2))
    plant.sample(3, lambda: plant.say("a-1", pre_queue=next(queues), rates={"in": 1 / 3, "out": 1}))
    recent = plant.history.recent()
    assert (recent["seconds"], recent["columns"]) == (15, list(RECENT))
    lines = dict(zip(recent["columns"], recent["instances"]["a-1"], strict=True))
    assert {len(line) for line in lines.values()} == {60}
    assert (lines["pre_queue"][-1], lines["in"][-1], lines["p99"][-1]) == (5, 0.3333, None)


def test_500_instances_take_what_is_said() -> None:
    names = [f"a-{number}" for number in range(1, 501)]
    plant = Plant(*names)
    tracemalloc.start()
    try:
        plant.sample()
        before, _ = tracemalloc.get_traced_memory()
        for name in names:
            plant.say(name, rates={"in": 1.5, "out": 1.5}, cpu_s=1.0, errors={"model": 1})
        plant.sample(13)
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert before < 500 * MOST_BYTES
    # Their readings, which are the test's own, are in it.
    assert after - before < 500 * 2500
    assert sys.getsizeof(array("f", [0.0] * 504)) * len(COLUMNS) < MOST_BYTES


def test_it_samples_by_itself_until_it_is_stopped() -> None:
    asked: list[int] = []
    history = History(lambda: (asked.append(1), {})[1])  # type: ignore[func-returns-value]
    history.start()
    until(lambda: bool(asked), "it has asked")
    history.stop()


def loaded(
    per_second: float, cpu: float, *, waiting: int = 0, instances: int = 1, arriving: float = 0.0
) -> Plant:
    """A minute of so many messages each, and so many cores."""
    plant = Plant()
    passed = iter(range(100))

    def say() -> None:
        seconds = next(passed) * STEP
        for number in range(1, instances + 1):
            plant.say(
                f"a-{number}",
                pre_queue=waiting,
                rates={"in": arriving or per_second, "out": per_second},
                counters={"processed": seconds * per_second},
                cpu_s=seconds * cpu,
            )

    plant.sample(12, say)
    return plant


def test_a_model_is_reckoned_by_its_cpu_time() -> None:
    plant = loaded(300, 1.23)
    load = reckon(plant.history, ["a-1"], 1)
    assert load is not None
    assert load.as_dict() == {
        "message_ms": pytest.approx(4.1, rel=1e-3),
        "measured": False,
        "arriving": pytest.approx(300),
        "needed": 2,
        "running": 1,
    }


def test_one_for_which_messages_wait_shows_what_it_can_do() -> None:
    plant = loaded(100, 0.05, waiting=50, instances=2, arriving=125)
    load = reckon(plant.history, ["a-1", "a-2"], 2)
    assert load is not None
    # 250 a second need 3.6 instances of 70 a second each.
    assert load.message_ms == pytest.approx(10)
    assert (load.measured, load.needed) == (True, 4)


@pytest.mark.parametrize("per_second", [0, 0.1])
def test_of_hardly_any_message_nothing_is_reckoned(per_second: float) -> None:
    assert reckon(loaded(per_second, 0.1).history, ["a-1"], 1) is None


def test_of_one_that_is_not_there_nothing_is_reckoned() -> None:
    assert reckon(Plant("a-1").history, ["a-1", "gone-1"], 2) is None
