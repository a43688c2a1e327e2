"""How the latency of a model's messages spread over the last day: how many are in each bucket."""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from pyboot_svc.master.tiers import SAMPLE_SECONDS, Tier
from pyboot_svc.metrics.snapshot import LATENCY_BOUNDS

# 15 minutes, 3 hours, a day.
SPREAD_TIERS = (Tier(15, 60), Tier(180, 60), Tier(1800, 48))
# What one model takes at most, with what Python needs to keep it.
MOST_SPREAD_BYTES = 30_000
# Whatever a worker says to have counted.
_MOST_COUNT = 2**32 - 1


class Spread:
    """The messages of all instances of a model, by bucket and interval; of an interval in which
    none told its counts twice, nothing is known."""

    def __init__(self) -> None:
        self._columns: tuple[deque[array[int] | None], ...] = tuple(
            deque([None] * tier.values, tier.values) for tier in SPREAD_TIERS
        )
        self._before: Mapping[str, Sequence[int]] = {}

    def push(self, slot: int, counted: Mapping[str, Sequence[int]]) -> None:
        """What each instance has counted since its start, at the end of the sample `slot`."""
        grown = [
            _grown(counts, self._before[instance])
            for instance, counts in counted.items()
            if instance in self._before
        ]
        self._before = counted
        for columns, tier in zip(self._columns, SPREAD_TIERS, strict=True):
            if slot % (tier.seconds // SAMPLE_SECONDS) == 0:
                columns.append(None)
            for counts in grown:
                columns[-1] = _sum(columns[-1], counts)

    def document(self) -> dict[str, Any]:
        """`counts` by tier and interval, the oldest first; the newest interval is still open."""
        return {
            "bounds_s": list(LATENCY_BOUNDS),
            "tiers": [
                {
                    "seconds": tier.seconds,
                    "counts": [None if one is None else one.tolist() for one in columns],
                }
                for columns, tier in zip(self._columns, SPREAD_TIERS, strict=True)
            ],
        }


def _grown(counts: Sequence[int], before: Sequence[int]) -> Sequence[int]:
    grown = [now - then for now, then in zip(counts, before, strict=True)]
    # A counter that is less than it was has begun anew.
    return grown if min(grown) >= 0 else counts


def _sum(some: Sequence[int] | None, more: Sequence[int]) -> array[int]:
    before = [0] * len(more) if some is None else some
    return array("I", [min(a + b, _MOST_COUNT) for a, b in zip(before, more, strict=True)])
