"""What a worker reports is a snapshot or none, and whatever is taken for one can be shown."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.snapshots import process, traffic

from pyboot_svc.cli.table import table_lines
from pyboot_svc.master.history import History
from pyboot_svc.master.peer import Reading
from pyboot_svc.metrics.decoding import (
    KINDS,
    LONGEST_SENTENCE,
    LONGEST_TEXT,
    Malformed,
    decode_snapshot,
)
from pyboot_svc.metrics.figures import FIELDS
from pyboot_svc.metrics.snapshot import Last, Latency, Snapshot
from pyboot_svc.model.codec import PayloadFault
from pyboot_svc.web.page import render_page
from pyboot_svc.web.prometheus import render_metrics
from pyboot_svc.worker.delivery.dead_letters import REFUSED

REPORT = Snapshot(
    process(reasons=["no broker"], notices=["QoS 0"]),
    traffic(
        errors={"model": 1},
        latency_ms=Latency(1.5, 20),
        last=Last(1.5, 2.5, "model: it failed", 3.5),
    ),
).document()
PATHS = [field.path for field in FIELDS]


def changed(path: tuple[str, ...], value: Any) -> dict[str, Any]:
    """The report with something else at `path`."""
    document: dict[str, Any] = json.loads(json.dumps(REPORT))
    inner = document
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return document


def show(report: dict[str, Any]) -> None:
    """As everybody who shows instances does."""
    row = {"state": "?", **report, "instance": "a-1", "model": "a", "number": 1, "error": None}
    document = {"app_name": "a", "description": "", "instances": [row]}
    json.dumps(document, allow_nan=False)
    render_page(document).encode()
    render_metrics(document)
    "\n".join(table_lines([row])).encode()
    moments = iter((5.0, 10.0))
    history = History(lambda: {"a-1": Reading(report, None)}, lambda: next(moments))
    history.sample()
    history.sample()
    json.dumps([history.recent(), history.combined(["a-1"])], allow_nan=False)


def test_what_a_worker_reports_is_taken_as_it_is() -> None:
    assert decode_snapshot(REPORT) == REPORT
    show(decode_snapshot(REPORT))


def test_while_the_model_is_loaded_there_is_less() -> None:
    loading = Snapshot(process(state="loading"), None).document()
    assert decode_snapshot(loading) == loading


def test_another_version_may_tell_less_and_more() -> None:
    assert decode_snapshot({"pid": 1, "more": [1], "rates": {"in": 1, "else": 2}}) == {
        "pid": 1,
        "rates": {"in": 1},
    }


def test_the_kinds_are_those_of_dead_letters() -> None:
    assert {*PayloadFault, REFUSED} == KINDS


BAD = {
    "a list of errors": (("errors",), [1]),
    "an unknown kind": (("errors",), {"x": 1}),
    "a kind that is no text": (("errors",), {"model": "1"}),
    "a huge integer": (("pre_queue",), 10**400),
    "a huge number": (("uptime_s",), 10**400),
    "a negative count": (("counters", "received"), -1),
    "a truth value": (("counters", "received"), True),
    "a fraction": (("pid",), 1.5),
    "NaN": (("rates", "in"), math.nan),
    "infinity": (("latency_ms", "p50"), math.inf),
    "null": (("uptime_s",), None),
    "text for a record": (("counters",), "many"),
    "null for a record": (("brokers", "pre"), None),
    "a number for text": (("brokers", "pre", "address"), 1),
    "text for a list": (("reasons",), "why"),
    "a number in a list": (("reasons",), ["why", 1]),
    "an endless list": (("notices",), ["x"] * 101),
    "a list for a histogram": (("histograms", "model_s"), [1]),
    "other buckets": (("histograms", "model_s"), {"counts": [1, 2], "sum": 1.0}),
    "a negative bucket": (("histograms", "latency_s"), {"counts": [-1] * 17, "sum": 1.0}),
    "a fraction of a bucket": (("histograms", "latency_s"), {"counts": [0.5] * 17, "sum": 1.0}),
    "an infinite sum": (("histograms", "latency_s"), {"counts": [0] * 17, "sum": math.inf}),
    "an unknown state": (("state",), "splendid"),
}


@pytest.mark.parametrize(("path", "value"), BAD.values(), ids=BAD)
def test_what_no_worker_reports_is_malformed_and_says_where(
    path: tuple[str, ...], value: Any
) -> None:
    with pytest.raises(Malformed, match=path[0]):
        decode_snapshot(changed(path, value))


def test_text_is_made_printable_and_cut() -> None:
    report = decode_snapshot(changed(("version",), "\ud800\x1b[2J" + "x" * 500))
    assert report["version"].startswith("\\ud800\\x1b[2Jx")
    assert len(report["version"]) == LONGEST_TEXT
    report = decode_snapshot(changed(("reasons",), ["\u202e" + "x" * 5000]))
    assert report["reasons"][0].startswith("\\u202ex")
    assert len(report["reasons"][0]) == LONGEST_SENTENCE


NUMBERS = st.one_of(st.integers(), st.floats(), st.just(10**400), st.integers(-(2**80), 2**80))
TEXTS = st.text(st.characters(codec=None, categories=None))
ANYTHING = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS),
    lambda inner: st.one_of(st.lists(inner), st.dictionaries(TEXTS, inner)),
    max_leaves=20,
)


@given(path=st.sampled_from([*PATHS, ("counters",), ("last",), ("brokers", "pre")]), value=ANYTHING)
def test_whatever_is_taken_can_be_shown(path: tuple[str, ...], value: Any) -> None:
    try:
        report = decode_snapshot(changed(path, value))
    except Malformed as error:
        str(error).encode()
    else:
        show(report)
