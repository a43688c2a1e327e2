"""What goes over the wire is a contract, and what a worker tells is shown wherever people look."""

from __future__ import annotations

import json
import re

from support.snapshots import distribution, process, traffic

from pyboot_svc.cli.table import table_lines
from pyboot_svc.metrics.figures import COLUMNS, FIELDS, FIGURES
from pyboot_svc.metrics.snapshot import (
    BATCH_BOUNDS,
    LATENCY_BOUNDS,
    MODEL_BOUNDS,
    Counters,
    Histograms,
    Last,
    Latency,
    Rates,
    Snapshot,
)
from pyboot_svc.web.page import render_page
from pyboot_svc.web.prometheus import render_metrics

COUNTERS = Counters(100, 97, 90, 2, 4, 11, 5, 12, 1, 3, 13, 14, 15)
BUSY = traffic(
    pre_queue=3,
    post_queue=1,
    in_flight=2,
    unacknowledged=6,
    spooled=7,
    dead_letters_waiting=8,
    held_bytes=900,
    counters=COUNTERS,
    errors={"model": 1, "not_json": 2},
    rates=Rates(10.5, 9.5),
    latency_ms=Latency(1.5, 20.0),
    histograms=Histograms(
        distribution(LATENCY_BOUNDS, 0, 40, 50, total=0.25),
        distribution(MODEL_BOUNDS, 97, total=0.0004),
        distribution(BATCH_BOUNDS, 7, 20, 10, total=97.0),
    ),
    last=Last(1700000001.5, 1700000002.5, "model: it failed", 1700000003.5),
)
BROKER = (
    '{"address":"plant:1883","state":"connected","reason":"","since":1700000000.5,'
    '"attempts":0,"connects":1,"takeovers":0}'
)
PROCESS = (
    '"instance":"pump-1","pid":4711,"version":"1.0","state":"%s","reasons":[],"notices":[],'
    '"started":1700000000.0,"uptime_s":12.5,"cpu_s":0.75,"rss_bytes":23000000,'
    '"edge_mode":"plant.pump","model_version":"2.1","code":"0123456789abcdef","threads":1'
)
TRAFFIC = (
    '"pre_queue":3,"post_queue":1,"in_flight":2,"unacknowledged":6,"spooled":7,'
    '"dead_letters_waiting":8,"held_bytes":900,'
    '"counters":{"received":100,"processed":97,"published":90,"nothing_to_publish":2,'
    '"ticks":4,"spooled":11,"dropped":5,"dropped_at_stop":12,"sessions_lost":1,"sessions_unsure":3,'
    '"spool_expired":13,"spool_overflowed":14,"spans_dropped":15},'
    '"errors":{"model":1,"not_json":2},"rates":{"in":10.5,"out":9.5},'
    '"latency_ms":{"p50":1.5,"p99":20.0},"histograms":{'
    f'"latency_s":{{"counts":[0,40,50{",0" * 14}],"sum":0.25}},'
    f'"model_s":{{"counts":[97{",0" * 14}],"sum":0.0004}},'
    f'"batch_size":{{"counts":[7,20,10{",0" * 9}],"sum":97.0}}}},'
    '"last":{"input":1700000001.5,"result":1700000002.5,'
    '"error":"model: it failed","error_time":1700000003.5},'
    f'"brokers":{{"pre":{BROKER},"post":{BROKER}}}'
)
ROW = {
    **Snapshot(process(), BUSY).document(),
    "model": "pump",
    "number": 1,
    "error": None,
    "restarts": 2,
    "configured": True,
    "config": {"queue": {"pre": 1000, "post": 2000}},
}
# Each name and its value, from which Prometheus and its users' dashboards read.
SERIES = """\
pyboot_notices 0
pyboot_start_time_seconds 1700000000.0
pyboot_model_threads 1
pyboot_last_input_timestamp_seconds 1700000001.5
pyboot_last_result_timestamp_seconds 1700000002.5
pyboot_last_error_timestamp_seconds 1700000003.5
pyboot_configured 1
pyboot_pre_queue_limit_messages 1000
pyboot_post_queue_limit_messages 2000
pyboot_uptime_seconds 12.5
pyboot_cpu_seconds_total 0.75
pyboot_resident_memory_bytes 23000000
pyboot_pre_queue_messages 3
pyboot_post_queue_messages 1
pyboot_in_flight_messages 2
pyboot_ticks_total 4
pyboot_unacknowledged_messages 6
pyboot_spooled_messages 7
pyboot_dead_letters_waiting_messages 8
pyboot_held_bytes 900
pyboot_received_messages_total 100
pyboot_processed_messages_total 97
pyboot_published_messages_total 90
pyboot_nothing_to_publish_messages_total 2
pyboot_results_spooled_total 11
pyboot_dropped_messages_total 5
pyboot_dropped_at_stop_messages_total 12
pyboot_sessions_lost_total 1
pyboot_sessions_unsure_total 3
pyboot_spool_expired_results_total 13
pyboot_spool_overflowed_results_total 14
pyboot_dropped_spans_total 15
pyboot_restarts_total 2
pyboot_up 1
pyboot_ready 1
pyboot_message_latency_seconds_sum 0.25
pyboot_message_latency_seconds_count 90
pyboot_model_duration_seconds_sum 0.0004
pyboot_model_duration_seconds_count 97
pyboot_batch_size_messages_sum 97.0
pyboot_batch_size_messages_count 37
"""
BUCKETS = """\
pyboot_batch_size_messages_bucket{le="1.0"} 7
pyboot_batch_size_messages_bucket{le="2.0"} 27
pyboot_batch_size_messages_bucket{le="4.0"} 37
pyboot_message_latency_seconds_bucket{le="0.0005"} 0
pyboot_message_latency_seconds_bucket{le="0.001"} 40
pyboot_message_latency_seconds_bucket{le="0.0025"} 90
pyboot_message_latency_seconds_bucket{le="50.0"} 90
pyboot_message_latency_seconds_bucket{le="+Inf"} 90
pyboot_model_duration_seconds_bucket{le="1e-05"} 97
"""
LABELLED = """\
pyboot_errors_total{kind="model"} 1
pyboot_errors_total{kind="not_json"} 2
pyboot_latency_seconds{quantile="0.5"} 0.0015
pyboot_latency_seconds{quantile="0.99"} 0.02
pyboot_state{state="ready"} 1
pyboot_instance_info{version="1.0",edge_mode="plant.pump",model_version="2.1",\
code="0123456789abcdef"} 1
pyboot_broker_connected{broker="pre"} 1
pyboot_broker_connected{broker="post"} 1
pyboot_broker_state_since_timestamp_seconds{broker="pre"} 1700000000.5
pyboot_broker_state_since_timestamp_seconds{broker="post"} 1700000000.5
pyboot_broker_attempts{broker="pre"} 0
pyboot_broker_attempts{broker="post"} 0
pyboot_broker_connects_total{broker="pre"} 1
pyboot_broker_connects_total{broker="post"} 1
pyboot_broker_takeovers_total{broker="pre"} 0
pyboot_broker_takeovers_total{broker="post"} 0
"""


