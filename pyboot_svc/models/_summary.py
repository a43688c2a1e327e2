"""Count, mean, sum of squared deviations, least and greatest of some readings; empty for none.

Merged after Chan, Golub and LeVeque (1979): nothing is ever subtracted, so errors don't add up.
"""

from __future__ import annotations

import math
from typing import Any

Summary = list[float]


def single(value: float) -> Summary:
    return [1, value, 0.0, value, value]


def merged(one: Summary, other: Summary) -> Summary:
    if not one or not other:
        return one or other
    count, mean, squares, least, greatest = one
    more, its_mean, its_squares, its_least, its_greatest = other
    total, distance = count + more, its_mean - mean
    return [
        total,
        mean + distance * (more / total),
        squares + its_squares + distance * distance * (count * more / total),
        min(least, its_least),
        max(greatest, its_greatest),
    ]


def statistics(summary: Summary) -> dict[str, Any]:
    """`std` is that of a population: the root of the mean squared deviation."""
    count, mean, squares, least, greatest = summary
    return {
        "count": int(count),
        "mean": mean,
        "min": least,
        "max": greatest,
        "std": math.sqrt(squares / count),
    }
