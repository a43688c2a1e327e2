"""From figures to instances and threads."""

from __future__ import annotations

import pytest

from pyboot_svc.bench.estimate import best_threads, need, reason, sustained
from pyboot_svc.bench.stages import STAGES, StageCosts


def costs(*, cpu: float = 100.0, wall: float = 100.0, disturbed: float = 0.0) -> StageCosts:
    spent = {**dict.fromkeys(STAGES, 0.0), "read": 5.0, "model": cpu, "write": 5.0}
    return StageCosts(1000, 1000, spent, wall, (wall, wall), disturbed, {}, "")


def test_the_network_part_is_added_to_the_threads() -> None:
    assert sustained({1: 10_000.0}, costs()) == {1: pytest.approx(1e6 / 110)}


@pytest.mark.parametrize(
    ("rates", "threads"),
    [
        ({1: 100, 2: 100, 4: 120}, 1),
        ({1: 100, 2: 195, 4: 200}, 2),
        ({1: 100, 2: 200, 4: 400, 8: 800}, 8),
    ],
)
def test_the_fewest_threads_that_bring_nearly_all(rates: dict[int, float], threads: int) -> None:
    assert best_threads(rates) == threads


@pytest.mark.parametrize(
    ("rates", "measured", "gil", "said"),
    [
        ({1: 100, 2: 101}, costs(), True, "holds the GIL"),
        ({1: 100, 2: 101}, costs(), False, "block each other, or no core"),
        ({1: 100, 2: 101}, costs(cpu=10), True, "keeps the others waiting"),
        ({1: 100, 2: 190}, costs(), True, "1.9 times: the model releases the GIL"),
        ({1: 100, 2: 190}, costs(), False, "1.9 times: there is no GIL"),
        ({1: 100, 2: 200}, costs(cpu=10), True, "2.0 times: 90% of a call is waiting"),
        ({1: 100, 2: 200}, costs(cpu=10, disturbed=0.6), True, "releases the GIL"),
    ],
)
def test_the_reason(rates: dict[int, float], measured: StageCosts, gil: bool, said: str) -> None:
    assert said in reason(rates, measured, gil=gil)


def test_what_a_rate_needs() -> None:
    rates = {1: 1000.0, 2: 1990.0, 4: 2000.0}
    wanted = need(2000, rates, costs())
    assert (wanted.instances, wanted.threads) == (2, 2)
    assert wanted.cores == pytest.approx(2000 * 110 / 1e6)


def test_no_more_threads_than_a_rate_needs() -> None:
    wanted = need(10, {1: 100.0, 2: 200.0}, costs())
    assert (wanted.instances, wanted.threads) == (1, 1)