def encoded(snapshot: Snapshot) -> str:
    return json.dumps(snapshot.document(), separators=(",", ":"))


def test_a_snapshot_as_it_goes_over_the_wire() -> None:
    expected = f"{{{PROCESS % 'ready'},{TRAFFIC}}}"
    assert encoded(Snapshot(process(), BUSY)) == expected


def test_while_the_model_is_loaded_the_queues_are_empty() -> None:
    expected = f'{{{PROCESS % "loading"},"pre_queue":0,"post_queue":0}}'
    assert encoded(Snapshot(process(state="loading"), None)) == expected


def test_each_field_has_its_place_in_an_instance() -> None:
    assert [field.path for field in FIELDS if field.value(ROW) is None] == []
    assert len({field.path for field in FIELDS}) == len(FIELDS)


def test_each_figure_is_at_prometheus_unless_it_is_a_rate() -> None:
    absent = {figure.path for figure in FIGURES if not figure.meaning.prometheus}
    assert absent == {("rates", "in"), ("rates", "out")}
    text = render_metrics({"instances": [ROW]}).decode()
    own = 'model="pump",instance="1"'
    told = [line for line in text.splitlines() if own in line]
    names = [line.replace(own + ",", "").replace(f"{{{own}}}", "") for line in told]
    buckets = {line for line in names if '{le="' in line}
    bounds = [one.meaning.bounds for one in FIGURES if one.meaning.bounds]
    assert len(buckets) == sum(len(one) + 1 for one in bounds)
    assert buckets >= {*BUCKETS.splitlines()}
    expected = [*SERIES.splitlines(), *LABELLED.splitlines()]
    assert sorted(line for line in names if line not in buckets) == sorted(expected)


def test_people_are_shown_the_same_columns_everywhere() -> None:
    titles = (
        "in/s out/s pre_queue post_queue p50 ms p99 ms none errors dead spooled dropped restarts"
    )
    assert " ".join(figure.title for figure in COLUMNS) == titles
    values = [str(figure.whole(ROW)) for figure in COLUMNS]
    assert values == ["10.5", "9.5", "3", "1", "1.5", "20.0", "2", "3", "8", "7", "5", "2"]
    _, line, last = table_lines([ROW])
    assert re.fullmatch(r"pump-1: last error \d+ days ago: model: it failed", last)
    ago = re.compile(r"( +\d+ days ago){2}$")
    assert ago.search(line)
    assert ago.sub("", line).split() == ["pump-1", "ready", *values]
    page = render_page({"app_name": "a", "description": "", "instances": [ROW]})
    assert "".join(f"<td>{value}</td>" for value in values) in page
