"""The page at `/`: a table of all instances, for a person with a browser."""

from __future__ import annotations

from html import escape
from typing import Any

_COLUMNS = (
    "instance", "state", "in/s", "out/s", "pre_queue", "post_queue", "p50 ms", "p99 ms", "errors",
)  # fmt: skip
_LINKS = ("/queue_size_metrics", "/metrics", "/api/instances", "/readyz", "/healthz")
_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;margin:2rem}"
    "table{border-collapse:collapse}"
    "td,th{padding:.25rem .8rem;border-bottom:1px solid #ccc;text-align:right}"
    "td:first-child,th:first-child,td:nth-child(2),th:nth-child(2){text-align:left}"
)


def render_page(document: dict[str, Any]) -> str:
    """`document` is what /api/instances gives."""
    title = escape(document["app_name"])
    head = "".join(f"<th>{column}</th>" for column in _COLUMNS)
    rows = "".join(_row(instance) for instance in document["instances"])
    links = " · ".join(f'<a href="{link}">{link}</a>' for link in _LINKS)
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><meta http-equiv=refresh content=2>"
        f"<title>{title}</title><style>{_STYLE}</style>"
        f"<h1>{title}</h1><p>{escape(document['description'])}</p>"
        f"<table><tr>{head}</tr>{rows}</table><p>{links}</p></html>"
    )


def _row(instance: dict[str, Any]) -> str:
    rates = instance.get("rates", {})
    latency = instance.get("latency_ms", {})
    values = (
        instance["instance"],
        instance["error"] or instance["state"],
        rates.get("in"),
        rates.get("out"),
        instance["pre_queue"],
        instance["post_queue"],
        latency.get("p50"),
        latency.get("p99"),
        sum(instance.get("errors", {}).values()),
    )
    cells = ("–" if value is None else escape(str(value)) for value in values)
    return "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"
