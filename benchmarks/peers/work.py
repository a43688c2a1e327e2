"""The work that everybody is compared by, once for all who can run Python."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from typing import Any

IN = "bench/in/#"
OUT = "bench/out"


def statistics_of(reading: dict[str, Any]) -> dict[str, Any]:
    """Mean, standard deviation, least and most of 20 °C values, and all of them in °F."""
    values = reading["values"]
    mean = sum(values) / len(values)
    return {
        "id": reading["id"],
        "mean": mean,
        "std": math.sqrt(sum([(value - mean) ** 2 for value in values]) / len(values)),
        "min": min(values),
        "max": max(values),
        "converted": [value * 1.8 + 32 for value in values],
    }


def unchanged(payload: bytes) -> bytes:
    return payload


def compute(payload: bytes) -> bytes:
    import orjson

    return orjson.dumps(statistics_of(orjson.loads(payload)))


def arguments() -> tuple[int, int, Callable[[bytes], bytes]]:
    """PORT QOS WORK of the command line; more is the peer's own."""
    port, qos, work = sys.argv[1:4]
    return int(port), int(qos), compute if work == "compute" else unchanged
