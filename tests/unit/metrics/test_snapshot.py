"""What goes over the wire is a contract, and what a worker tells is shown wherever people look."""

from __future__ import annotations

import json
import re

from support.snapshots import process, traffic

from pyboot_svc.cli.table import table_lines
from pyboot_svc.metrics.figures import COLUMNS, FIELDS, FIGURES
from pyboot_svc.metrics.snapshot import Counters, Last, Latency, Rates, Snapshot
from pyboot_svc.web.page import render_page
from pyboot_svc.web.prometheus import render_metrics

COUNTERS = Counters(100, 97, 90, 2, 4, 11, 5, 12, 1, 3, 13, 14)
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
    last=Last(1700000001.5, 1700000002.5, "model: it failed", 1700000003.5),
)
BROKER = (
    '{"address":"plant:1883","state":"connected","reason":"","since":1700000000.5,'
    '"attempts":0,"connects":1}'
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
    '"spool_expired":13,"spool_overflowed":14},'
    '"errors":{"model":1,"not_json":2},"rates":{"in":10.5,"out":9.5},'
    '"latency_ms":{"p50":1.5,"p99":20.0},"last":{"input":1700000001.5,"result":1700000002.5,'
    '"error":"model: it failed","error_time":1700000003.5},'
    f'"brokers":{{"pre":{BROKER},"post":{BROKER}}}'
)
ROW = {
    **Snapshot(process(), BUSY).document(),
    "model": "pump",
    "number": 1,
    "error": None,
    "restarts": 2,
}
# Each name and its value, from which Prometheus and its users' dashboards read.
SERIES = """\
pyboot_uptime_seconds 12.5
pyboot_cpu_seconds_total 0.75
pyboot_resident_memory_bytes 2.3e+07
pyboot_pre_queue_messages 3.0
pyboot_post_queue_messages 1.0
pyboot_in_flight_messages 2.0
pyboot_ticks_total 4.0
pyboot_unacknowledged_messages 6.0
pyboot_spooled_messages 7.0
pyboot_dead_letters_waiting_messages 8.0
pyboot_held_bytes 900.0
pyboot_received_messages_total 100.0
pyboot_processed_messages_total 97.0
pyboot_published_messages_total 90.0
pyboot_nothing_to_publish_messages_total 2.0
pyboot_results_spooled_total 11.0
pyboot_dropped_messages_total 5.0
pyboot_dropped_at_stop_messages_total 12.0
pyboot_sessions_lost_total 1.0
pyboot_sessions_unsure_total 3.0
pyboot_spool_expired_results_total 13.0
pyboot_spool_overflowed_results_total 14.0
pyboot_restarts_total 2.0
pyboot_up 1.0
pyboot_ready 1.0
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
    told = [line for line in text.splitlines() if not line.startswith("#")]
    names = [line.replace('{instance="1",model="pump"}', "") for line in told]
    plain = [line for line in names if "{" not in line]
    assert sorted(plain) == sorted(SERIES.splitlines())
    assert {*names} - {*plain} == {
        'pyboot_instance_info{code="0123456789abcdef",edge_mode="plant.pump",instance="1",'
        'model="pump",model_version="2.1",version="1.0"} 1.0',
        'pyboot_errors_total{instance="1",kind="model",model="pump"} 1.0',
        'pyboot_errors_total{instance="1",kind="not_json",model="pump"} 2.0',
        'pyboot_latency_seconds{instance="1",model="pump",quantile="0.5"} 0.0015',
        'pyboot_latency_seconds{instance="1",model="pump",quantile="0.99"} 0.02',
    }


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
