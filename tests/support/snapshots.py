"""Snapshots as workers give them."""

from __future__ import annotations

from typing import Any

from pyboot_svc.metrics.snapshot import (
    BATCH_BOUNDS,
    LATENCY_BOUNDS,
    MODEL_BOUNDS,
    Brokers,
    ConnectionStatus,
    Counters,
    Distribution,
    Histograms,
    Last,
    Latency,
    Process,
    Rates,
    Traffic,
)


def process(**changes: Any) -> Process:
    usual: dict[str, Any] = {
        "instance": "pump-1",
        "pid": 4711,
        "version": "1.0",
        "state": "ready",
        "reasons": [],
        "notices": [],
        "started": 1_700_000_000.0,
        "uptime_s": 12.5,
        "cpu_s": 0.75,
        "rss_bytes": 23_000_000,
        "edge_mode": "plant.pump",
        "model_version": "2.1",
        "code": "0123456789abcdef",
        "threads": 1,
    }
    return Process(**{**usual, **changes})


def distribution(bounds: tuple[float, ...], *values: int, total: float = 0.0) -> Distribution:
    """With so many values in the first buckets."""
    return Distribution([*values, *[0] * (len(bounds) + 1 - len(values))], total)


def traffic(**changes: Any) -> Traffic:
    """Of a worker that has had nothing to do yet."""
    connected = ConnectionStatus("plant:1883", "connected", "", 1_700_000_000.5, 0, 1)
    usual: dict[str, Any] = {
        "pre_queue": 0,
        "post_queue": 0,
        "in_flight": 0,
        "unacknowledged": 0,
        "spooled": 0,
        "dead_letters_waiting": 0,
        "held_bytes": 0,
        "counters": Counters(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0),
        "errors": {},
        "rates": Rates(0.0, 0.0),
        "latency_ms": Latency(None, None),
        "histograms": Histograms(
            distribution(LATENCY_BOUNDS), distribution(MODEL_BOUNDS), distribution(BATCH_BOUNDS)
        ),
        "last": Last(None, None, None, None),
        "brokers": Brokers(connected, connected),
    }
    return Traffic(**{**usual, **changes})
