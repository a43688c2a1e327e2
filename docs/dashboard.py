"""The dashboard for Grafana; reference.py writes it.

It is made of the record of all figures: an expression that names no metric of it is an error here,
and not an empty panel there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pyboot_svc.metrics.figures import FIGURES, INFO, MASTERS, READY, UP
from pyboot_svc.metrics.meaning import Meaning

DASHBOARD = Path(__file__).parent.parent / "packaging" / "grafana" / "pyboot.json"

_MEANINGS: dict[str, Meaning] = {
    meaning.prometheus: meaning
    for meaning in (UP, READY, INFO, *(figure.meaning for figure in (*FIGURES, *MASTERS)))
    if meaning.prometheus
}
_SOURCE = {"type": "prometheus", "uid": "${source}"}
_WIDTH = 24
_CHOSEN = '{model=~"$model",instance=~"$instance"}'
_NAME = "{{model}}-{{instance}}"

# Title, unit and height of a panel, and what it shows: a legend and an expression each, in which
# `name[…]` stands for a metric of the instances that are chosen.
_Query = tuple[str, str]
_TILES: Sequence[tuple[str, str, str]] = (
    ("Ready", "short", "sum(pyboot_ready[])"),
    ("Configured", "short", "sum(pyboot_configured[])"),
    ("In", "cps", "sum(rate(pyboot_received_messages_total[$__rate_interval]))"),
    ("Out", "cps", "sum(rate(pyboot_published_messages_total[$__rate_interval]))"),
    (
        "Latency, 99 %",
        "s",
        "histogram_quantile(0.99, sum by (le) "
        "(rate(pyboot_message_latency_seconds_bucket[$__rate_interval])))",
    ),
    ("Failed, last hour", "short", "sum(increase(pyboot_errors_total[1h]))"),
    ("Waiting on disk", "short", "sum(pyboot_spooled_messages[])"),
    ("Restarts, last hour", "short", "sum(increase(pyboot_restarts_total[1h]))"),
)
_GRAPHS: Sequence[tuple[str, str, Sequence[_Query]]] = (
    (
        "Messages a second",
        "cps",
        (
            (
                "{{model}} in",
                "sum by (model) (rate(pyboot_received_messages_total[$__rate_interval]))",
            ),
            (
                "{{model}} out",
                "sum by (model) (rate(pyboot_published_messages_total[$__rate_interval]))",
            ),
        ),
    ),
    (
        "Waiting: before the model, after it, on disk",
        "short",
        (
            (f"{_NAME} before", "pyboot_pre_queue_messages[]"),
            (f"{_NAME} after", "pyboot_post_queue_messages[]"),
            (f"{_NAME} on disk", "pyboot_spooled_messages[]"),
        ),
    ),
    (
        "Latency, 50 % and 99 %",
        "s",
        tuple(
            (
                f"{{{{model}}}} {share * 100:g} %",
                f"histogram_quantile({share}, sum by (model, le) "
                "(rate(pyboot_message_latency_seconds_bucket[$__rate_interval])))",
            )
            for share in (0.5, 0.99)
        ),
    ),
    (
        "The model's time for a message, mean and 99 %",
        "s",
        (
            (
                "{{model}} mean",
                "sum by (model) (rate(pyboot_model_duration_seconds_sum[$__rate_interval])) / "
                "sum by (model) (rate(pyboot_model_duration_seconds_count[$__rate_interval]))",
            ),
            (
                "{{model}} 99 %",
                "histogram_quantile(0.99, sum by (model, le) "
                "(rate(pyboot_model_duration_seconds_bucket[$__rate_interval])))",
            ),
        ),
    ),
    (
        "Share of its time that a model thread is busy",
        "percentunit",
        (
            (
                _NAME,
                "rate(pyboot_model_duration_seconds_sum[$__rate_interval]) / "
                "pyboot_model_threads[]",
            ),
        ),
    ),
    (
        "Failed and dropped a second",
        "cps",
        (
            (
                "{{model}} {{kind}}",
                "sum by (model, kind) (rate(pyboot_errors_total[$__rate_interval]))",
            ),
            (
                "{{model}} dropped",
                "sum by (model) (rate(pyboot_dropped_messages_total[$__rate_interval]))",
            ),
        ),
    ),
    (
        "Processors used",
        "short",
        ((_NAME, "rate(pyboot_cpu_seconds_total[$__rate_interval])"),),
    ),
    ("Memory", "bytes", ((_NAME, "pyboot_resident_memory_bytes[]"),)),
    (
        "Connected to its brokers",
        "short",
        ((f"{_NAME} {{{{broker}}}}", "pyboot_broker_connected[]"),),
    ),
    (
        "Messages taken at once, mean",
        "short",
        (
            (
                "{{model}}",
                "sum by (model) (rate(pyboot_batch_size_messages_sum[$__rate_interval])) / "
                "sum by (model) (rate(pyboot_batch_size_messages_count[$__rate_interval]))",
            ),
        ),
    ),
)


def dashboard() -> str:
    document = {
        "title": "pyboot",
        "uid": "pyboot",
        "description": "written by docs/reference.py",
        "tags": ["pyboot", "mqtt"],
        "timezone": "browser",
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "schemaVersion": 39,
        "editable": True,
        "templating": {"list": [_source(), _variable("model"), _variable("instance")]},
        "panels": _numbered([*_tiles(), *_graphs(), _latency_map(), _table()]),
    }
    return json.dumps(document, indent=1) + "\n"


def expanded(expression: str) -> str:
    """With the labels that are chosen; raises KeyError for a metric that doesn't exist."""

    def chosen(match: re.Match[str]) -> str:
        name, window = match.groups()
        _meaning(name)
        return f"{name}{_CHOSEN}" + (f"[{window}]" if window else "")

    return re.sub(r"(pyboot_\w+)\[([^]]*)\]", chosen, expression)


