"""A worker's snapshot: each field of it, how it is called and what it means, in one place.

The worker fills it in. What `/api/instances`, `/metrics`, the page, `pyboot status` and
docs/metrics.md show is made of it: a new figure is a field here, and a value where it is known.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, NamedTuple

from pyboot_svc.metrics.meaning import (
    about,
    counter,
    gauge,
    histogram,
    latency,
    of_broker,
    timestamp,
)

# Few enough for a thousand instances, and fine enough for a quantile within a factor of 2.5.
LATENCY_BOUNDS = (
    *(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0, 25.0, 50.0),
)
# Models differ more: from a few microseconds to half a minute, in steps of about three.
MODEL_BOUNDS = (
    *(0.00001, 0.00003, 0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3),
    *(1.0, 3.0, 10.0, 30.0),
)
BATCH_BOUNDS = tuple(float(2**power) for power in range(11))


class Counters(NamedTuple):
    """Counted by the worker since its start."""

    received: Annotated[int, counter("Inputs that arrived.", "pyboot_received_messages_total")]
    processed: Annotated[
        int,
        counter(
            "Inputs that are done: with a result, with none, or given up.",
            "pyboot_processed_messages_total",
        ),
    ]
    published: Annotated[
        int,
        counter(
            "Results that were published, and acknowledged where the QoS has that.",
            "pyboot_published_messages_total",
        ),
    ]
    nothing_to_publish: Annotated[
        int,
        counter(
            "Inputs for which the model returned None.",
            "pyboot_nothing_to_publish_messages_total",
            title="none",
        ),
    ]
    ticks: Annotated[int, counter("Calls of the model's `tick`.", "pyboot_ticks_total", "calls")]
    spooled: Annotated[
        int,
        counter(
            "Results written to the spool because they could not go out at once.",
            "pyboot_results_spooled_total",
        ),
    ]
    dropped: Annotated[
        int,
        counter(
            "Inputs of QoS 0 that were dropped because pre_queue was full, in messages or in "
            "bytes.",
            "pyboot_dropped_messages_total",
            title="dropped",
        ),
    ]
    dropped_at_stop: Annotated[
        int,
        counter(
            "Inputs of QoS 0 that a stop left unprocessed.", "pyboot_dropped_at_stop_messages_total"
        ),
    ]
    sessions_lost: Annotated[
        int,
        counter(
            "Times that the pre broker had forgotten the session: messages may be missing.",
            "pyboot_sessions_lost_total",
            "sessions",
        ),
    ]
    sessions_unsure: Annotated[
        int,
        counter(
            "Times that the pre broker had kept the session, and perhaps not its shared "
            "subscription.",
            "pyboot_sessions_unsure_total",
            "sessions",
        ),
    ]
    spool_expired: Annotated[
        int,
        counter(
            "Results that were dropped from the spool, being older than `spool.max_age`.",
            "pyboot_spool_expired_results_total",
        ),
    ]
    spool_overflowed: Annotated[
        int,
        counter(
            "Results that were dropped from the spool, which was full (`on_full: drop_oldest`).",
            "pyboot_spool_overflowed_results_total",
        ),
    ]
    spans_dropped: Annotated[
        int,
        counter(
            "Spans for OpenTelemetry that the collector did not take in time.",
            "pyboot_dropped_spans_total",
            "spans",
        ),
    ]


class Rates(NamedTuple):
    """Over the last 10 s. A trailing `_` is not part of a field's name."""

    in_: Annotated[float, gauge("`received`, over the last 10 s.", unit="1/s", title="in/s")]
    out: Annotated[float, gauge("`published`, over the last 10 s.", unit="1/s", title="out/s")]


class Latency(NamedTuple):
    """None without results."""

    p50: Annotated[float | None, latency("p50 ms", "0.5", "half")]
    p99: Annotated[float | None, latency("p99 ms", "0.99", "99 %")]


class Distribution(NamedTuple):
    """How values spread since the start: how many are in each bucket, those beyond the last bound
    at the end; and their sum."""

    counts: list[int]
    sum: float


class Histograms(NamedTuple):
    """Since the worker's start."""

    latency_s: Annotated[
        Distribution,
        histogram(
            "From an input's arrival to its result's being published, spooled ones left out.",
            "pyboot_message_latency_seconds",
            "seconds",
            LATENCY_BOUNDS,
        ),
    ]
    model_s: Annotated[
        Distribution,
        histogram(
            "What a message takes of a model thread, decoding and encoding included. Of messages "
            "that are taken together, which are of 2 ms at most or of one `batch`, their mean.",
            "pyboot_model_duration_seconds",
            "seconds",
            MODEL_BOUNDS,
        ),
    ]
    batch_size: Annotated[
        Distribution,
        histogram(
            "How many messages a model thread takes at once: with `batch`, for one call.",
            "pyboot_batch_size_messages",
            "messages",
            BATCH_BOUNDS,
        ),
    ]


class Last(NamedTuple):
    """When something happened last, in seconds of Unix time; None: not since the start."""

    input: Annotated[
        float | None,
        timestamp("When an input arrived last", "pyboot_last_input_timestamp_seconds"),
    ]
    result: Annotated[
        float | None,
        timestamp("When a result was published last", "pyboot_last_result_timestamp_seconds"),
    ]
    error: Annotated[str | None, about("The last failure of a message, and its kind.")]
    error_time: Annotated[
        float | None,
        timestamp("When a message failed last", "pyboot_last_error_timestamp_seconds"),
    ]


