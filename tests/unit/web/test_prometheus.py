"""What /metrics says is what Prometheus and OpenMetrics call well-formed."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import pytest
from prometheus_client.openmetrics import parser as open_metrics
from prometheus_client.parser import text_string_to_metric_families
from support.collection import no_collection
from support.promtool import promtool
from support.snapshots import distribution, process, traffic

from pyboot_svc.metrics.decoding import KINDS, STATES
from pyboot_svc.metrics.figures import FIGURES, MASTERS
from pyboot_svc.metrics.snapshot import (
    BATCH_BOUNDS,
    LATENCY_BOUNDS,
    MODEL_BOUNDS,
    Histograms,
    Latency,
    Snapshot,
)
from pyboot_svc.web.prometheus import OPEN_METRICS, PROMETHEUS, content_type, render_metrics

HOSTILE = 'a "quoted" \\ back\nslash'
BUSY = traffic(
    errors=dict.fromkeys(KINDS, 3),
    latency_ms=Latency(1.5, 20.0),
    histograms=Histograms(
        distribution(LATENCY_BOUNDS, 1, 2, 3, total=0.004),
        distribution(MODEL_BOUNDS, 6, total=0.00003),
        distribution(BATCH_BOUNDS, 1, 2, total=6.0),
    ),
)


def row(number: int, **changes: Any) -> dict[str, Any]:
    return {
        **Snapshot(process(), BUSY).document(),
        "model": "pump",
        "number": number,
        "error": None,
        "restarts": 2,
        "configured": True,
        "config": {"queue": {"pre": 1000, "post": 2000}},
        **changes,
    }


def document(*instances: dict[str, Any]) -> dict[str, Any]:
    return {
        "app_name": HOSTILE,
        "version": "1.0",
        "started": 1_700_000_000.0,
        "refused_connections": {"no hello": 2},
        "instances": list(instances),
    }


ABSENT = {
    "model": "pump",
    "number": 3,
    "error": "absent: not connected",
    "state": "absent",
    "configured": True,
    "restarts": None,
    "config": None,
    "pre_queue": None,
}
ALL = document(row(1), row(2, model_version=HOSTILE), ABSENT)


def samples(families: Iterable[Any]) -> dict[tuple[Any, ...], float]:
    return {
        (one.name, *sorted(one.labels.items())): one.value
        for family in families
        for one in family.samples
    }


def test_both_formats_say_the_same() -> None:
    text = render_metrics(ALL).decode()
    strict = render_metrics(ALL, OPEN_METRICS).decode()
    told = samples(text_string_to_metric_families(text))
    families = open_metrics.text_string_to_metric_families(strict)  # type: ignore[no-untyped-call]
    assert told == samples(families)
    own = ("instance", "2"), ("model", "pump")
    assert told["pyboot_model_duration_seconds_bucket", own[0], ("le", "+Inf"), own[1]] == 6
    assert told["pyboot_master_info", ("app_name", HOSTILE), ("version", "1.0")] == 1
    assert HOSTILE in {value for labels in told for _, value in labels[1:]}


def test_an_instance_that_does_not_answer_has_no_figures_but_the_masters() -> None:
    text = render_metrics(document(ABSENT)).decode()
    told = samples(text_string_to_metric_families(text))
    assert {name for name, *labels in told if ("instance", "3") in labels} == {
        *("pyboot_up", "pyboot_ready", "pyboot_state", "pyboot_configured")
    }


def test_promtool_takes_it() -> None:
    found = promtool("check", "metrics", text=render_metrics(ALL).decode())
    assert (found.returncode, found.stdout, found.stderr) == (0, "", "")


ACCEPTED = {
    "a browser": ("text/html,*/*;q=0.8", PROMETHEUS),
    "none": ("", PROMETHEUS),
    "prometheus": ("application/openmetrics-text;version=1.0.0,text/plain;q=0.5", OPEN_METRICS),
}


@pytest.mark.parametrize(("accept", "kind"), ACCEPTED.values(), ids=ACCEPTED)
def test_who_asks_gets_what_it_reads(accept: str, kind: str) -> None:
    assert content_type(accept) == kind


def test_an_instance_has_a_bounded_number_of_series() -> None:
    """As docs/metrics.md says, whatever its models, topics and messages are."""
    most = row(1, state="ready")
    lines = render_metrics({"instances": [most]}).decode().splitlines()
    series = [line for line in lines if 'instance="1"' in line]
    assert len(series) <= 130
    spread = {f.meaning.label for f in (*FIGURES, *MASTERS) if f.spreads}
    assert spread == {"kind", "state"}  # each of a known set
    assert len(KINDS) + len(STATES) < 20


def calls(work: Callable[[], object]) -> int:
    """Of functions, in Python and in C."""
    count = 0

    def profile(frame: Any, event: str, argument: Any) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    with no_collection():
        sys.setprofile(profile)
        try:
            work()
        finally:
            sys.setprofile(before)
    return count


def test_its_cost_grows_with_the_instances_and_no_faster() -> None:
    documents = [document(*map(row, range(count))) for count in (100, 1000)]
    few, many = (calls(partial(render_metrics, one)) for one in documents)
    assert many <= 10 * few