def _meaning(name: str) -> Meaning:
    family = re.sub("_(bucket|sum|count)$", "", name)
    if family != name and _MEANINGS[family].kind == "histogram":
        return _MEANINGS[family]
    return _MEANINGS[name]


def _tiles() -> list[dict[str, Any]]:
    width = _WIDTH // len(_TILES)
    return [
        _panel("stat", title, unit, [("", expression)], (4, width, number * width, 0))
        for number, (title, unit, expression) in enumerate(_TILES)
    ]


def _graphs() -> list[dict[str, Any]]:
    width = _WIDTH // 2
    return [
        _panel(
            "timeseries",
            title,
            unit,
            queries,
            (8, width, number % 2 * width, 4 + number // 2 * 8),
        )
        for number, (title, unit, queries) in enumerate(_GRAPHS)
    ]


def _below_graphs() -> int:
    return 4 + (len(_GRAPHS) + 1) // 2 * 8


def _latency_map() -> dict[str, Any]:
    expression = "sum by (le) (increase(pyboot_message_latency_seconds_bucket[$__rate_interval]))"
    place = (8, _WIDTH, 0, _below_graphs())
    panel = _panel("heatmap", "Latency over time", "s", [("{{le}}", expression)], place)
    panel["targets"][0]["format"] = "heatmap"
    panel["options"] = {"calculate": False, "yAxis": {"unit": "s"}}
    return panel


def _table() -> dict[str, Any]:
    place = (8, _WIDTH, 0, _below_graphs() + 8)
    panel = _panel("table", "What runs", "short", [("", f"{INFO.prometheus}[]")], place)
    panel["targets"][0] |= {"format": "table", "instant": True}
    hidden = ["Time", "Value", "__name__", "job"]
    panel["transformations"] = [
        {"id": "organize", "options": {"excludeByName": dict.fromkeys(hidden, True)}}
    ]
    return panel


def _panel(
    kind: str, title: str, unit: str, queries: Sequence[_Query], place: tuple[int, int, int, int]
) -> dict[str, Any]:
    height, width, left, top = place
    return {
        "type": kind,
        "title": title,
        "datasource": _SOURCE,
        "gridPos": {"h": height, "w": width, "x": left, "y": top},
        "fieldConfig": {"defaults": {"unit": unit, "min": 0}, "overrides": []},
        "targets": [
            {
                "refId": chr(ord("A") + number),
                "datasource": _SOURCE,
                "expr": expanded(expression),
                "legendFormat": legend or "__auto",
            }
            for number, (legend, expression) in enumerate(queries)
        ],
    }


def _numbered(panels: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"id": number, **panel} for number, panel in enumerate(panels, 1)]


def _source() -> dict[str, Any]:
    return {"name": "source", "label": "Prometheus", "type": "datasource", "query": "prometheus"}


def _variable(label: str) -> dict[str, Any]:
    of_model = '{model=~"$model"}' if label == "instance" else ""
    return {
        "name": label,
        "type": "query",
        "datasource": _SOURCE,
        "query": f"label_values({UP.prometheus}{of_model}, {label})",
        "refresh": 2,
        "includeAll": True,
        "multi": True,
        "allValue": ".*",
        "current": {"text": "All", "value": "$__all"},
        "sort": 3,
    }