class ConnectionStatus(NamedTuple):
    """The connection to one broker.

    A `reason` while it is connected: it is not known yet whether the broker answers again.
    """

    address: Annotated[str, about("Where it listens.")]
    state: Annotated[
        str,
        of_broker(
            gauge(
                "`connecting`, `connected` or `unreachable`; 1 when it is connected.",
                "pyboot_broker_connected",
                "0 or 1",
            ),
            truth="connected",
        ),
    ]
    reason: Annotated[
        str,
        about("Why it is not connected; while it is: not known yet whether the broker answers."),
    ]
    since: Annotated[
        float,
        of_broker(
            timestamp(
                "When the connection's state began", "pyboot_broker_state_since_timestamp_seconds"
            )
        ),
    ]
    attempts: Annotated[
        int,
        of_broker(
            gauge(
                "Attempts to connect since it became unreachable.",
                "pyboot_broker_attempts",
                "attempts",
            )
        ),
    ] = 0
    connects: Annotated[
        int,
        of_broker(
            counter(
                "How often it was connected since the worker's start.",
                "pyboot_broker_connects_total",
                "connections",
            )
        ),
    ] = 0
    takeovers: Annotated[
        int,
        of_broker(
            counter(
                "How often another client took the session over: is the instance running twice?",
                "pyboot_broker_takeovers_total",
                "sessions",
            )
        ),
    ] = 0


class Brokers(NamedTuple):
    """The two that a worker is connected to; of one name, there are two connections."""

    pre: ConnectionStatus
    post: ConnectionStatus


class Process(NamedTuple):
    """The process itself."""

    instance: Annotated[str, about("Its name.")]
    pid: Annotated[int, about("Its process id.")]
    version: Annotated[str, about("Its version of pyboot.")]
    state: Annotated[str, about("`loading`, `waiting`, `ready` or `draining`.")]
    reasons: Annotated[list[str], about("Why it is not ready.")]
    notices: Annotated[
        list[str],
        gauge(
            "What a broker grants less than it was asked for, and calls that last; how many.",
            "pyboot_notices",
            "notices",
        ),
    ]
    started: Annotated[float, timestamp("When it started", "pyboot_start_time_seconds")]
    uptime_s: Annotated[
        float, gauge("Since the worker started.", "pyboot_uptime_seconds", "seconds")
    ]
    cpu_s: Annotated[
        float, counter("CPU time that the worker used.", "pyboot_cpu_seconds_total", "seconds")
    ]
    rss_bytes: Annotated[
        int, gauge("Resident memory of the worker.", "pyboot_resident_memory_bytes", "bytes")
    ]
    edge_mode: Annotated[str, about("The model's function.")]
    model_version: Annotated[str, about("`__version__` of the model's module, if it has one.")]
    code: Annotated[str, about("A digest of the model's files, as they were loaded.")]
    threads: Annotated[int, gauge("Its model threads.", "pyboot_model_threads", "threads")]


class Traffic(NamedTuple):
    """What goes through it; there is none while the model is being loaded."""

    pre_queue: Annotated[
        int,
        gauge("Inputs that wait for the model.", "pyboot_pre_queue_messages", title="pre_queue"),
    ]
    post_queue: Annotated[
        int,
        gauge(
            "Results that wait to be published.", "pyboot_post_queue_messages", title="post_queue"
        ),
    ]
    in_flight: Annotated[
        int,
        gauge(
            "Results and dead letters that were sent, and that the post broker has not "
            "acknowledged.",
            "pyboot_in_flight_messages",
        ),
    ]
    unacknowledged: Annotated[
        int,
        gauge(
            "Inputs of QoS 1 or 2 that were taken in, and not acknowledged to the pre broker yet.",
            "pyboot_unacknowledged_messages",
        ),
    ]
    spooled: Annotated[
        int,
        gauge(
            "Results that wait in the spool, on disk.", "pyboot_spooled_messages", title="spooled"
        ),
    ]
    dead_letters_waiting: Annotated[
        int,
        gauge(
            "Dead letters that wait to be published.",
            "pyboot_dead_letters_waiting_messages",
            title="dead",
        ),
    ]
    held_bytes: Annotated[
        int,
        gauge(
            "Topics and payloads that are held in memory; `queue.bytes` bounds it.",
            "pyboot_held_bytes",
            "bytes",
        ),
    ]
    counters: Counters
    errors: Annotated[
        Mapping[str, int],
        counter(
            "Messages that failed for good, by kind: `refused` ones by the post broker.",
            "pyboot_errors_total",
            label="kind",
            title="errors",
        ),
    ]
    rates: Rates
    latency_ms: Latency
    histograms: Histograms
    last: Last
    brokers: Brokers


class Snapshot(NamedTuple):
    """What a worker answers the master."""

    process: Process
    traffic: Traffic | None

    def document(self) -> dict[str, Any]:
        """As JSON has it. Both parts stand side by side, and the queues' sizes are always there."""
        idle = {"pre_queue": 0, "post_queue": 0}
        return {
            **as_document(self.process),
            **(idle if self.traffic is None else as_document(self.traffic)),
        }


def as_document(record: Any) -> dict[str, Any]:
    """A record as plain data, by the names that its fields have outside."""
    return {
        name_of(name): as_document(value) if isinstance(value, tuple) else value
        for name, value in record._asdict().items()
    }


def is_record(kind: Any) -> bool:
    """Whether a field of this type has fields of its own."""
    return isinstance(kind, type) and issubclass(kind, tuple)


def name_of(field_name: str) -> str:
    return field_name.removesuffix("_")
