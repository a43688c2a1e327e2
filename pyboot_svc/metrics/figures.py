"""What each figure of an instance is called, and what it means: the one definition of it.

The worker counts by this table, the master's `/metrics` and page, `pyboot status` and
docs/metrics.md are made of it. A new counter is a line in COUNTERS, and an `add` where it happens.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple


class Figure(NamedTuple):
    """One figure. `path` is where it stands in an instance of `/api/instances`.

    `prometheus` is its whole name at `/metrics`, empty when it isn't there. With a `label` there
    are several of it, by that label, of which `whole` is the sum. `title` heads its column.
    """

    path: tuple[str, ...]
    kind: str
    unit: str
    meaning: str
    prometheus: str
    label: str = ""
    title: str = ""

    @property
    def key(self) -> str:
        return self.path[-1]

    def value(self, instance: Mapping[str, Any]) -> Any:
        """None where the instance doesn't tell it."""
        found: Any = instance
        for key in self.path:
            found = found.get(key) if isinstance(found, Mapping) else None
        return found

    def whole(self, instance: Mapping[str, Any]) -> Any:
        """What stands in a table's one cell."""
        found = self.value(instance)
        return sum(found.values()) if self.label == "kind" and found is not None else found


def _counter(
    key: str, meaning: str, prometheus: str = "", title: str = "", unit: str = "messages"
) -> Figure:
    name = prometheus or f"pyboot_{key}_messages_total"
    return Figure(("counters", key), "counter", unit, meaning, name, title=title)


def _waiting(key: str, meaning: str, prometheus: str, title: str = "") -> Figure:
    return Figure((key,), "gauge", "messages", meaning, prometheus, title=title)


# Counted by the worker, since its start; nothing else is.
COUNTERS = (
    _counter("received", "Inputs that arrived."),
    _counter("processed", "Inputs that are done: with a result, with none, or given up."),
    _counter("published", "Results that were published, and acknowledged where the QoS has that."),
    _counter("nothing_to_publish", "Inputs for which the model returned None."),
    _counter(
        "spooled",
        "Results written to the spool because they could not go out at once.",
        "pyboot_results_spooled_total",
    ),
    _counter(
        "dropped",
        "Inputs of QoS 0 that were dropped because pre_queue was full, in messages or in bytes.",
        title="dropped",
    ),
    _counter("dropped_at_stop", "Inputs of QoS 0 that a stop left unprocessed."),
    _counter(
        "sessions_lost",
        "Times that the pre broker had forgotten the session: messages may be missing.",
        "pyboot_sessions_lost_total",
        unit="sessions",
    ),
    _counter(
        "sessions_unsure",
        "Times that the pre broker had kept the session, and perhaps not its shared subscription.",
        "pyboot_sessions_unsure_total",
        unit="sessions",
    ),
    _counter(
        "spool_expired",
        "Results that were dropped from the spool, being older than `spool.max_age`.",
        "pyboot_spool_expired_results_total",
    ),
    _counter(
        "spool_overflowed",
        "Results that were dropped from the spool, which was full (`on_full: drop_oldest`).",
        "pyboot_spool_overflowed_results_total",
    ),
)

ERRORS = Figure(
    ("errors",),
    "counter",
    "messages",
    "Messages that failed for good, by kind: `refused` ones by the post broker.",
    "pyboot_errors_total",
    label="kind",
    title="errors",
)

GAUGES = (
    _waiting(
        "pre_queue", "Inputs that wait for the model.", "pyboot_pre_queue_messages", "pre_queue"
    ),
    _waiting(
        "post_queue",
        "Results that wait to be published.",
        "pyboot_post_queue_messages",
        "post_queue",
    ),
    _waiting(
        "in_flight",
        "Results and dead letters that were sent, and that the post broker has not acknowledged.",
        "pyboot_in_flight_messages",
    ),
    _waiting(
        "unacknowledged",
        "Inputs of QoS 1 or 2 that were taken in, and not acknowledged to the pre broker yet.",
        "pyboot_unacknowledged_messages",
    ),
    _waiting("spooled", "Results that wait in the spool, on disk.", "pyboot_spooled_messages"),
    _waiting(
        "dead_letters_waiting",
        "Dead letters that wait to be published.",
        "pyboot_dead_letters_waiting_messages",
    ),
    Figure(
        ("held_bytes",),
        "gauge",
        "bytes",
        "Topics and payloads that are held in memory; `queue.bytes` bounds it.",
        "pyboot_held_bytes",
    ),
    Figure(
        ("rss_bytes",),
        "gauge",
        "bytes",
        "Resident memory of the worker.",
        "pyboot_resident_memory_bytes",
    ),
    Figure(("uptime_s",), "gauge", "seconds", "Since the worker started.", "pyboot_uptime_seconds"),
)

CPU = Figure(
    ("cpu_s",), "counter", "seconds", "CPU time that the worker used.", "pyboot_cpu_seconds_total"
)

RATE_IN = Figure(
    ("rates", "in"), "gauge", "1/s", "`received`, over the last 10 s.", "", title="in/s"
)
RATE_OUT = Figure(
    ("rates", "out"), "gauge", "1/s", "`published`, over the last 10 s.", "", title="out/s"
)

_LATENCY = (
    "From an input's arrival to its result's being published, spooled ones left out, over the "
    "last 10 s"
)
LATENCY_NAME, LATENCY_MEANING = "pyboot_latency_seconds", f"{_LATENCY}."
# In ms in the API; Prometheus wants seconds, and a label for the quantile.
LATENCIES = {
    quantile: Figure(
        ("latency_ms", key),
        "gauge",
        "ms",
        f"{_LATENCY}: {share} of them took no longer.",
        f'{LATENCY_NAME}{{quantile="{quantile}"}}',
        title=f"{key} ms",
    )
    for key, quantile, share in (("p50", "0.5", "half"), ("p99", "0.99", "99 %"))
}

# What the master itself says of an instance.
UP = Figure((), "gauge", "0 or 1", "1 when the instance answers.", "pyboot_up")
READY = Figure((), "gauge", "0 or 1", "1 when it can do its work.", "pyboot_ready")

_TITLED = (RATE_IN, RATE_OUT, *GAUGES, *LATENCIES.values(), ERRORS, *COUNTERS)
# What a person is shown of each instance, in this order.
COLUMNS = tuple(figure for figure in _TITLED if figure.title)
